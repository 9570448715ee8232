"""Which frames of a video the student sees.

One function, `selected_indices`, computes them for every path: for the student's frames chosen before they are
decoded, and for the indices that travel beside all frames in a distillation batch.
"""

import math
import zlib
from collections.abc import Sequence

import numpy as np

from yt8m_distill.config import FrameSelection
from yt8m_distill.errors import UserError


def selected_indices(
    selection: FrameSelection, num_frames: np.ndarray, video_ids: Sequence[bytes], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the selected frames of every video, ascending, none twice.

    Args:
        selection: what to keep.
        num_frames: int (batch,), real frames of each video, 0 or more.
        video_ids: of the videos; with `seed` they decide the frames of "random".
        seed: 0 or more.

    Returns:
        Indices, int32 (batch, k of the longest), 0 where a video has no more; and how many count, int32 (batch,):
        min(k, num_frames), or ceil(num_frames / j) by stride.

    Source: Bhardwaj et al. section 3 (every j-th frame) and 5 (First-, Middle-, Last-, First-Middle-Last-k).
    """
    counts = selected_counts(selection, num_frames)
    steps = np.arange(counts.max(initial=0))[np.newaxis]
    if selection.sampling == "random":
        indices = _random_indices(num_frames, counts, video_ids, seed)
    else:
        indices = _fixed_indices(selection, steps, num_frames[:, np.newaxis], counts[:, np.newaxis])
    return np.where(steps < counts[:, np.newaxis], indices, 0).astype(np.int32), counts.astype(np.int32)


def selected_counts(selection: FrameSelection, num_frames: np.ndarray) -> np.ndarray:
    """How many frames are kept of videos of `num_frames`."""
    if selection.stride is not None:
        return (num_frames + selection.stride - 1) // selection.stride
    return np.minimum(num_frames, selection.k)


def _fixed_indices(
    selection: FrameSelection, steps: np.ndarray, num_frames: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """(batch, k): the frame of each step, from `steps` (1, k), `num_frames` and `counts` (batch, 1)."""
    if selection.stride is not None:
        return steps * selection.stride + 0 * num_frames
    if selection.sampling == "uniform":
        # The middle of each of `counts` equal parts; where counts == num_frames it is every frame.
        return (2 * steps + 1) * num_frames // np.maximum(2 * counts, 1)
    if selection.sampling == "first":
        return steps + 0 * num_frames
    if selection.sampling == "last":
        return num_frames - counts + steps
    if selection.sampling == "middle":
        return (num_frames - counts) // 2 + steps
    return np.where(num_frames <= selection.k, steps, _first_middle_last(selection.k, steps, num_frames))


def _first_middle_last(k: int, steps: np.ndarray, num_frames: np.ndarray) -> np.ndarray:
    """ceil(k/3) first frames, half of the rest (rounded up) last ones, the others from the middle."""
    first = math.ceil(k / 3)
    last = math.ceil((k - first) / 2)
    middle = k - first - last
    from_middle = (num_frames - middle) // 2 + steps - first
    return np.where(steps < first, steps, np.where(steps < k - last, from_middle, num_frames - k + steps))


def _random_indices(num_frames: np.ndarray, counts: np.ndarray, video_ids: Sequence[bytes], seed: int) -> np.ndarray:
    """(batch, k) without replacement, each video from its own seed."""
    indices = np.zeros((len(counts), counts.max(initial=0)), np.int32)
    for row, video_id in enumerate(video_ids):
        generator = np.random.default_rng((seed, zlib.crc32(video_id)))
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
