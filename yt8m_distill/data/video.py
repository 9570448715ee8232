"""The content of a record: a video, and its segments, the parts of 5 frames that are rated (YouTube-8M 2019), or all.

The context of a rated frame-level record holds three lists of the same length: `segment_start_times` (int64, seconds),
`segment_labels` (int64, classes) and `segment_scores` (float, 1 where people saw the class in the segment, else 0).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from yt8m_distill.config.dataset import SEGMENT_FRAMES


@dataclass(frozen=True)
class Ratings:
    """The three lists of a record; empty where it has none."""

    starts: Sequence[int] = ()
    labels: Sequence[int] = ()
    scores: Sequence[float] = ()

    def by_start(self) -> dict[int, dict[int, float]]:
        """Score by class for each start time, in order of first appearance; of equal pairs the last one counts."""
        scores: dict[int, dict[int, float]] = {}
        for start, label, score in zip(self.starts, self.labels, self.scores, strict=True):
            scores.setdefault(int(start), {})[int(label)] = float(score)
        return scores


@dataclass(frozen=True)
class Video:
    """One record as it was read, or a segment of it; frames are views of its bytes.

    Attributes:
        video_id: as in the record.
        labels: in [0, classes).
        features: for every feature of the spec uint8 (frames, size); features may differ in their number of frames. Of
            the video level float32 (1, size), finite.
        num_frames: the smallest number of frames of any feature, at most `spec.max_frames`.
        ratings: of its segments; read at the segment level only.
        start: of a segment, in seconds; None: a whole video.
        scores: of a segment, by class; classes that nobody rated are missing.
    """

    video_id: bytes
    labels: tuple[int, ...]
    features: tuple[np.ndarray, ...]
    num_frames: int
    ratings: Ratings = Ratings()
    start: int | None = None
    scores: Mapping[int, float] = field(default_factory=dict)

    @property
    def key(self) -> bytes:
        """Identifies video and segment."""
        return self.video_id if self.start is None else b"%b:%d" % (self.video_id, self.start)


def rated_segments(video: Video) -> list[Video]:
    """The rated segments of a video.

    Source: the starter code's reader with `segment_labels`.
    Differs: only the frames that are there count (the original says 5, and fills with zeros); a segment that begins
        after the video's end has none (the original fails).
    """
    return [segment(video, start, scores) for start, scores in video.ratings.by_start().items()]


def all_segments(video: Video) -> list[Video]:
    """Consecutive segments of the whole video; the last one may be shorter.

    Source: the starter code's `get_segments`.
    """
    return [segment(video, start, {}) for start in range(0, video.num_frames, SEGMENT_FRAMES)]


def segment(video: Video, start: int, scores: Mapping[int, float]) -> Video:
    """The frames from a start time on, as an example of its own."""
    end = min(start + SEGMENT_FRAMES, video.num_frames)
    features = tuple(feature[start:end] for feature in video.features)
    return dataclasses.replace(video, features=features, num_frames=max(end - start, 0), start=start, scores=scores)
