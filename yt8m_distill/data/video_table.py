"""Many videos at once, as arrays: where their ids, labels and frames are in the bytes of their records."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from yt8m_distill.data.video import Video


@dataclass(frozen=True, eq=False)
class VideoTable(Sequence[Video]):
    """Whole videos with uint8 frames, a sequence of `Video` whose parts are also there as arrays.

    Attributes:
        content: uint8, the bytes that frames are views of.
        video_ids: of every video.
        label_ends: int64 (videos + 1,): those of video i are `labels[label_ends[i]:label_ends[i + 1]]`.
        labels: int64, of all videos.
        frames: int64 (videos, features), the place of the first frame of each feature in `content`.
        counts: int64 (videos, features), frames of each feature.
        strides: of each feature, bytes from one frame to the next.
        sizes: of each feature, bytes of a frame.
        num_frames: int32 (videos,), as of `Video`.
    """

    content: np.ndarray
    video_ids: Sequence[bytes]
    label_ends: np.ndarray
    labels: np.ndarray
    frames: np.ndarray
    counts: np.ndarray
    strides: Sequence[int]
    sizes: Sequence[int]
    num_frames: np.ndarray

    def __len__(self) -> int:
        return len(self.video_ids)

    @overload
    def __getitem__(self, index: int) -> Video: ...

    @overload
    def __getitem__(self, index: slice) -> "VideoTable": ...

    def __getitem__(self, index):
        if isinstance(index, slice):
            begin, end, step = index.indices(len(self))
            return self._part(begin, max(begin, end)) if step == 1 else self.rows(np.arange(begin, end, step))
        row = range(len(self))[index]
        begin, end = self.label_ends[row : row + 2].tolist()
        return Video(
            self.video_ids[row],
            tuple(self.labels[begin:end].tolist()),
            tuple(self._feature(row, feature) for feature in range(len(self.sizes))),
            int(self.num_frames[row]),
        )

    def rows(self, rows: np.ndarray) -> "VideoTable":
        """Some of the videos, by their indices."""
        numbers = np.diff(self.label_ends)[rows]
        ends = np.concatenate([[0], np.cumsum(numbers)])
        places = np.repeat(self.label_ends[rows] - ends[:-1], numbers) + np.arange(ends[-1])
        return VideoTable(
            self.content,
            [self.video_ids[row] for row in rows.tolist()],
            ends,
            self.labels[places],
            self.frames[rows],
            self.counts[rows],
            self.strides,
            self.sizes,
            self.num_frames[rows],
        )

    def label_rows(self) -> np.ndarray:
        """int64, the video of each of `labels`."""
        return np.repeat(np.arange(len(self)), np.diff(self.label_ends))

    def copied_frames(self, indices: np.ndarray) -> np.ndarray:
        """Some frames of every video, those of all features side by side: uint8 (videos, frames, sum of the sizes).

        Args:
            indices: int (videos, frames), each below the number of frames of its video.
        """
        parts = []
        for feature, (stride, size) in enumerate(zip(self.strides, self.sizes, strict=True)):
            from_every_byte = np.ndarray((len(self.content) - size + 1, size), np.uint8, self.content, strides=(1, 1))
            parts.append(from_every_byte[self.frames[:, feature, np.newaxis] + indices * stride])
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)

    def _part(self, begin: int, end: int) -> "VideoTable":
        ends = self.label_ends[begin : end + 1]
        labels = self.labels[ends[0] : ends[-1]]
        arrays = self.frames[begin:end], self.counts[begin:end], self.strides, self.sizes, self.num_frames[begin:end]
        return VideoTable(self.content, self.video_ids[begin:end], ends - ends[0], labels, *arrays)

    def _feature(self, row: int, feature: int) -> np.ndarray:
        begin, stride = self.frames[row, feature], self.strides[feature]
        size, count = self.sizes[feature], int(self.counts[row, feature])
        header = stride - size
        rows = self.content[begin - header : begin - header + count * stride].reshape(count, stride)
        return rows[:, header:]
