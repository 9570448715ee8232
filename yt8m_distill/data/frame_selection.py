"""Which frames of a video the student sees.

One function, `selected_indices`, computes them for every path: for the student's frames, chosen before they are
decoded, and for the indices that travel beside all frames in a distillation batch. Its parts `selected_counts` and
`fixed_indices` also compute with tensors, for models that are exported.

A sampling is a function of (num_frames, k, generator) that gives k ascending indices in [0, num_frames). It is asked
only about videos of more than k frames, as shorter ones keep all of theirs:

    from yt8m_distill.plugins import register_frame_sampling

    @register_frame_sampling("every_second")
    def every_second(num_frames, k, generator):
        return [min(2 * i, num_frames - k + i) for i in range(k)]

What it draws from the generator depends on the seed and the video alone; in training it is other frames in each epoch.
Where nothing is drawn, a `frame_formula` says the same for many videos at once, so that an exported SavedModel chooses
the frames by itself; of any other sampling, exported models take the k frames only. Samplings that look at features are
in `choosing.samplings`.
"""

import functools
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from yt8m_distill.choosing.samplings import FeatureSampling, chosen_indices
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.errors import UserError
from yt8m_distill.plugins import FRAME_SAMPLINGS, register_frame_sampling

Sampling = Callable[[int, int, np.random.Generator], Sequence[int]]


class FrameFormula:
    """A sampling that draws nothing, as arithmetic on arrays; made by `frame_formula`.

    Args:
        formula: (steps, num_frames, k, arrays) to the index of each step's frame: `steps` is int (1, most), 0, 1, 2,
            ...; `num_frames` and `k` are int (batch, 1); `arrays` is numpy or TensorFlow. Its value does not count at
            steps from k on, nor of videos of at most k frames.
    """

    def __init__(self, formula: Callable[[Any, Any, Any, Any], Any]):
        self.formula = formula
        functools.update_wrapper(self, formula)

    def __call__(self, num_frames: int, k: int, generator: np.random.Generator) -> Sequence[int]:
        """The frames of one video, as of any sampling."""
        return self.formula(np.arange(k), num_frames, k, np)


def frame_formula(formula: Callable[[Any, Any, Any, Any], Any]) -> FrameFormula:
    """A decorator that makes a sampling of a formula, see `FrameFormula`.

    Example:
        >>> @frame_formula
        ... def odd_ones(steps, num_frames, k, arrays):
        ...     return arrays.minimum(2 * steps + 1, num_frames - k + steps)
        >>> odd_ones(num_frames=10, k=3, generator=None).tolist()
        [1, 3, 5]
    """
    return FrameFormula(formula)


@register_frame_sampling("uniform")
@frame_formula
def uniform(steps: Any, num_frames: Any, k: Any, arrays: Any) -> Any:
    """The middle of each of k equal parts."""
    return (2 * steps + 1) * num_frames // arrays.maximum(2 * k, 1)


@register_frame_sampling("first")
@frame_formula
def first(steps: Any, num_frames: Any, k: Any, arrays: Any) -> Any:
    """The first k frames."""
    return steps + 0 * num_frames


@register_frame_sampling("last")
@frame_formula
def last(steps: Any, num_frames: Any, k: Any, arrays: Any) -> Any:
    """The last k frames."""
    return num_frames - k + steps


@register_frame_sampling("middle")
@frame_formula
def middle(steps: Any, num_frames: Any, k: Any, arrays: Any) -> Any:
    """The k frames in the middle."""
    return (num_frames - k) // 2 + steps


@register_frame_sampling("first_middle_last")
@frame_formula
def first_middle_last(steps: Any, num_frames: Any, k: Any, arrays: Any) -> Any:
    """ceil(k/3) first frames, half of the rest (rounded up) last ones, the others from the middle."""
    num_first = (k + 2) // 3
    num_last = (k - num_first + 1) // 2
    num_middle = k - num_first - num_last
    from_middle = (num_frames - num_middle) // 2 + steps - num_first
    from_end = num_frames - k + steps
    return arrays.where(steps < num_first, steps, arrays.where(steps < k - num_last, from_middle, from_end))


@register_frame_sampling("random")
def random(num_frames: int, k: int, generator: np.random.Generator) -> np.ndarray:
    """k frames without replacement."""
    return np.sort(generator.choice(num_frames, k, replace=False, shuffle=False))


