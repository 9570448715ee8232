"""Frames of a video drawn at random, as the originals train on them."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("yt8m_distill")
class RandomFrames(keras.layers.Layer):
    """Draws frames of each video: `count` with replacement, or `count` that follow each other.

    Args:
        count: frames to draw.
        contiguous: draw a run of frames; a video shorter than that repeats its last one.

    Call arguments:
        frames: (batch, frames, features), of any type.
        num_frames: int (batch,), frames of each video that may be drawn.

    Returns:
        Frames (batch, count, features) and their number (batch,): count, or 0 for a video without frames.

    Source: `SampleRandomFrames` and `SampleRandomSequence` of the starter code.
    """

    def __init__(self, count: int, contiguous: bool = False, **kwargs: Any):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.count = count
        self.contiguous = contiguous
        self.seed_generator = keras.random.SeedGenerator()
        self.built = True

    def call(self, frames: Any, num_frames: Any) -> tuple[Any, Any]:
        videos, length = ops.shape(frames)[:2]
        num_frames = ops.minimum(ops.cast(num_frames, "int32"), length)
        if self.contiguous:
            uniform = keras.random.uniform((videos, 1), seed=self.seed_generator)
            indices = sequence_indices(uniform, num_frames, self.count)
        else:
            uniform = keras.random.uniform((videos, self.count), seed=self.seed_generator)
            indices = frame_indices(uniform, num_frames)
        # One more frame, for videos without any: there may be no other in the batch.
        nothing = ops.zeros((videos, 1, frames.shape[-1]), frames.dtype)
        drawn = ops.take_along_axis(ops.concatenate([frames, nothing], axis=1), indices[..., None], axis=1)
        return drawn, ops.where(num_frames > 0, self.count, 0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "count": self.count, "contiguous": self.contiguous}


def frame_indices(uniform: Any, num_frames: Any) -> Any:
    """Frames drawn independently of each other.

    Args:
        uniform: (batch, count) in [0, 1).
        num_frames: int32 (batch,).

    Returns:
        int32 (batch, count), each below num_frames; 0 where that is 0.
    """
    indices = ops.cast(uniform * ops.cast(num_frames, "float32")[:, None], "int32")
    return _within(indices, num_frames)


def sequence_indices(uniform: Any, num_frames: Any, count: int) -> Any:
    """`count` frames from a random one on, all inside the video where it is long enough.

    Args:
        uniform: (batch, 1) in [0, 1).
        num_frames: int32 (batch,).
        count: frames to draw.

    Returns:
        int32 (batch, count); beyond a shorter video's end, its last frame.
    """
    starts = ops.cast(ops.maximum(num_frames - count, 0) + 1, "float32")[:, None]
    return _within(ops.cast(uniform * starts, "int32") + ops.arange(count, dtype="int32")[None, :], num_frames)


def _within(indices: Any, num_frames: Any) -> Any:
    return ops.minimum(indices, ops.maximum(num_frames - 1, 0)[:, None])
