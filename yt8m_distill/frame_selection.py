"""Which frames of a video the student sees.

One function, `selected_indices`, computes them for every path: for the student's frames chosen before they are
decoded, and for the indices that travel beside all frames in a distillation batch.
"""

import math

import tensorflow as tf

from yt8m_distill.config import FrameSelection
from yt8m_distill.errors import UserError


def selected_indices(selection: FrameSelection, num_frames: tf.Tensor, random_seed: tf.Tensor) -> tf.Tensor:
    """Indices of the selected frames of one video, ascending, none twice.

    Args:
      selection: what to keep.
      num_frames: real frames of the video; scalar int32, may be 0.
      random_seed: two int64; read by "random" only, which gives the same frames for the same seed.

    Returns:
      int32 (min(k, num_frames),), or (ceil(num_frames / j),) by stride.

    Source: Bhardwaj et al. section 3 (every j-th frame) and 5 (First-, Middle-, Last-, First-Middle-Last-k).
    """
    if selection.stride is not None:
        return tf.range(0, num_frames, selection.stride)
    count = tf.minimum(num_frames, selection.k)
    steps = tf.range(count)
    if selection.sampling == "uniform":
        # The middle of each of `count` equal parts; with count == num_frames it is every frame.
        return (2 * steps + 1) * num_frames // tf.maximum(2 * count, 1)
    if selection.sampling == "first":
        return steps
    if selection.sampling == "last":
        return num_frames - count + steps
    if selection.sampling == "middle":
        return (num_frames - count) // 2 + steps
    if selection.sampling == "random":
        order = tf.argsort(tf.random.stateless_uniform([num_frames], random_seed))
        return tf.sort(order[:count])
    return tf.where(num_frames <= selection.k, steps, _first_middle_last(selection.k, num_frames)[:count])


def _first_middle_last(k: int, num_frames: tf.Tensor) -> tf.Tensor:
    """ceil(k/3) first frames, half of the rest (rounded up) last ones, the others from the middle."""
    first = math.ceil(k / 3)
    last = math.ceil((k - first) / 2)
    middle = k - first - last
    parts = (tf.range(first), (num_frames - middle) // 2 + tf.range(middle), num_frames - last + tf.range(last))
    return tf.concat(parts, axis=0)


def frame_indices(
    num_frames: int, *, k: int | None = None, stride: int | None = None, sampling: str = "uniform", seed: int = 0
) -> list[int]:
    """Indices of the frames a student sees of one video of `num_frames` frames.

    Args:
      num_frames: real frames of the video, 0 or more.
      k: frames to keep; or
      stride: every j-th frame.
      sampling: one of `config.SAMPLINGS`.
      seed: for "random".

    Returns:
      Ascending indices in [0, num_frames), at most k.

    Raises:
      UserError: k or stride below 1, both or neither given, an unknown sampling, a negative `num_frames`.
    """
    if num_frames < 0:
        raise UserError(f"num_frames must be 0 or more, not {num_frames}.")
    selection = FrameSelection(k, stride, sampling)
    seeds = tf.constant([seed, 0], tf.int64)
    return selected_indices(selection, tf.constant(num_frames, tf.int32), seeds).numpy().tolist()
