"""What --version prints: the versions of this package and of the libraries that its results depend on."""

import platform
from importlib import metadata

from yt8m_distill import __version__

# The distributions that bring a library, by its name; the first one that is installed counts.
_LIBRARIES = {"TensorFlow": ("tensorflow", "tensorflow-cpu", "tf-nightly"), "Keras": ("keras",)}


def versions() -> str:
    """One line, without importing a library: `yt8m_distill 0.1.0 (Python 3.13.0, TensorFlow 2.21.0, Keras 3.15.1)`."""
    libraries = [f"{name} {_installed(distributions)}" for name, distributions in _LIBRARIES.items()]
    return f"yt8m_distill {__version__} ({', '.join([f'Python {platform.python_version()}', *libraries])})"


def _installed(distributions: tuple[str, ...]) -> str:
    for distribution in distributions:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return "not installed"
