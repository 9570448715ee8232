"""Video classification with fewer frames: teachers see all frames of a video, students only k.

From Python, without a command:

    import yt8m_distill

    model = yt8m_distill.load("runs/student")       # or a packed model, or an export
    probabilities = model.predict(frames)           # (videos, classes)

    train = yt8m_distill.data.dataset("data/train*", student_frames=10)   # for Distiller.fit

Importing the package takes milliseconds: TensorFlow is imported by what needs it. `keras.models.load_model` knows the
package's models, whichever of the two is imported first.
"""

import importlib
from typing import TYPE_CHECKING, Any

from yt8m_distill.plugins.keras_files import announce_classes

if TYPE_CHECKING:
    from yt8m_distill import data, distiller, layers, losses, metrics, models
    from yt8m_distill.deployment.predictor import load

__version__ = "0.1.0"
__all__ = ["data", "distiller", "layers", "load", "losses", "metrics", "models"]

announce_classes()


def __getattr__(name: str) -> Any:
    if name == "load":
        return importlib.import_module("yt8m_distill.deployment.predictor").load
    if name in __all__:
        return importlib.import_module(f"yt8m_distill.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
