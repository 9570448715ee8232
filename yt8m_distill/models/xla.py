"""XLA: which models it can compile, and shapes that change seldom."""

from collections.abc import Iterable, Iterator, Mapping

import keras
import numpy as np
import tensorflow as tf

from yt8m_distill.errors import UserError
from yt8m_distill.layers import StackedLSTM


def check_xla(models: Iterable[keras.Model]):
    """Raises UserError where a model has an LSTM that would be cuDNN's, which XLA cannot compile."""
    if not tf.config.list_physical_devices("GPU"):
        return
    for model in models:
        if any(isinstance(layer, StackedLSTM) and layer.use_cudnn for layer in _layers(model)):
            raise UserError(
                f"xla: XLA cannot compile {type(model).__name__} on a GPU, where its LSTM is cuDNN's and faster so; "
                "leave out xla."
            )


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _layers(layer)


class SteadyShapes:
    """Pads arrays to the largest shape that they have had so far: XLA compiles again for every new shape.

    Padding must not count: frames beyond `num_frames`, or rows that are removed from the result.

    Args:
        axes: of each array that is padded, by its name in a batch.
    """

    def __init__(self, axes: Mapping[str, tuple[int, ...]]):
        self._axes = axes
        self._largest: dict[str, list[int]] = {}

    def padded(self, batch: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """The batch with these arrays padded by 0; the others are as they were."""
        return {**batch, **{name: self._padded(name, batch[name]) for name in self._axes if name in batch}}

    def _padded(self, name: str, array: np.ndarray) -> np.ndarray:
        largest = self._largest.setdefault(name, [0] * array.ndim)
        for axis in self._axes[name]:
            largest[axis] = max(largest[axis], array.shape[axis])
        missing = [max(0, largest[axis] - size) for axis, size in enumerate(array.shape)]
        if not any(missing[axis] for axis in self._axes[name]):
            return array
        amounts = [(0, missing[axis] if axis in self._axes[name] else 0) for axis in range(array.ndim)]
        return np.pad(array, amounts) if isinstance(array, np.ndarray) else tf.pad(array, amounts)