@register_frame_sampling("jittered")
def jittered(num_frames: int, k: int, generator: np.random.Generator) -> np.ndarray:
    """A random frame of each of k equal parts; for training, evaluation is then "uniform"."""
    steps = np.arange(k)
    begin, end = steps * num_frames // k, (steps + 1) * num_frames // k
    return begin + (generator.random(k) * (end - begin)).astype(begin.dtype)


def is_formula(selection: FrameSelection) -> bool:
    """Whether numpy and TensorFlow compute the frames of a selection: nothing is drawn, and no function is called."""
    return selection.stride is not None or isinstance(FRAME_SAMPLINGS.get(selection.sampling), FrameFormula)


def sees_features(selection: FrameSelection) -> bool:
    """Whether the frames follow from the features of all frames, without weights of a model: `choosing.samplings`."""
    return isinstance(FRAME_SAMPLINGS.get(selection.sampling), FeatureSampling)


def needs_all_frames(selection: FrameSelection) -> bool:
    """Whether frames are chosen by the features of all frames, before the model or in it."""
    return selection.by_student or sees_features(selection)


def selected_indices(
    selection: FrameSelection,
    num_frames: np.ndarray,
    video_ids: Sequence[bytes],
    seed: int,
    values: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the selected frames of every video, ascending, none twice.

    Args:
        selection: what to keep.
        num_frames: int (batch,), real frames of each video, 0 or more.
        video_ids: of the videos; with `seed` they decide what is drawn: frames of a sampling, the k of several.
        seed: 0 or more.
        values: for samplings that see features, of all frames: (batch, frames, values) of
            `choosing.typicality.read_values`.

    Returns:
        Indices, int32 (batch, k of the longest), 0 where a video has no more; and how many count, int32 (batch,):
        min(k, num_frames), or by stride ceil(num_frames / j), or as `selection.counting` says.

    Raises:
        UserError: a sampling does not give k ascending indices of frames, or looks at features, which are not given.

    Source: Bhardwaj et al. section 3 (every j-th frame) and 5 (First-, Middle-, Last-, First-Middle-Last-k).
    Differs: by stride the authors' code counts int(num_frames / T * (T // j)) frames, where T = 300 is the longest
        video, so it keeps fewer frames of short videos; `counting="authors"` does the same.

    Example:
        >>> indices, counts = selected_indices(FrameSelection(k=3), np.array([9, 2]), [b"a", b"b"], seed=0)
        >>> indices.tolist(), counts.tolist()
        ([[1, 4, 7], [0, 1, 0]], [3, 2])
    """
    generators = _generators(selection, video_ids, seed)
    counts = selected_counts(selection, num_frames, generators)
    steps = np.arange(counts.max(initial=0))[np.newaxis]
    if is_formula(selection):
        indices = fixed_indices(selection, steps, num_frames[:, np.newaxis], counts[:, np.newaxis])
    elif values is not None and sees_features(selection):
        indices = _indices_by_features(selection.sampling, steps, num_frames, counts, values)
    else:
        indices = _sampled_indices(selection.sampling, steps, num_frames, counts, generators)
    return np.where(steps < counts[:, np.newaxis], indices, 0).astype(np.int32), counts.astype(np.int32)


def counts_of_videos(
    selection: FrameSelection, num_frames: np.ndarray, video_ids: Sequence[bytes], seed: int
) -> np.ndarray:
    """How many frames are kept of every video, int32 (batch,); the arguments are those of `selected_indices`."""
    return selected_counts(selection, num_frames, _generators(selection, video_ids, seed)).astype(np.int32)


def _generators(selection: FrameSelection, video_ids: Sequence[bytes], seed: int) -> list[np.random.Generator]:
    """One for each video, so that what is drawn for it does not depend on its neighbours; none where nothing is."""
    draws_frames = not is_formula(selection) and not needs_all_frames(selection)
    if not draws_frames and not selection.drawn_from:
        return []
    return [np.random.default_rng((seed, zlib.crc32(video_id))) for video_id in video_ids]


def selected_counts(
    selection: FrameSelection, num_frames: Any, generators: Sequence[np.random.Generator] = (), arrays: Any = np
) -> Any:
    """How many frames are kept of videos of `num_frames`.

    Args:
        selection: what to keep.
        num_frames: int, of any shape.
        generators: one for each video, where the k of several is drawn.
        arrays: what computes, numpy or TensorFlow.
    """
    if selection.counting == "authors":
        return _looked_up(selection.authors_counts(), arrays.minimum(num_frames, selection.longest_video), arrays)
    if selection.stride is not None:
        return (num_frames + selection.stride - 1) // selection.stride
    k: Any = selection.k
    if selection.drawn_from:
        k = np.array([generator.choice(selection.drawn_from) for generator in generators], num_frames.dtype)
    return arrays.minimum(num_frames, k)


def _looked_up(table: Sequence[int], places: Any, arrays: Any) -> Any:
    """The numbers at some places. A graph that divided floats might be rewritten, and then round otherwise."""
    if arrays is np:
        return np.array(table, places.dtype)[places]
    return arrays.gather(arrays.constant(table, places.dtype), places)


def fixed_indices(selection: FrameSelection, steps: Any, num_frames: Any, counts: Any, arrays: Any = np) -> Any:
    """The frames of a selection that is a formula.

    Args:
        selection: what to keep.
        steps: int (1, k), 0, 1, 2, ...
        num_frames: int (batch, 1).
        counts: int (batch, 1), of `selected_counts`.
        arrays: what computes, numpy or TensorFlow.

    Returns:
        (batch, k), the index of each step's frame; anything at steps from `counts` on.
    """
    if selection.stride is not None:
        return steps * selection.stride + 0 * num_frames
    chosen = FRAME_SAMPLINGS.get(selection.sampling).formula(steps, num_frames, counts, arrays)
    return arrays.where(num_frames <= counts, steps, chosen)


def _indices_by_features(
    name: str, steps: np.ndarray, num_frames: np.ndarray, counts: np.ndarray, values: np.ndarray
) -> np.ndarray:
    """(batch, k): the frames of a sampling that looks at features, computed only for videos that have more."""
    indices = np.repeat(steps, len(counts), axis=0)
    longer = np.flatnonzero(num_frames > counts)
    if longer.size:
        most = counts[longer].max()
        sampling = FRAME_SAMPLINGS.get(name)
        chosen = chosen_indices(sampling, values[longer], num_frames[longer], counts[longer], int(most))
        for row, indices_of_video in zip(longer, chosen, strict=True):
            k = counts[row]
            indices[row, :k] = _checked(name, indices_of_video[:k].astype(np.int64), num_frames[row], k)
    return indices


def _sampled_indices(
    name: str,
    steps: np.ndarray,
    num_frames: np.ndarray,
    counts: np.ndarray,
    generators: Sequence[np.random.Generator],
) -> np.ndarray:
    """(batch, k): the frames of a sampling that is asked about each video; all of those that have no more."""
    sampling = FRAME_SAMPLINGS.get(name)
    indices = np.repeat(steps, len(counts), axis=0)
    # A sampling that needs features draws nothing, and refuses.
    drawing: Sequence[np.random.Generator | None] = generators or [None] * len(counts)
    for row, longest, k, generator in zip(indices, num_frames.tolist(), counts.tolist(), drawing, strict=True):
        if longest > k:
            row[:k] = _checked(name, sampling(longest, k, generator), longest, k)
    return indices


def _checked(name: str, indices: Sequence[int], num_frames: int, k: int) -> np.ndarray:
    array = np.asarray(indices)
    whole = array.shape == (k,) and array.dtype.kind in "iu"
    if whole and array[0] >= 0 and array[-1] < num_frames and (array[1:] > array[:-1]).all():
        return array
    raise UserError(
        f"the frame sampling '{name}' must return {k} different ascending indices in [0, {num_frames}) of a video of "
        f"{num_frames} frames, not {array.tolist()}."
    )


def frame_indices(
    num_frames: int, *, k: int | None = None, stride: int | None = None, sampling: str = "uniform", seed: int = 0
) -> list[int]:
    """Indices of the frames a student sees of one video of `num_frames` frames.

    Args:
        num_frames: real frames of the video, 0 or more.
        k: frames to keep; or
        stride: every j-th frame.
        sampling: a name in `plugins.FRAME_SAMPLINGS`.
        seed: of what is drawn.

    Returns:
        Ascending indices in [0, num_frames), at most k.

    Raises:
        UserError: k or stride below 1, both or neither given, an unknown sampling, a negative `num_frames`.

    Example:
        >>> frame_indices(10, k=3)
        [1, 5, 8]
        >>> frame_indices(10, stride=4)
        [0, 4, 8]
        >>> frame_indices(2, k=3, sampling="random")
        [0, 1]
    """
    if num_frames < 0:
        raise UserError(f"num_frames must be 0 or more, not {num_frames}.")
    selection = FrameSelection(k, stride, sampling)
    indices, _ = selected_indices(selection, np.array([num_frames]), [b""], seed)
    return indices[0].tolist()
