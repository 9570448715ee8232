"""How typical the frames of a video are: the numbers by which frames are chosen, in numpy and in `keras.ops`.

Few values of each frame are read, the first ones of every feature: those of YouTube-8M and AudioSet are ordered by
their variance before whitening, so these say most.

Frames are the same wherever they are chosen, because nothing depends on the order of a computation: bytes are whole
numbers, and all numbers here are whole ones that float64 holds. `arrays` is numpy or `keras.ops` everywhere.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

VALUES_READ = 64  # of each frame
SCALE = 2.0**8  # of vectors, which are rounded to whole numbers; directions are rounded at its square


def values_read(feature_sizes: Sequence[int]) -> list[int]:
    """How many values of each feature are read to choose frames by: the same share for each.

    Example:
        >>> values_read((1024, 128)), values_read((128,)), values_read((24, 8))
        ([32, 32], [64], [24, 8])
    """
    share = max(VALUES_READ // len(feature_sizes), 1)
    return [min(size, share) for size in feature_sizes]


def read_values(frames: Any, feature_sizes: Sequence[int], arrays: Any = np) -> Any:
    """What is read of each frame: the first values of every feature.

    Args:
        frames: uint8 (batch, frames, features).
        feature_sizes: length of each feature.
        arrays: what computes.

    Returns:
        (batch, frames, values).
    """
    starts = np.cumsum([0, *feature_sizes[:-1]])
    pieces = [frames[..., b : b + n] for b, n in zip(starts, values_read(feature_sizes), strict=True)]
    return pieces[0] if len(pieces) == 1 else arrays.concatenate(pieces, axis=-1)


def vectors_of(values: Any, real: Any, arrays: Any) -> Any:
    """Frames around the middle of a byte's range, each divided by the root of its length: between x and x / |x|.

    Args:
        values: whole numbers from 0 to 255, float64 (batch, frames, values).
        real: bool (batch, frames), False on padding.
        arrays: what computes.

    Returns:
        float64 (batch, frames, values), whole numbers; 0 on padding.
    """
    centered = 2.0 * values - 255.0  # odd numbers, so that no frame has length 0
    squares = arrays.sum(centered * centered, axis=-1, keepdims=True)
    # Roots are rounded before anything is divided by them: a graph may compute x / sqrt(y) in another way.
    roots = arrays.floor(arrays.sqrt(arrays.floor(arrays.sqrt(squares * SCALE**4))))
    return arrays.where(real[..., None], arrays.floor(centered * SCALE**2 / roots), as_float(0.0, arrays))


def directions_of(vectors: Any, labels: Any, most: int, arrays: Any) -> Any:
    """The direction of the mean of each cluster.

    Args:
        vectors: of `vectors_of`.
        labels: the cluster of each frame, float64 (batch, frames); -1 in none.
        most: clusters.
        arrays: what computes.

    Returns:
        float64 (batch, most, values), whole numbers; 0 of an empty cluster.
    """
    members = as_float(labels[:, None] == numbers(most, arrays)[:, None], arrays)
    sizes = arrays.maximum(arrays.sum(members, axis=-1, keepdims=True), 1.0)
    means = arrays.floor(arrays.matmul(members, vectors) / sizes)
    lengths = arrays.floor(arrays.sqrt(arrays.sum(means * means, axis=-1, keepdims=True)))
    return arrays.floor(means * SCALE**2 / arrays.maximum(lengths, 1.0))


def typicality(vectors: Any, labels: Any, most: int, arrays: Any) -> Any:
    """How much each frame points where the mean of its cluster does: their product, float64 (batch, frames).

    Args:
        vectors, labels, most, arrays: as for `directions_of`. The value of a frame in no cluster does not count.
    """
    directions = directions_of(vectors, labels, most, arrays)
    own = arrays.take_along_axis(directions, as_int(arrays.maximum(labels, 0.0), arrays)[..., None], axis=1)
    return arrays.sum(vectors * own, axis=-1)


def equal_parts(real: Any, num_frames: Any, k: Any, arrays: Any) -> Any:
    """Which of k equal parts of its video each frame is in, float64 (batch, frames); -1 on padding."""
    frames = numbers_like(real, arrays)
    parts = arrays.floor(((frames + 1.0) * k[:, None] - 1.0) / arrays.maximum(num_frames, 1.0)[:, None])
    return arrays.where(real, parts, as_float(-1.0, arrays))


def first_largest(scores: Any, arrays: Any) -> Any:
    """The index of the largest score, the first of equal ones, along the last axis, float64.

    It is written out because converters to other formats do not know all that an argmax is made of.
    """
    places = numbers_like(scores, arrays, axis=-1)
    largest = scores == arrays.max(scores, axis=-1, keepdims=True)
    return arrays.min(arrays.where(largest, places, as_float(math.inf, arrays)), axis=-1)


def real_frames(values: Any, num_frames: Any, arrays: Any) -> Any:
    """bool (batch, frames): False on padding."""
    return numbers_like(values, arrays) < num_frames[:, None]


def numbers_like(values: Any, arrays: Any, axis: int = 1) -> Any:
    """float64 0, 1, 2, ... as many as there are along an axis, by default the frames of (batch, frames, ...)."""
    length = values.shape[axis]
    return numbers(arrays.shape(values)[axis] if length is None else length, arrays)


def numbers(stop: Any, arrays: Any) -> Any:
    """float64 0, 1, ... stop - 1."""
    return arrays.arange(stop, dtype="float64")


def as_float(array: Any, arrays: Any) -> Any:
    """As float64."""
    return np.asarray(array, np.float64) if arrays is np else arrays.cast(array, "float64")


def as_int(array: Any, arrays: Any) -> Any:
    """As int32."""
    return np.asarray(array, np.int32) if arrays is np else arrays.cast(array, "int32")
