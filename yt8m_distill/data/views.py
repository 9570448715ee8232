"""What a batch holds, and where in the epoch it ends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from yt8m_distill.config.dataset import SEGMENT, DatasetSpec
from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.data import batches
from yt8m_distill.data.video import Video, all_segments, rated_segments

Batch = dict[str, np.ndarray]


class StoredOutputs(Protocol):
    """What a teacher has said of videos, stored.

    Attributes:
        widths: of each array that `of` returns, by name.
    """

    widths: Mapping[str, int]

    def of(self, video_ids: Sequence[bytes]) -> Batch:
        """Arrays, float32 (batch, width)."""


@dataclass(frozen=True)
class View:
    """Which frames of a video are read.

    Attributes:
        selection: the student's frames, or all.
        with_all_frames: all frames, and the selection's indices beside them.
        stored: what is added to each batch from what a teacher has said of its videos; None: nothing.
        in_segments: each video as its consecutive segments of 5 frames, rated or not.
    """

    selection: FrameSelection = ALL_FRAMES
    with_all_frames: bool = False
    stored: StoredOutputs | None = None
    in_segments: bool = False

    def examples(self, video: Video, spec: DatasetSpec) -> list[Video]:
        """The video as it is, or its segments."""
        if self.in_segments:
            return all_segments(video)
        return rated_segments(video) if spec.level == SEGMENT else [video]

    def batch(self, videos: Sequence[Video], spec: DatasetSpec, seed: int) -> Batch:
        """The videos or segments as arrays."""
        batch = self._frames(videos, spec, seed)
        return batch if self.stored is None else {**batch, **self.stored.of(example_ids(batch))}

    def _frames(self, videos: Sequence[Video], spec: DatasetSpec, seed: int) -> Batch:
        if self.selection == ALL_FRAMES:
            return batches.all_frames(videos, spec)
        read = batches.frames_and_selection if self.with_all_frames else batches.selected_frames
        return read(videos, spec, self.selection, seed)


@dataclass(frozen=True)
class Position:
    """A place in the order in which records are read; all before it are done.

    Attributes:
        group: files that are read together; in the order of the files, each is a group.
        window: of the group, in which the records are shuffled together; 0 where nothing is shuffled.
        record: of the window, in the order in which it is given out.
    """

    group: int = 0
    window: int = 0
    record: int = 0


BEGINNING = Position()


@dataclass(frozen=True)
class Part:
    """One process's videos of every batch, where several processes share the work.

    Attributes:
        index: which process.
        count: how many there are.
    """

    index: int
    count: int

    def of(self, whole: Sequence) -> Sequence:
        """Its videos, one after another; where there are fewer videos than processes, some have one that is not theirs.

        A process with no video of its own still has to take part in the step, with a video that counts nothing.
        """
        begin, end = (len(whole) * index // self.count for index in (self.index, self.index + 1))
        return whole[begin:end] if begin < end else whole[min(begin, len(whole) - 1) :][:1]


def videos_in(batch: Batch) -> int:
    """Videos of the whole batch, where it is one process's part, too."""
    return batch.get("videos_of_all", len(batch["num_frames"]))


def example_ids(batch: Batch) -> list[bytes]:
    """What tells the examples apart: the videos' ids, of segments `ID:START`."""
    if "segment_start" not in batch:
        return list(batch["video_id"])
    return [b"%b:%d" % pair for pair in zip(batch["video_id"], batch["segment_start"].tolist(), strict=True)]


def position_after(batch: Batch) -> Position:
    """Where reading goes on after a batch."""
    return Position(*batch["position"][-1].tolist())
