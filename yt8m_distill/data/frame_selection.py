"""Which frames of a video the student sees.

One function, `selected_indices`, computes them for every path: for the student's frames chosen before they are
decoded, and for the indices that travel beside all frames in a distillation batch. Its parts `selected_counts` and
`fixed_indices` also compute with tensors, for models that are exported.
"""

import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.errors import UserError


def selected_indices(
    selection: FrameSelection, num_frames: np.ndarray, video_ids: Sequence[bytes], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the selected frames of every video, ascending, none twice.

    Args:
        selection: what to keep.
        num_frames: int (batch,), real frames of each video, 0 or more.
        video_ids: of the videos; with `seed` they decide what is drawn: frames of "random" and "jittered", the k of
            several.
        seed: 0 or more.

    Returns:
        Indices, int32 (batch, k of the longest), 0 where a video has no more; and how many count, int32 (batch,):
        min(k, num_frames), or ceil(num_frames / j) by stride.

    Source: Bhardwaj et al. section 3 (every j-th frame) and 5 (First-, Middle-, Last-, First-Middle-Last-k).
    """
    generators = _generators(selection, video_ids, seed)
    counts = selected_counts(selection, num_frames, generators)
    steps = np.arange(counts.max(initial=0))[np.newaxis]
    if selection.sampling == "random":
        indices = _random_indices(num_frames, counts, generators)
    elif selection.sampling == "jittered":
        indices = _jittered_indices(steps, num_frames[:, np.newaxis], counts[:, np.newaxis], generators)
    else:
        indices = fixed_indices(selection, steps, num_frames[:, np.newaxis], counts[:, np.newaxis])
    return np.where(steps < counts[:, np.newaxis], indices, 0).astype(np.int32), counts.astype(np.int32)


def _generators(selection: FrameSelection, video_ids: Sequence[bytes], seed: int) -> list[np.random.Generator]:
    """One for each video, so that what is drawn for it does not depend on its neighbours; none where nothing is."""
    if selection.sampling not in ("random", "jittered") and not selection.drawn_from:
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
    if selection.stride is not None:
        return (num_frames + selection.stride - 1) // selection.stride
    k = selection.k
    if selection.drawn_from:
        k = np.array([generator.choice(selection.drawn_from) for generator in generators], num_frames.dtype)
    return arrays.minimum(num_frames, k)


def fixed_indices(selection: FrameSelection, steps: Any, num_frames: Any, counts: Any, arrays: Any = np) -> Any:
    """The frames of a selection that draws nothing.

    Args:
        selection: what to keep; its sampling is neither "random" nor "jittered".
        steps: int (1, k), 0, 1, 2, ...
        num_frames: int (batch, 1).
        counts: int (batch, 1), of `selected_counts`.
        arrays: what computes, numpy or TensorFlow.

    Returns:
        (batch, k), the index of each step's frame; anything at steps from `counts` on.
    """
    if selection.stride is not None:
        return steps * selection.stride + 0 * num_frames
    if selection.sampling == "uniform":
        # The middle of each of `counts` equal parts; where counts == num_frames it is every frame.
        return (2 * steps + 1) * num_frames // arrays.maximum(2 * counts, 1)
    if selection.sampling == "first":
        return steps + 0 * num_frames
    if selection.sampling == "last":
        return num_frames - counts + steps
    if selection.sampling == "middle":
        return (num_frames - counts) // 2 + steps
    first_middle_last = _first_middle_last(selection.k, steps, num_frames, arrays)
    return arrays.where(num_frames <= selection.k, steps, first_middle_last)


def _first_middle_last(k: int, steps: Any, num_frames: Any, arrays: Any) -> Any:
    """ceil(k/3) first frames, half of the rest (rounded up) last ones, the others from the middle."""
    first = math.ceil(k / 3)
    last = math.ceil((k - first) / 2)
    middle = k - first - last
    from_middle = (num_frames - middle) // 2 + steps - first
    return arrays.where(steps < first, steps, arrays.where(steps < k - last, from_middle, num_frames - k + steps))


def _jittered_indices(
    steps: np.ndarray, num_frames: np.ndarray, counts: np.ndarray, generators: Sequence[np.random.Generator]
) -> np.ndarray:
    """(batch, k): a frame of each of `counts` equal parts; `steps` is (1, k), the counts (batch, 1)."""
    parts = np.maximum(counts, 1)
    begin, end = steps * num_frames // parts, (steps + 1) * num_frames // parts
    drawn = np.empty((len(counts), steps.size))
    for row, generator in zip(drawn, generators, strict=True):
        generator.random(out=row)
    return begin + (drawn * (end - begin)).astype(begin.dtype)


def _random_indices(
    num_frames: np.ndarray, counts: np.ndarray, generators: Sequence[np.random.Generator]
) -> np.ndarray:
    """(batch, k) without replacement."""
    indices = np.zeros((len(counts), counts.max(initial=0)), np.int32)
    for row, generator in enumerate(generators):
        chosen = generator.choice(num_frames[row], counts[row], replace=False, shuffle=False)
        indices[row, : counts[row]] = np.sort(chosen)
    return indices


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
    indices, _ = selected_indices(selection, np.array([num_frames]), [b""], seed)
    return indices[0].tolist()
