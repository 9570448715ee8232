"""The times at which a film is looked at."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.data.frame_selection import needs_all_frames, selected_indices
from yt8m_distill.errors import UserError

FramePositions = Literal["exact", "keyframes"]


def whole_seconds(seconds: float, frames_per_second: float = 1.0, max_frames: int = 300) -> list[float]:
    """The times of all frames that are taken from a film: 0, 1, 2, ... as long as it lasts.

    Args:
        seconds: length of the film.
        frames_per_second: how many frames are taken of each second.
        max_frames: how many are taken at most.

    Example:
        >>> whole_seconds(3.2)
        [0.0, 1.0, 2.0, 3.0]
        >>> whole_seconds(0.04)
        [0.0]
        >>> whole_seconds(60.0, frames_per_second=0.5, max_frames=4)
        [0.0, 2.0, 4.0, 6.0]
    """
    if not frames_per_second > 0 or max_frames < 1:
        raise UserError("frames_per_second must be above 0, and max_frames 1 or more.")
    # A film of 10.0000001 s has frames at 0, ..., 9.
    count = int(min(np.ceil(seconds * frames_per_second - 1e-3), max_frames))
    return [number / frames_per_second for number in range(max(count, 1))]


def positions(
    times: Sequence[float],
    k: int,
    sampling: str = "uniform",
    frame_positions: FramePositions = "exact",
    keyframe_times: Sequence[float] = (),
    video_id: bytes = b"",
    seed: int = 0,
) -> list[float]:
    """The times of the k frames that a student of k frames sees, of all that are taken from a film.

    Args:
        times: of all of them, ascending; `whole_seconds`.
        k: frames that the student sees; of a film with fewer it sees all.
        sampling: that it was trained with; one that looks at features needs all frames and is refused.
        frame_positions: "exact", or "keyframes": each time moved to the nearest keyframe, of two the earlier, which
            needs no other frame to be decoded. Where keyframes are rarer than positions, some are there several times.
        keyframe_times: `Film.keyframe_times`, for "keyframes".
        video_id: of the video, and
        seed: decide what a random sampling draws.

    Raises:
        UserError: the sampling chooses frames by the features of all.

    Example:
        >>> positions(whole_seconds(180), k=3)
        [30.0, 90.0, 150.0]
        >>> positions(whole_seconds(180), 3, frame_positions="keyframes", keyframe_times=[0.0, 31.2, 88.0, 92.0])
        [31.2, 88.0, 92.0]
    """
    selection = FrameSelection(k, sampling=sampling)
    if needs_all_frames(selection):
        raise UserError(f"the frame sampling '{sampling}' looks at all frames; it cannot choose those to decode.")
    indices, counts = selected_indices(selection, np.array([len(times)]), [video_id], seed)
    chosen = [times[index] for index in indices[0, : counts[0]]]
    if frame_positions == "exact":
        return chosen
    return [_nearest(time, keyframe_times) for time in chosen]


def _nearest(time: float, keyframe_times: Sequence[float]) -> float:
    place = int(np.searchsorted(keyframe_times, time))
    around = keyframe_times[max(place - 1, 0) : place + 1]
    return min(around, key=lambda keyframe: abs(keyframe - time))
