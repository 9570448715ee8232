"""From files to batches. `dataset` and `detect` are for Python; TensorFlow is imported with them only."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yt8m_distill.data.tf_dataset import dataset, detect

__all__ = ["dataset", "detect"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("yt8m_distill.data.tf_dataset"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
