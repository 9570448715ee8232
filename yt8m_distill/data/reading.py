"""Serialized records to videos, for every edition and level of the format.

A frame-level record is a `tf.train.SequenceExample`: in its context the video's id (bytes) and labels (int64), in its
feature lists one bytes string a frame (a second) for every feature. Frames stay uint8. A record of a thin shard holds
only some of the frames, and says in its context which.

A video-level record is a `tf.train.Example` with id, labels, and for every feature its mean over the frames, as floats.
It is read as a video of one frame. Its bytes are those of a SequenceExample without feature lists.

At the segment level a frame-level record's context also holds ratings of segments, see `videos`.

TensorFlow is imported only where protobuf's parser is needed: a process that reads regular records starts quickly.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from yt8m_distill.config.dataset import SEGMENT, VIDEO, DatasetSpec
from yt8m_distill.data import sequence_example
from yt8m_distill.data.bad_records import BadRecord, BadRecords
from yt8m_distill.data.record_format import (
    LABELS_KEY,
    expected_thinning,
    explain,
    parsed_example,
    parsed_ratings,
    thinning,
)
from yt8m_distill.data.tfrecord import (
    DamagedRecord,
    Frame,
    ask_for,
    frames_of_file,
    place_problem,
    read_record,
)
from yt8m_distill.data.video import SCORES_KEY, SEGMENT_LABELS_KEY, START_TIMES_KEY, Ratings, Video

Content = TypeVar("Content")


def read_video(serialized: bytes | memoryview, spec: DatasetSpec) -> Video:
    """The video in a serialized record.

    Args:
        serialized: a SequenceExample, or an Example; the video's frames are views of it.
        spec: how to read it.

    Raises:
        DamagedRecord: no such message; no id; a missing feature, one with frames of another length or with a number
            that is not finite; a label out of range; at the segment level ratings that are no lists of the same length,
            or out of range.

    Source: the starter code's readers of both levels.
    Differs: where features differ in length the smallest counts (the original pads the shorter with zeros and takes
        the first one's count); a label or feature length out of bounds is an error.
    """
    record = sequence_example.regular_record(serialized)
    video = None if record is None else _video(record, spec)
    return _parsed_video(bytes(serialized), spec) if video is None else video


def _video(record: sequence_example.Record, spec: DatasetSpec) -> Video | None:
    """None where anything is not as it should be; the parser then finds out what."""
    context = record.context
    ids, labels = context.get(spec.id_key), context.get(LABELS_KEY, ())
    found = record.feature_lists
    if spec.level == VIDEO:
        found = {name: values[np.newaxis] for name, values in record.floats.items()}
    features = tuple(map(found.get, spec.feature_names))
    if ids is None or len(ids) != 1 or not isinstance(ids[0], bytes) or any(each is None for each in features):
        return None
    if labels is None or not all(isinstance(each, int) and 0 <= each < spec.num_classes for each in labels):
        return None
    if thinning(context) != expected_thinning(spec):
        return None
    sizes = zip(features, spec.feature_sizes, strict=True)
    if not all(each.shape[1] == size or not len(each) for each, size in sizes):
        return None
    if spec.level == VIDEO and not all(np.isfinite(each).all() for each in features):
        return None
    ratings = _ratings(record, spec)
    return None if ratings is None else _checked_length(ids[0], tuple(labels), features, ratings, spec)


def _ratings(record: sequence_example.Record, spec: DatasetSpec) -> Ratings | None:
    """None where they are not as they should be."""
    if spec.level != SEGMENT:
        return Ratings()
    starts, labels = (record.context.get(key, []) for key in (START_TIMES_KEY, SEGMENT_LABELS_KEY))
    if SCORES_KEY in record.context and SCORES_KEY not in record.floats:
        return None
    if any(values is None or not all(isinstance(each, int) for each in values) for values in (starts, labels)):
        return None
    ratings = Ratings(starts, labels, record.floats.get(SCORES_KEY, ()))
    return None if ratings.problem(spec.num_classes) else ratings


def _checked_length(
    video_id: bytes, labels: tuple, features: tuple[np.ndarray, ...], ratings: Ratings, spec: DatasetSpec
) -> Video:
    num_frames = min(map(len, features))
    num_frames = min(num_frames, spec.max_frames) if spec.max_frames else num_frames
    return Video(video_id, labels, features, num_frames, ratings)


def _parsed_video(serialized: bytes, spec: DatasetSpec) -> Video:
    """The same by protobuf's parser, which explains what is wrong."""
    example = parsed_example(serialized)
    if problem := explain(example, spec):
        raise DamagedRecord(problem)
    context = example.context.feature
    labels = tuple(context[LABELS_KEY].int64_list.value) if LABELS_KEY in context else ()
    sizes = zip(spec.feature_names, spec.feature_sizes, strict=True)
    features = tuple(_parsed_feature(example, name, size, spec.level) for name, size in sizes)
    ratings = parsed_ratings(context) if spec.level == SEGMENT else Ratings()
    return _checked_length(context[spec.id_key].bytes_list.value[0], labels, features, ratings, spec)


def _parsed_feature(example, name: str, size: int, level: str) -> np.ndarray:
    """(frames, size)"""
    if level == VIDEO:
        return np.array(example.context.feature[name].float_list.value, np.float32)[None]
    rows = example.feature_lists.feature_list[name].feature
    return np.frombuffer(b"".join(row.bytes_list.value[0] for row in rows), np.uint8).reshape(-1, size)


def records_of_file(
    path: str, bad_records: BadRecords, read: Callable[[memoryview], Content]
) -> Iterator[tuple[Frame, memoryview, Content]]:
    """Every good record of a file: its place, its data, and what `read` makes of it; valid until the next is asked for.

    Args:
        path: of the file.
        bad_records: what happens to bad records, and what has happened. That the file is empty or cannot be read, to
            its end or at all, is a bad record, too.
        read: raises DamagedRecord where the record is bad.

    Raises:
        UserError: a bad record, where these are errors.
    """
    buffer, size, number, offset = np.empty(0, np.uint8), 0, 1, 0
    try:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            bad_records.note_file(path, size)
            for frame in frames_of_file(path, read_ahead=True):
                number, offset = frame.number, frame.offset
                try:
                    if problem := place_problem(path, frame):
                        raise DamagedRecord(problem)
                    if len(buffer) < frame.num_bytes:  # fresh memory costs as much as reading into it
                        buffer = np.empty(frame.num_bytes, np.uint8)
                    data = read_record(file.fileno(), frame.offset, buffer[: frame.num_bytes])
                    yield frame, data, read(data)
                except DamagedRecord as error:
                    bad_records.note(path, BadRecord(number, frame.num_bytes, str(error)))
    except OSError as error:
        problem = f"the file cannot be read: {error.strerror or error}"
        bad_records.note(path, BadRecord(number, size - offset, problem))


@dataclass(frozen=True)
class RecordReader:
    """Reads records at known places.

    Attributes:
        files: paths of TFRecord files.
        spec: their format.
        bad_records: what happens to bad records.
        check: raises DamagedRecord where a video is no use for what is done with it.
    """

    files: Sequence[str]
    spec: DatasetSpec
    bad_records: BadRecords
    check: Callable[[Video], object]

    def read(self, places: np.ndarray, buffer: np.ndarray, *, prefetch: bool = False) -> tuple[np.ndarray, list[Video]]:
        """The positions after the records and their videos, which are views of the buffer; bad ones left out.

        Args:
            places: rows of the windows of `ReadingOrder`.
            buffer: of at least as many bytes as the records have.
            prefetch: tell the system of all places before the first one is read, so that it fetches them together.
        """
        positions, videos, end = [], [], 0
        with contextlib.ExitStack() as opened:
            descriptors = {}
            for file in set(places[:, 0].tolist()):
                descriptors[file] = opened.enter_context(open(self.files[file], "rb", buffering=0)).fileno()
            for file, _, offset, num_bytes, *_ in places.tolist() if prefetch else ():
                ask_for(descriptors[file], offset, num_bytes)
            for file, number, offset, num_bytes, *position in places.tolist():
                begin, end = end, end + num_bytes
                try:
                    video = read_video(read_record(descriptors[file], offset, buffer[begin:end]), self.spec)
                    self.check(video)
                    videos.append(video)
                    positions.append(position)
                except DamagedRecord as error:
                    self.bad_records.note(self.files[file], BadRecord(number, num_bytes, str(error)))
        return np.array(positions, np.int64).reshape(-1, 3), videos
