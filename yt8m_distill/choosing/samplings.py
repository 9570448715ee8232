"""Frame samplings that look at the features of all frames: medoid, k_center, motion; and learned.

They are for videos whose features are all there. `products_of` counts what choosing takes; `evaluation.compute_table`
and the report of a run show it beside the model's own compute.

A sampling is written once, for numpy, which chooses where videos are read, and for `keras.ops`, which exported models
choose by. Both choose the same frames as long as all numbers are whole ones that float64 holds:

    from yt8m_distill.choosing.samplings import FeatureSampling
    from yt8m_distill.plugins import register_frame_sampling

    @register_frame_sampling("loudest")
    @FeatureSampling
    def loudest(values, num_frames, most, k, arrays):
        ...
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from yt8m_distill.choosing.typicality import (
    as_float,
    as_int,
    directions_of,
    equal_parts,
    first_largest,
    numbers,
    numbers_like,
    real_frames,
    typicality,
    values_read,
    vectors_of,
)
from yt8m_distill.errors import UserError
from yt8m_distill.plugins import register_frame_sampling

Choose = Callable[[Any, Any, int, Any, Any], Any]
Products = Callable[[int, int, int], int]

_NO_FRAME = 1e9  # above all numbers of frames


class FeatureSampling:
    """A sampling that looks at the features of all frames.

    Args:
        choose: (values, num_frames, most, k, arrays) to float64 (batch, most), different frames in any order, of which
            the first k count. `values` are whole numbers from 0 to 255, float64 (batch, frames, values); `num_frames`
            and `k` are float64 (batch,); `most` is the largest k; `arrays` is numpy or `keras.ops`. Frames from
            `num_frames` on are padding. What it gives does not count for videos of at most k frames.
        products: (frames, values, k) to the number of multiply-accumulates; None: they are not stated.
    """

    __name__: str  # of `choose`

    def __init__(self, choose: Choose, products: Products | None = None):
        self.choose = choose
        self.products = products
        functools.update_wrapper(self, choose)

    def __call__(self, num_frames: int, k: int, generator: np.random.Generator) -> Sequence[int]:
        """Is of no use without features.

        Raises:
            UserError: always.
        """
        raise UserError(f"the frame sampling '{self.__name__}' looks at the features of the frames: give `values`.")


def feature_sampling(products: Products) -> Callable[[Choose], FeatureSampling]:
    """A decorator that makes a `FeatureSampling` with its number of multiply-accumulates."""
    return lambda choose: FeatureSampling(choose, products)


def chosen_indices(sampling: FeatureSampling, values: Any, num_frames: Any, k: Any, most: int, arrays: Any = np) -> Any:
    """The frames of a sampling; of a video of at most k frames all of them.

    Args:
        sampling: of the registry.
        values: (batch, frames, values) of `read_values`.
        num_frames: int (batch,).
        k: int (batch,), at most num_frames.
        most: the largest k.
        arrays: what computes, numpy or `keras.ops`.

    Returns:
        float64 (batch, most), ascending at steps below k; anything at other steps.
    """
    values, num_frames, k = (as_float(array, arrays) for array in (values, num_frames, k))
    steps = numbers(most, arrays)
    chosen = sampling.choose(values, num_frames, most, k, arrays)
    chosen = _sorted(arrays.where(steps < k[:, None], chosen, _NO_FRAME + steps), steps, arrays)
    return arrays.where((num_frames <= k)[:, None], steps, chosen)


def _sorted(chosen: Any, steps: Any, arrays: Any) -> Any:
    """Different numbers (batch, most), ascending; by comparisons, as converters to other formats sort in other ways."""
    ranks = arrays.sum(as_float(chosen[:, None] < chosen[..., None], arrays), axis=-1)
    return arrays.sum(arrays.where(ranks[:, None] == steps[:, None], chosen[:, None], 0.0), axis=-1)


def _medoid_products(frames: int, values: int, k: int) -> int:
    """Norms, sums and similarities to the centers; for several, of the parts, too."""
    return frames * values * (3 if k == 1 else 2 + 3 * k)


@register_frame_sampling("medoid")
@feature_sampling(_medoid_products)
def medoid(values: Any, num_frames: Any, most: int, k: Any, arrays: Any) -> Any:
    """The frame that is most similar to all; of several, one of each of k clusters.

    The clusters begin as k equal parts, and each frame moves once to the part that it is most similar to. Similarity is
    the product of two frames, each divided by the root of its length: between a cosine and a plain product.
    """
    real = real_frames(values, num_frames, arrays)
    vectors = vectors_of(values, real, arrays)
    labels = equal_parts(real, num_frames, k, arrays)
    if most > 1:
        similarity = arrays.matmul(vectors, arrays.swapaxes(directions_of(vectors, labels, most, arrays), 1, 2))
        similarity = arrays.where(numbers(most, arrays) < k[:, None, None], similarity, -math.inf)
        labels = arrays.where(real, first_largest(similarity, arrays), -1.0)
    typical = typicality(vectors, labels, most, arrays)
    frames, free, chosen = numbers_like(values, arrays), real, []
    for place in range(most):
        members = free & (labels == place)
        # A cluster that all frames have left gives its place to the most typical frame of the others.
        members = members | (free & ~arrays.any(members, axis=1)[:, None])
        chosen.append(first_largest(arrays.where(members, typical, -math.inf), arrays))
        free = free & (frames != chosen[-1][:, None])
    return arrays.stack(chosen, axis=1)


@register_frame_sampling("k_center")
@feature_sampling(lambda frames, values, k: frames * values * (3 + k))
def k_center(values: Any, num_frames: Any, most: int, k: Any, arrays: Any) -> Any:
    """The medoid of all frames, then again and again the frame that is farthest from those chosen.

    Source: Gonzalez (1985), "Clustering to minimize the maximum intercluster distance".
    """
    real = real_frames(values, num_frames, arrays)
    vectors = vectors_of(values, real, arrays)
    order = arrays.where(real, typicality(vectors, as_float(real, arrays) - 1.0, 1, arrays), -math.inf)
    squares = arrays.sum(values * values, axis=-1)
    frames, chosen = numbers_like(values, arrays), []
    nearest = arrays.where(real, squares + math.inf, -math.inf)
    for place in range(most):
        chosen.append(first_largest(order if place == 0 else nearest, arrays))
        if place + 1 < most:
            at = as_int(chosen[-1], arrays)[:, None]
            product = arrays.sum(values * arrays.take_along_axis(values, at[..., None], axis=1), axis=-1)
            distance = squares + arrays.take_along_axis(squares, at, axis=1) - 2 * product
            nearest = arrays.minimum(nearest, distance)
            nearest = arrays.where(frames == chosen[-1][:, None], -math.inf, nearest)
    return arrays.stack(chosen, axis=1)


@register_frame_sampling("motion")
@feature_sampling(lambda frames, values, k: frames * values)
def motion(values: Any, num_frames: Any, most: int, k: Any, arrays: Any) -> Any:
    """The middle of each of k parts in which the features change equally much; uniform where nothing changes."""
    real = real_frames(values, num_frames, arrays)
    change = arrays.sum(arrays.absolute(values[:, 1:] - values[:, :-1]), axis=-1)
    change = arrays.where(real[:, 1:], change, 0.0)
    none = arrays.zeros_like(values[:, :1, 0])
    share = 1.0 + arrays.concatenate([none, change], axis=1) + arrays.concatenate([change, none], axis=1)
    passed = arrays.cumsum(arrays.where(real, share, 0.0), axis=1)
    total, previous, chosen = arrays.max(passed, axis=1), -1.0, []
    for place in range(most):
        before = real & (2 * k[:, None] * passed <= (2 * place + 1) * total[:, None])
        index = arrays.maximum(arrays.sum(as_float(before, arrays), axis=1), previous + 1.0)
        previous = arrays.minimum(index, num_frames - k + place)  # a later frame is left for each later place
        chosen.append(previous)
    return arrays.stack(chosen, axis=1)


@register_frame_sampling("learned")
def learned(num_frames: int, k: int, generator: np.random.Generator) -> Sequence[int]:
    """The frames that the student's own scorer chooses, in the model; see `models.frame_scorer`.

    Raises:
        UserError: always.
    """
    raise UserError("the frames of the sampling 'learned' are chosen by the student itself.")


def products_of(sampling: FeatureSampling, feature_sizes: Sequence[int], frames: int, k: int) -> int | None:
    """Multiply-accumulates of choosing k of so many frames; of `motion`, differences; None: they are not stated."""
    if sampling.products is None:
        return None
    return 0 if frames <= k else sampling.products(frames, sum(values_read(feature_sizes)), k)
