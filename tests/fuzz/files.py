"""Whole TFRecord files with damage, and what is read of them in either mode of --on_bad_record."""

import random
import re
import tempfile
from dataclasses import dataclass

import google_crc32c
import numpy as np
import tensorflow as tf
from hypothesis import strategies as st

from tests.fuzz.attempts import attempt
from tests.fuzz.records import CHANGES, ONCE, SPEC, mutated, record, video_or_none
from yt8m_distill.config.dataset import SpecOverrides
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.data.bad_records import BadRecords
from yt8m_distill.data.batches import View
from yt8m_distill.data.framing import records_of_stream
from yt8m_distill.data.reading import videos_of_file
from yt8m_distill.data.reading_order import Position
from yt8m_distill.data.record_files import frames_of_file
from yt8m_distill.data.video_files import VideoFiles, open_videos

OVERRIDES = SpecOverrides(SPEC.feature_names, SPEC.feature_sizes, SPEC.num_classes, SPEC.max_frames)
REORDERINGS = ("remove", "repeat", "swap", "replace")

_NUMBER = st.integers(0, 7)
FILES = st.builds(
    lambda seed, count, reordering, changes: mutated(_file(seed, count, reordering), changes),
    st.integers(0, 2**63),
    _NUMBER,
    st.lists(st.tuples(st.sampled_from(REORDERINGS), _NUMBER, _NUMBER), max_size=2),
    CHANGES,
)


@dataclass(frozen=True)
class Place:
    """A record of a file, found by the definition of the format; `data` is None where it is damaged."""

    number: int
    num_bytes: int
    data: bytes | None
    is_gap: bool = False


def _file(seed: int, count: int, reordering: list[tuple[str, int, int]]) -> bytes:
    """The bytes of a file; some of its records are sound, but no videos of the data set."""
    chance = random.Random(seed)
    records = [_framed(record(seed + number, chance.choice((0.0, 0.0, ONCE)))) for number in range(count)]
    for how, first, second in reordering:
        if not records:
            break
        one, other = first % len(records), second % len(records)
        if how == "remove":
            del records[one]
        elif how == "repeat":
            records.insert(other, records[one])
        elif how == "swap":
            records[one], records[other] = records[other], records[one]
        elif how == "replace":
            records[one] = _framed(chance.randbytes(second))
    return b"".join(records)


def _checksum(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8 & 0xFFFFFFFF).to_bytes(4, "little")


def _framed(data: bytes) -> bytes:
    length = len(data).to_bytes(8, "little")
    return length + _checksum(length) + data + _checksum(data)


def _is_record(file: bytes, begin: int) -> int | None:
    """The end of a record at a place, by its length and the checksum of that; None where there is none."""
    length = int.from_bytes(file[begin : begin + 8], "little")
    end = begin + 12 + length + 4
    fits = file[begin + 8 : begin + 12] == _checksum(file[begin : begin + 8]) and end <= len(file)
    return end if fits else None


def _is_undamaged(file: bytes, begin: int, end: int) -> bool:
    return file[end - 4 : end] == _checksum(file[begin + 12 : end - 4])


def _next_record(file: bytes, start: int) -> int:
    """The next place with an undamaged record, byte after byte; the end of the file where there is none."""
    for begin in range(start, len(file)):
        end = _is_record(file, begin)
        if end is not None and _is_undamaged(file, begin, end):
            return begin
    return len(file)


def _places(file: bytes) -> list[Place]:
    """All records, and the gaps where there is none, up to the next record that can be told apart."""
    places, begin = [], 0
    while begin < len(file):
        end = _is_record(file, begin)
        if end is not None:
            data = file[begin + 12 : end - 4] if _is_undamaged(file, begin, end) else None
            places.append(Place(len(places) + 1, end - begin, data))
            begin = end
            continue
        before = places[-1] if places else None
        if before is not None and before.data is None and not before.is_gap:  # bytes may be missing from it
            place = _next_record(file, begin - before.num_bytes + 1)
            if place < begin:
                begin -= places.pop().num_bytes
                places.append(Place(len(places) + 1, place - begin, None, is_gap=True))
                begin = place
                continue
        place = _next_record(file, begin + 1)
        places.append(Place(len(places) + 1, place - begin, None, is_gap=True))
        begin = place
    return places


