"""Videos to batches: which frames of each are read, and the arrays that a model is given."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from yt8m_distill.choosing.typicality import values_read
from yt8m_distill.config.dataset import SEGMENT, VIDEO, DatasetSpec
from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.data.frame_selection import counts_of_videos, needs_all_frames, sees_features, selected_indices
from yt8m_distill.data.mixup import mixed
from yt8m_distill.data.video import Video, all_segments, rated_segments
from yt8m_distill.data.video_table import VideoTable
from yt8m_distill.errors import UserError

log = logging.getLogger(__name__)

Batch = dict[str, np.ndarray]


class StoredOutputs(Protocol):
    """Teacher outputs, precomputed.

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
        selection: the student's frames, or all. Where the student chooses by itself, all are read, with "choices".
        with_all_frames: all frames, and the selection's indices beside them.
        stored: precomputed teacher outputs that are added to each batch; None: none are.
        in_segments: each video as its consecutive segments of 5 frames, rated or not.
        mixup: alpha of `data.mixup`, by which the videos of a batch are mixed; 0: they are not.
    """

    selection: FrameSelection = ALL_FRAMES
    with_all_frames: bool = False
    stored: StoredOutputs | None = None
    in_segments: bool = False
    mixup: float = 0.0

    def examples(self, video: Video, spec: DatasetSpec) -> list[Video]:
        """The video as it is, or its segments."""
        if self.in_segments:
            return all_segments(video)
        return rated_segments(video) if spec.level == SEGMENT else [video]

    def batch(self, videos: Sequence[Video], spec: DatasetSpec, seed: int) -> Batch:
        """The videos or segments as arrays."""
        batch = self._frames(videos, spec, seed)
        if self.mixup:
            batch = mixed(batch, _keys(videos), self.mixup, seed)
        return batch if self.stored is None else {**batch, **self.stored.of(example_ids(batch))}

    def _frames(self, videos: Sequence[Video], spec: DatasetSpec, seed: int) -> Batch:
        if self.selection == ALL_FRAMES:
            return all_frames(videos, spec)
        if self.selection.by_student:
            return frames_and_choices(videos, spec, self.selection, seed)
        read = frames_and_selection if self.with_all_frames else selected_frames
        return read(videos, spec, self.selection, seed)


def videos_in(batch: Batch) -> int:
    """Videos of the whole batch, where it is one process's part, too."""
    return int(batch.get("videos_of_all", len(batch["num_frames"])))


def example_ids(batch: Batch) -> list[bytes]:
    """What tells the examples apart: the videos' ids, of segments `ID:START`."""
    if "segment_start" not in batch:
        return list(batch["video_id"])
    return [b"%b:%d" % pair for pair in zip(batch["video_id"], batch["segment_start"].tolist(), strict=True)]


def check_view(spec: DatasetSpec, view: View, flag: str):
    """Checks that records of this format hold the frames of a view; thin shards do not hold all.

    Raises:
        UserError: they do not.
    """
    thin_frames = spec.thin_frames
    if thin_frames is None:
        return
    if view.in_segments:
        raise UserError(f"--{flag}: thin shards, which do not hold all frames; segments need the original shards.")
    selection = ALL_FRAMES if view.with_all_frames else view.selection
    if request := _beyond_thin(selection, thin_frames, spec.thin_sampling):
        kept = f"{thin_frames} {spec.thin_sampling} frames"
        raise UserError(f"--{flag}: thin shards, which hold {kept} of each video; {request} needs the original shards.")
    if selection.k is not None and selection.k < thin_frames:
        frames = f"{selection.k} of the {thin_frames} frames in thin shards"
        log.warning("--%s: %s are close to %d of all frames, but not always the same.", flag, frames, selection.k)


def _beyond_thin(selection: FrameSelection, thin_frames: int, thin_sampling: str) -> str | None:
    """The setting that asks for other frames than those of a thin shard."""
    if selection == ALL_FRAMES:
        return "a model that sees all frames"
    if selection.stride is not None:
        return f"--student_stride={selection.stride}"
    if selection.sampling != thin_sampling:
        return f"--frame_sampling={selection.sampling}"
    if selection.drawn_from and needs_all_frames(selection):  # what fewer frames of them are, only all frames say
        return f"--student_frames={','.join(map(str, selection.drawn_from))}"
    k = selection.k or 0  # given where there is no stride
    others = k != thin_frames if needs_all_frames(selection) else k > thin_frames
    return f"--student_frames={k}" if others else None


def all_frames(videos: Sequence[Video], spec: DatasetSpec) -> dict[str, np.ndarray]:
    """A batch with all frames.

    Args:
        videos: or segments.
        spec: how they were read.

    Returns:
        "video_id" (batch,) bytes, "labels" (batch, classes) uint8 in {0, 1}, "num_frames" (batch,) int32, "frames"
        (batch, frames of the longest, features), the features side by side in the order of `spec`, padding 0; uint8, of
        the video level float32, prepared for a model. Of segments also "segment_start" (batch,) int64, and at the
        segment level "labels" float32, the scores in [0, 1], and "label_weights" (batch, classes) float32, 1 where the
        class was rated and 0 elsewhere.
    """
    counts = _counts(videos)
    return {**_described(videos, spec), "num_frames": counts, "frames": _frames(videos, spec, counts)}


def selected_frames(
    videos: Sequence[Video], spec: DatasetSpec, selection: FrameSelection, seed: int
) -> dict[str, np.ndarray]:
    """A batch with only the selected frames; "num_frames" counts those. No other frame is copied."""
    indices, counts = _selected(videos, spec, selection, seed)
    return {**_described(videos, spec), "num_frames": counts, "frames": _frames(videos, spec, counts, indices)}


