"""Metrics: `EvaluationMetrics` for arrays, and the same numbers as `keras.metrics.Metric` for `compile(metrics=[...])`.

Keras is imported with the latter only.
"""

import importlib
from typing import TYPE_CHECKING, Any

from yt8m_distill.metrics.evaluation_metrics import ClassMetrics, EvaluationMetrics

if TYPE_CHECKING:
    from yt8m_distill.metrics.keras_metrics import GlobalAveragePrecision, MeanAveragePrecision

__all__ = ["ClassMetrics", "EvaluationMetrics", "GlobalAveragePrecision", "MeanAveragePrecision"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("yt8m_distill.metrics.keras_metrics"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