def check_file(file: bytes):
    """`skip` reads exactly what is undamaged and accounts for every byte; `error` reads all, or names a bad record."""
    with tempfile.NamedTemporaryFile(suffix=".tfrecord") as written:
        written.write(file)
        written.flush()
        places = _places(file)
        _assert_tensorflow_reads_the_beginning(written.name, places)
        _check_framing(written.name, places)
        videos = [None if place.data is None else video_or_none(place.data) for place in places]
        expected = [_described(video) for video in videos if video is not None]
        batch_size = 1 + len(file) % 4
        _check_skipping(written.name, places, expected, batch_size)
        _check_error(written.name, places, expected, batch_size)
        _check_detection(written.name)


def _assert_tensorflow_reads_the_beginning(path: str, places: list[Place]):
    """It stops at the first damage."""
    undamaged = [place.data for place in places]
    undamaged = undamaged[: undamaged.index(None)] if None in undamaged else undamaged
    read = []
    try:
        for data in tf.data.TFRecordDataset(path):
            read.append(data.numpy())
    except tf.errors.DataLossError:
        assert len(undamaged) < len(places)
    assert read == undamaged


def _check_framing(path: str, places: list[Place]):
    frames = list(frames_of_file(path))
    assert [(frame.number, frame.num_bytes) for frame in frames] == [(each.number, each.num_bytes) for each in places]
    assert [frame.offset for frame in frames] == np.cumsum([0, *(each.num_bytes for each in places[:-1])]).tolist()[
        : len(frames)
    ]
    assert [frame.is_gap for frame in frames] == [each.is_gap for each in places]
    readable = [frame for frame in frames if not frame.problem]
    for skip in (1, 3):
        assert list(frames_of_file(path, skip)) == [each for each in frames if each not in readable[:skip]]
    with open(path, "rb") as stream:
        streamed = list(records_of_stream(stream))
    assert [record.num_bytes for record in streamed] == [frame.num_bytes for frame in frames]
    assert [None if record.problem else record.data for record in streamed] == [place.data for place in places]


def _described(video) -> tuple:
    frames = np.concatenate([feature[: video.num_frames] for feature in video.features], axis=1)
    return video.video_id, sorted(set(video.labels)), frames.tobytes()


def _rows(batches) -> list[tuple]:
    """The videos of batches, as `_described`."""
    return [
        (video_id, np.flatnonzero(labels).tolist(), frames[:count].tobytes())
        for batch in batches
        for video_id, labels, frames, count in zip(
            batch["video_id"], batch["labels"], batch["frames"], batch["num_frames"], strict=True
        )
    ]


def _check_skipping(path: str, places: list[Place], expected: list[tuple], batch_size: int):
    one_by_one = videos_of_file(path, SPEC, BadRecords(skip=True))
    assert [_described(video) for _, _, video in one_by_one] == expected
    videos = VideoFiles((path,), SPEC, BadRecords(skip=True))
    batches = list(videos.ordered_batches(View(), batch_size))
    assert _rows(batches) == expected
    bad = videos.bad_records.by_file().get(path, [])
    good_bytes = sum(place.num_bytes for place in places) - sum(record.num_bytes for record in bad)
    good_numbers = {place.number for place in places} - {record.number for record in bad}
    assert good_bytes == sum(place.num_bytes for place in places if place.number in good_numbers)
    assert len(good_numbers) == len(expected)
    assert all(record.problem for record in bad)
    assert videos.bad_records.bytes_by_file() == {path: sum(place.num_bytes for place in places)}
    shuffled = videos.training_batches(View(FrameSelection(300)), batch_size, seed=1, epoch=2)
    assert sorted(_rows(shuffled)) == sorted(expected)
    if batches:
        position = Position(*batches[0]["position"][-1].tolist())
        rest = videos.ordered_batches(View(), batch_size, start=position)
        assert _rows(rest) == expected[len(batches[0]["video_id"]) :]


def _check_error(path: str, places: list[Place], expected: list[tuple], batch_size: int):
    rows, message = attempt(lambda: _rows(VideoFiles((path,), SPEC).ordered_batches(View(), batch_size)))
    if len(expected) == len(places) > 0:
        assert rows == expected
    else:
        named = re.match(re.escape(path) + r", record (\d+): ", message)
        bad = {place.number for place in places if place.data is None or video_or_none(place.data) is None}
        assert int(named[1]) in (bad or {1})


def _check_detection(path: str):
    for skip in (False, True):
        found, message = attempt(lambda: open_videos(path, "pattern", OVERRIDES, skip_bad_records=skip))  # noqa: B023
        assert path in message if found is None else found.spec.feature_sizes == SPEC.feature_sizes
