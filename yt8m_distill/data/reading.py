"""Records to videos, for every edition and level of the format; one by one, or all of a file."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from yt8m_distill.config.dataset import SEGMENT, VIDEO, DatasetSpec
from yt8m_distill.data.bad_records import BadRecord, BadRecords
from yt8m_distill.data.record_format import LABELS_KEY, problem_of, ratings_of
from yt8m_distill.data.sequence_example import BYTES, INT64S, Record, parse_record
from yt8m_distill.data.tfrecord import (
    DamagedRecord,
    Frame,
    ask_for,
    frames_of_file,
    place_problem,
    read_record,
)
from yt8m_distill.data.video import Ratings, Video

Content = TypeVar("Content")


def read_video(serialized: bytes | memoryview, spec: DatasetSpec) -> Video:
    """The video in a serialized record.

    Args:
        serialized: a SequenceExample, or an Example; the video's frames are views of it, uint8. A video-level record is
            a video of one float frame.
        spec: how to read it.

    Raises:
        DamagedRecord: no such message, or one that breaks one of `record_format.RULES`.

    Source: the starter code's readers of both levels.
    Differs: where features differ in length the smallest counts (the original pads the shorter with zeros and takes
        the first one's count); a label or feature length out of bounds is an error.
    """
    record = parse_record(serialized)
    if problem := problem_of(record, spec):
        raise DamagedRecord(problem)
    features = _features(record, spec)
    num_frames = min(map(len, features))
    return Video(
        video_id=record.values(spec.id_key, BYTES)[0],
        labels=tuple(record.values(LABELS_KEY, INT64S)),
        features=features,
        num_frames=min(num_frames, spec.max_frames) if spec.max_frames else num_frames,
        ratings=ratings_of(record) if spec.level == SEGMENT else Ratings(),
    )


def _features(record: Record, spec: DatasetSpec) -> tuple[np.ndarray, ...]:
    if spec.level == VIDEO:
        return tuple(record.context[name].values[np.newaxis] for name in spec.feature_names)
    return tuple(record.feature_lists[name] for name in spec.feature_names)


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
