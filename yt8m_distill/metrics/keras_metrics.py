"""GAP@k and mAP as Keras metrics, exact over everything they have seen."""

import math
import operator
from collections.abc import Callable
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from yt8m_distill.errors import UserError
from yt8m_distill.metrics.evaluation_metrics import EvaluationMetrics

_GROWTH = 1.1  # of the number of videos, after which a step within a graph ranks all of them again


class RankingMetric(keras.metrics.Metric):
    """One of the metrics of `EvaluationMetrics`, as a Keras metric; the base of those.

    Nothing is approximated: what `EvaluationMetrics` keeps of each video, 7 bytes for each of its `top_k` best classes,
    is kept here, too, in the memory of Python and not in variables. `result()` called from Python, by which `fit` and
    `evaluate` end an epoch, ranks all of it. Ranking after every step would take time with the square of the steps, so
    within a graph, where progress bars have their numbers from, the result is that of at least 90 % of the videos.

    XLA cannot compile it: on a GPU give `compile(jit_compile=False)`; `distiller.LabelTrainer` does.

    Args:
        top_k: predictions kept of every video.
        name: in logs; None: the usual one.
        dtype: of the result.

    Raises:
        UserError: `top_k` is below 1. When it is updated: as `EvaluationMetrics.update`, or with weights.
    """

    key: ClassVar[str]  # in the results of `EvaluationMetrics`; "{k}" stands for top_k

    def __init__(self, top_k: int = 20, name: str | None = None, dtype: Any = None):
        self.top_k = operator.index(top_k)
        super().__init__(name=name or self.key.format(k=self.top_k), dtype=dtype)
        if self.top_k < 1:
            raise UserError(f"top_k is {self.top_k}: at least 1 is needed.")
        self.reset_state()

    def reset_state(self) -> None:
        """Forgets everything."""
        self._seen: EvaluationMetrics | None = None
        self._videos = 0
        self._ranked, self._value = 0, 0.0

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch.

        Args:
            y_true: (batch, classes) of {0, 1}.
            y_pred: (batch, classes), scores in [0, 1].
            sample_weight: None; every video counts alike.
        """
        if sample_weight is not None:
            raise UserError(f"{self.name} counts every video alike: give it in `metrics`, not in `weighted_metrics`.")
        self._on_host(self._update, y_true, y_pred)

    def result(self) -> Any:
        """The metric in [0, 1]; 0 where nothing was seen, or nothing of it has a label."""
        return self._on_host(self._exact if tf.executing_eagerly() else self._recent)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "top_k": self.top_k}

    def _on_host(self, function: Callable, *inputs: Any) -> Any:
        """A function of arrays to one number, called at once, or by each step of a graph."""
        if tf.executing_eagerly():
            value = function(*map(np.asarray, inputs))
        else:
            value = tf.numpy_function(function, inputs, tf.float32)
            value.set_shape([])
        return tf.cast(value, self.dtype)

    def _update(self, labels: np.ndarray, predictions: np.ndarray) -> np.float32:
        if self._seen is None:
            self._seen = EvaluationMetrics(predictions.shape[-1], self.top_k)
        self._seen.update(predictions, labels)
        self._videos += len(predictions)
        return np.float32(0.0)

    def _exact(self) -> np.float32:
        if self._seen is not None and self._videos > self._ranked:
            self._value = self._seen.result()[self.key.format(k=self.top_k)]
            self._ranked = self._videos
        return np.float32(self._value)

    def _recent(self) -> np.float32:
        return self._exact() if self._videos >= math.ceil(_GROWTH * self._ranked) else np.float32(self._value)


@keras.saving.register_keras_serializable("yt8m_distill")
class GlobalAveragePrecision(RankingMetric):
    """GAP@k: average precision over the pooled `top_k` predictions of all videos; see `RankingMetric`.

    Source: as `EvaluationMetrics`.

    Example:
        >>> metric = GlobalAveragePrecision(top_k=2)
        >>> metric.update_state([[1, 0, 0], [0, 0, 1]], [[0.9, 0.8, 0.1], [0.7, 0.2, 0.6]])
        >>> metric.name, float(metric.result())
        ('GAP@2', 0.75)
    """

    key = "GAP@{k}"


@keras.saving.register_keras_serializable("yt8m_distill")
class MeanAveragePrecision(RankingMetric):
    """mAP: the mean over the classes with labels of their average precision; see `RankingMetric`.

    As in the starter code, only predictions that are among their video's `top_k` best count; with as many as there are
    classes it is the textbook's.

    Source: as `EvaluationMetrics`.
    """

    key = "mAP"
