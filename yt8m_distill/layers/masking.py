"""Masks and normalization that layers and models share."""

from typing import Any

import keras
from keras import ops


class MaskedLayer(keras.layers.Layer):
    """A layer whose call takes a `mask` and which hands none on: its callers pass masks explicitly."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_mask(self, inputs: Any, previous_mask: Any) -> None:
        del inputs, previous_mask


def l2_normalize(inputs: Any, axis: int = -1) -> Any:
    """Divides by the 2-norm along `axis`; a vector of zeros stays zero.

    The squared norm is kept above 1e-12, as in TensorFlow 1, and is summed in float32 whatever the input's type.

    Example:
        >>> [[round(float(x), 3) for x in row] for row in l2_normalize(ops.array([[3.0, 4.0], [0.0, 0.0]]))]
        [[0.6, 0.8], [0.0, 0.0]]
    """
    square_sum = ops.sum(ops.square(ops.cast(inputs, "float32")), axis=axis, keepdims=True)
    return inputs * ops.cast(ops.rsqrt(ops.maximum(square_sum, 1e-12)), inputs.dtype)


def frame_mask(num_frames: Any, frames: Any) -> Any:
    """Which frames are real: bool (batch, frames), True for the first `num_frames` of each video.

    Args:
        num_frames: (batch,) integers; more than `frames` counts as all of them.
        frames: length of the frames dimension, an int or a scalar tensor.

    Example:
        >>> frame_mask([2, 0], 3).numpy().tolist()
        [[True, True, False], [False, False, False]]
    """
    return ops.arange(frames, dtype="int32")[None, :] < ops.cast(num_frames, "int32")[:, None]


def mean_over_frames(frames: Any, mask: Any) -> Any:
    """The mean of each video's real frames, (batch, features); 0 where there are none.

    Args:
        frames: (batch, frames, features), zero on padding.
        mask: bool (batch, frames), True for real frames.

    Example:
        >>> mean_over_frames(ops.array([[[1.0], [3.0], [0.0]]]), frame_mask([2], 3)).numpy().tolist()
        [[2.0]]
    """
    count = ops.maximum(ops.sum(ops.cast(mask, "float32"), axis=1), 1.0)
    return ops.cast(ops.sum(ops.cast(frames, "float32"), axis=1) / count[:, None], frames.dtype)


def append_frames(tensor: Any, number: Any) -> Any:
    """Appends `number` frames of zeros, or False, to (batch, frames, ...); an int or a scalar tensor."""
    if isinstance(number, int) and number == 0:
        return tensor
    batch, _, *rest = ops.shape(tensor)
    return ops.concatenate([tensor, ops.zeros((batch, number, *rest), tensor.dtype)], axis=1)
