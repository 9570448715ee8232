"""Records to videos, for every edition and level of the format; one by one, or all of a file."""

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from yt8m_distill.config.dataset import DEFAULT_RANGE, SEGMENT, VIDEO, DatasetSpec
from yt8m_distill.data.bad_records import BadRecord, BadRecords
from yt8m_distill.data.float_frames import as_bytes
from yt8m_distill.data.record_files import FileStamp, ask_for, open_records, open_unchanged
from yt8m_distill.data.record_format import (
    ID_KEYS,
    LABELS_KEY,
    LEARNING,
    PREDICTION,
    generated_id,
    id_of,
    is_floats,
    problem_of,
    ratings_of,
)
from yt8m_distill.data.sequence_example import INT64S, Record, parse_record
from yt8m_distill.data.tfrecord import DamagedRecord, Frame, read_record
from yt8m_distill.data.video import Ratings, Video

log = logging.getLogger(__name__)

Content = TypeVar("Content")


def read_video(serialized: bytes | memoryview, spec: DatasetSpec, *, use: str = LEARNING, generated: str = "") -> Video:
    """The video in a serialized record.

    Args:
        serialized: a SequenceExample, or an Example; the video's frames are views of it, uint8. A video-level record is
            a video of one float frame.
        spec: how to read it.
        use: what it is read for, one of `record_format.USES`; for predictions labels are not looked at, and left out.
        generated: the id where records have none.

    Raises:
        DamagedRecord: no such message, or one that breaks one of `record_format.RULES`.

    Source: the starter code's readers of both levels.
    Differs: where features differ by a frame the smaller number counts (the original pads the shorter with zeros and
        takes the first one's count); by more, or a label or feature length out of bounds, is an error.
    """
    record = parse_record(serialized)
    if problem := problem_of(record, spec, use):
        raise DamagedRecord(problem)
    if use != PREDICTION:
        _check_edition(record, spec)
    features = _features(record, spec)
    num_frames = min(map(len, features))
    return Video(
        video_id=id_of(record, spec, generated),
        labels=() if use == PREDICTION else tuple(record.values(LABELS_KEY, INT64S)),
        features=features,
        num_frames=min(num_frames, spec.max_frames) if spec.max_frames else num_frames,
        ratings=ratings_of(record) if spec.level == SEGMENT else Ratings(),
    )


def _check_edition(record: Record, spec: DatasetSpec):
    """Records of several editions may be read together, but their class numbers mean other things."""
    of_spec = record.context.get(spec.id_key)
    if spec.id_key in ID_KEYS and of_spec is None and record.values(LABELS_KEY, INT64S):
        _warn_of_editions(spec.id_key)


@functools.cache
def _warn_of_editions(id_key: str):
    """Once for each process."""
    other = next(key for key in ID_KEYS if key != id_key)
    log.warning(
        "Labelled records with an id in '%s' are read together with others that have it in '%s'. If these are "
        "YouTube-8M 2017 and 2018, their class numbers mean other things.",
        other,
        id_key,
    )


def _features(record: Record, spec: DatasetSpec) -> tuple[np.ndarray, ...]:
    if spec.level == VIDEO:
        return tuple(record.context[name].values[np.newaxis] for name in spec.feature_names)
    features = tuple(record.feature_lists[name] for name in spec.feature_names)
    if not spec.float_frames:
        return features
    ranges = spec.feature_ranges or (DEFAULT_RANGE,) * len(features)
    return tuple(
        as_bytes(frames, *ends) if is_floats(frames) else frames for frames, ends in zip(features, ranges, strict=True)
    )


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
    yield from _records_of_file(path, bad_records, lambda data, frame: read(data))


def videos_of_file(
    path: str, spec: DatasetSpec, bad_records: BadRecords, use: str = LEARNING
) -> Iterator[tuple[Frame, memoryview, Video]]:
    """`records_of_file` with the video of each record; see `read_video`."""

    def read(data: memoryview, frame: Frame) -> Video:
        generated = "" if spec.id_key else generated_id(path, frame.number)
        return read_video(data, spec, use=use, generated=generated)

    yield from _records_of_file(path, bad_records, read)


def _records_of_file(
    path: str, bad_records: BadRecords, read: Callable[[memoryview, Frame], Content]
) -> Iterator[tuple[Frame, memoryview, Content]]:
    buffer, size, number, offset = np.empty(0, np.uint8), 0, 1, 0
    try:
        with open_records(path) as records:
            size = records.all_bytes
            bad_records.note_file(path, size)
            for frame in records.frames(read_ahead=True):
                number, offset = frame.number, frame.offset
                try:
                    if frame.problem:
                        raise DamagedRecord(frame.problem)
                    if len(buffer) < frame.num_bytes:  # fresh memory costs as much as reading into it
                        buffer = np.empty(frame.num_bytes, np.uint8)
                    data = read_record(records.descriptor, frame.offset, buffer[: frame.num_bytes])
                    yield frame, data, read(data, frame)
                except DamagedRecord as error:
                    bad_records.note(path, BadRecord(number, frame.num_bytes, str(error), frame.is_gap))
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
        use: what the records are read for, one of `record_format.USES`.
        stamps: of the files when the command began, where they are known.
    """

    files: Sequence[str]
    spec: DatasetSpec
    bad_records: BadRecords
    use: str = LEARNING
    stamps: Mapping[str, FileStamp] = field(default_factory=dict)

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
                records = opened.enter_context(open_unchanged(self.files[file], self.stamps.get(self.files[file])))
                descriptors[file] = records.descriptor
            for file, _, offset, num_bytes, *_ in places.tolist() if prefetch else ():
                ask_for(descriptors[file], offset, num_bytes)
            for file, number, offset, num_bytes, *position in places.tolist():
                begin, end = end, end + num_bytes
                try:
                    data = read_record(descriptors[file], offset, buffer[begin:end])
                    videos.append(self._video(data, self.files[file], number))
                    positions.append(position)
                except DamagedRecord as error:
                    self.bad_records.note(self.files[file], BadRecord(number, num_bytes, str(error)))
        return np.array(positions, np.int64).reshape(-1, 3), videos

    def _video(self, data: memoryview, path: str, number: int) -> Video:
        generated = "" if self.spec.id_key else generated_id(path, number)
        return read_video(data, self.spec, use=self.use, generated=generated)