def frames_and_selection(
    videos: Sequence[Video], spec: DatasetSpec, selection: FrameSelection, seed: int
) -> dict[str, np.ndarray]:
    """A batch with all frames and, in "student_indices" and "student_num_frames", those the student sees."""
    indices, counts = _selected(videos, spec, selection, seed)
    return {**all_frames(videos, spec), "student_indices": indices, "student_num_frames": counts}


def frames_and_choices(
    videos: Sequence[Video], spec: DatasetSpec, selection: FrameSelection, seed: int
) -> dict[str, np.ndarray]:
    """A batch with all frames and, in "choices", how many of them the student is to choose: see `VideoModel`."""
    counts = counts_of_videos(selection, _counts(videos), _keys(videos), seed)
    return {**all_frames(videos, spec), "choices": choices_of(counts)}


def choices_of(counts: np.ndarray) -> np.ndarray:
    """Numbers of frames as bool (batch, largest of them, at least 1), True as often as frames are to be chosen."""
    return np.arange(counts.max(initial=1)) < counts[:, np.newaxis]


def indices_in(video: Video, spec: DatasetSpec, selection: FrameSelection) -> np.ndarray:
    """Indices of a selection's frames in one video; nothing of it is drawn."""
    indices, counts = _selected([video], spec, selection, seed=0)
    return indices[0, : counts[0]]


def _selected(
    videos: Sequence[Video], spec: DatasetSpec, selection: FrameSelection, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    counts = _counts(videos)
    values = _values(videos, spec, counts) if sees_features(selection) else None
    return selected_indices(selection, counts, _keys(videos), seed, values)


def _values(videos: Sequence[Video], spec: DatasetSpec, counts: np.ndarray) -> np.ndarray:
    """What `choosing.typicality.read_values` reads of the videos' frames, without copying the rest of them."""
    sizes = values_read(spec.feature_sizes)
    values = np.zeros((len(videos), counts.max(initial=0), sum(sizes)), spec.frame_dtype)
    for row, video, count in zip(values, videos, counts, strict=True):
        begin = 0
        for feature, size in zip(video.features, sizes, strict=True):
            if count:  # a feature without frames may have no size
                row[:count, begin : begin + size] = feature[:count, :size]
            begin += size
    return values


def _counts(videos: Sequence[Video]) -> np.ndarray:
    if isinstance(videos, VideoTable):
        return videos.num_frames
    return np.array([video.num_frames for video in videos], np.int32)


def _keys(videos: Sequence[Video]) -> Sequence[bytes]:
    return videos.video_ids if isinstance(videos, VideoTable) else [video.key for video in videos]


def _described(videos: Sequence[Video], spec: DatasetSpec) -> dict[str, np.ndarray]:
    ids = np.empty(len(videos), object)
    if isinstance(videos, VideoTable):
        ids[:] = videos.video_ids
        return {"video_id": ids, **_labels(videos, spec)}
    ids[:] = [video.video_id for video in videos]
    described = {"video_id": ids, **(_scores(videos, spec) if spec.level == SEGMENT else _labels(videos, spec))}
    if videos and videos[0].start is not None:
        described["segment_start"] = np.array([video.start for video in videos], np.int64)
    return described


def _labels(videos: Sequence[Video], spec: DatasetSpec) -> dict[str, np.ndarray]:
    labels = np.zeros((len(videos), spec.num_classes), np.uint8)
    if isinstance(videos, VideoTable):
        labels[videos.label_rows(), videos.labels] = 1
        return {"labels": labels}
    for row, video in zip(labels, videos, strict=True):
        row[list(video.labels)] = 1
    return {"labels": labels}


def _scores(segments: Sequence[Video], spec: DatasetSpec) -> dict[str, np.ndarray]:
    labels, weights = np.zeros((2, len(segments), spec.num_classes), np.float32)
    for row, segment in enumerate(segments):
        classes = list(segment.scores)
        labels[row, classes] = list(segment.scores.values())
        weights[row, classes] = 1
    return {"labels": labels, "label_weights": weights}


def _frames(
    videos: Sequence[Video], spec: DatasetSpec, counts: np.ndarray, indices: np.ndarray | None = None
) -> np.ndarray:
    """(batch, longest, features): the first frames of every video, as many as it has, or those at `indices`."""
    if isinstance(videos, VideoTable):
        return _frames_of_table(videos, counts, indices)
    frames = np.empty((len(videos), counts.max(initial=0), spec.frame_size), spec.frame_dtype)
    for row, (video, count) in enumerate(zip(videos, counts, strict=True)):
        begin = 0
        for feature, size in zip(video.features, spec.feature_sizes, strict=True):
            chosen = feature[:count] if indices is None else feature[indices[row, :count]]
            if count:
                frames[row, :count, begin : begin + size] = chosen
            begin += size
        frames[row, count:] = 0
    return _l2_normalized(frames) if spec.level == VIDEO and spec.normalized else frames


def _frames_of_table(videos: VideoTable, counts: np.ndarray, indices: np.ndarray | None) -> np.ndarray:
    steps = np.arange(counts.max(initial=0))
    is_real = steps < counts[:, np.newaxis]
    frames = videos.copied_frames(np.where(is_real, steps if indices is None else indices[:, : len(steps)], 0))
    if not is_real.all():
        frames[~is_real] = 0
    return frames


def _l2_normalized(frames: np.ndarray) -> np.ndarray:
    """Each vector brought to 2-norm 1; 0 stays 0.

    Source: the starter code, which does this to the input of every model. In float64, where no square of a float32
    overflows.
    """
    squares = np.sum(np.square(frames, dtype=np.float64), axis=-1, keepdims=True)
    return (frames / np.sqrt(np.maximum(squares, 1e-12))).astype(np.float32)
