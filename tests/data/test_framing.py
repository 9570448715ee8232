"""One damaged record costs one record: what is found behind damage, in a file and in a stream, at what cost."""

import io
import time

import pytest

from tests.helpers import TINY_FEATURES, sequence_example
from yt8m_distill.data import framing
from yt8m_distill.data.bad_records import BadRecords, report_skipped
from yt8m_distill.data.batches import View
from yt8m_distill.data.framing import records_of_stream
from yt8m_distill.data.reading_order import position_after
from yt8m_distill.data.record_files import frames_of_file
from yt8m_distill.data.tfrecord import MAX_RECORD_BYTES, framed, masked_crc32c
from yt8m_distill.data.video_files import VideoFiles, open_videos

CONTENTS = [bytes([65 + number]) * (30 + number) for number in range(6)]
RECORDS = list(map(framed, CONTENTS))


def file_of(*records: bytes) -> bytes:
    return b"".join(records)


def header(length: int) -> bytes:
    packed = length.to_bytes(8, "little")
    return packed + masked_crc32c(packed).to_bytes(4, "little")


def flipped(record: bytes, place: int) -> bytes:
    return record[:place] + bytes([record[place] ^ 4]) + record[place + 1 :]


def numbers(*places: int) -> list[bytes]:
    return [CONTENTS[place] for place in places]


R0, R1, R2, R3, R4, R5 = RECORDS
DAMAGED = {
    "a length": (file_of(R0, flipped(R1, 0), R2, R3), numbers(0, 2, 3), [len(R1)]),
    "the checksum of a length": (file_of(R0, flipped(R1, 9), R2, R3), numbers(0, 2, 3), [len(R1)]),
    "the first length": (file_of(flipped(R0, 1), R1, R2), numbers(1, 2), [len(R0)]),
    "the last length": (file_of(R0, R1, flipped(R2, 1)), numbers(0, 1), [len(R2)]),
    "two lengths": (file_of(R0, flipped(R1, 2), R2, R3, flipped(R4, 8), R5), numbers(0, 2, 3, 5), [len(R1), len(R4)]),
    "two in a row": (file_of(R0, flipped(R1, 2), flipped(R2, 3), R3), numbers(0, 3), [len(R1) + len(R2)]),
    "a length before damaged data": (file_of(flipped(R0, 0), flipped(R1, 20), R2), numbers(2), [len(R0) + len(R1)]),
    "missing bytes": (file_of(R0, R1[:20] + R1[25:], R2, R3), numbers(0, 2, 3), [len(R1) - 5]),
    "missing bytes of the last but one": (file_of(R0, R1[:20] + R1[25:], R2), numbers(0, 2), [len(R1) - 5]),
    "a record cut short": (file_of(R0, R1[:15], R2, R3), numbers(0, 2, 3), [15]),
    "bytes between records": (file_of(R0, b"#" * 7, R1), numbers(0, 1), [7]),
    "inserted bytes": (file_of(R0, R1[:20] + b"###" + R1[20:], R2), numbers(0, 2), [len(R1), 3]),
    "zeros": (file_of(R0, bytes(4096), R1, R2), numbers(0, 1, 2), [4096]),
    "a length beyond the end": (file_of(R0, header(1 << 40), R1, R2), numbers(0, 1, 2), [12]),
    "cut": (file_of(R0, R1, R2[:-1]), numbers(0, 1), [len(R2) - 1]),
    "less than a header": (file_of(R0, b"#####"), numbers(0), [5]),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_whole_records_are_found_and_all_bytes_are_counted(tmp_path, name):
    content, good, lost = DAMAGED[name]
    path = tmp_path / "a.tfrecord"
    path.write_bytes(content)
    frames = list(frames_of_file(path))
    assert [frame.number for frame in frames] == list(range(1, len(frames) + 1))
    assert sum(frame.num_bytes for frame in frames) == len(content)
    assert [frame.end for frame in frames[:-1]] == [frame.offset for frame in frames[1:]]
    for stream in (io.BytesIO(content), NotSeekable(content)):
        records = list(records_of_stream(stream))
        assert [record.data for record in records if not record.problem] == good
        assert [record.num_bytes for record in records if record.problem] == lost
        assert [(record.number, record.num_bytes) for record in records] == [
            (frame.number, frame.num_bytes) for frame in frames
        ]


class NotSeekable(io.RawIOBase):
    """A stream that cannot be rewound, and gives few bytes at a time."""

    def __init__(self, content: bytes):
        self._content = io.BytesIO(content)

    def read(self, num_bytes: int = -1) -> bytes:
        return self._content.read(min(num_bytes, 100))


def test_a_file_without_any_record_is_searched_quickly_and_not_for_ever(tmp_path, monkeypatch):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(file_of(R0) + bytes(1 << 26))
    start = time.perf_counter()
    assert [frame.problem is None for frame in frames_of_file(path)] == [True, False]
    assert time.perf_counter() - start < 20
    monkeypatch.setattr(framing, "SEARCH_BYTES", 1 << 20)
    path.write_bytes(file_of(R0) + bytes(3 << 20) + R1)
    *_, last = frames_of_file(path)
    assert last.num_bytes == (3 << 20) + len(R1)
    assert "the rest of the file is lost" in last.problem


def test_a_crafted_file_of_headers_costs_little(tmp_path):
    """Each of a million headers claims a record up to the end, whose checksum would have to be computed."""
    path = tmp_path / "a.tfrecord"
    count = 1 << 20
    path.write_bytes(b"#####" + b"".join(header(12 * (count - number) // 2) for number in range(count)))
    start = time.perf_counter()
    (gap,) = frames_of_file(path)
    assert gap.problem
    assert time.perf_counter() - start < 30


def test_a_record_longer_than_any_video_does_not_hide_the_next(tmp_path):
    path = tmp_path / "a.tfrecord"
    with open(path, "wb") as file:
        file.write(file_of(R0, header(MAX_RECORD_BYTES)))
        file.seek(MAX_RECORD_BYTES + 4, io.SEEK_CUR)
        file.write(R1)
    first, long, last = frames_of_file(path)
    assert (first.problem, last.problem) == (None, None)
    assert "longer than" in long.problem
    with open(path, "rb") as stream:
        assert [record.data for record in records_of_stream(stream)] == [CONTENTS[0], b"", CONTENTS[1]]


@pytest.fixture
def videos(tmp_path) -> VideoFiles:
    """Two files of 40 videos, with damaged lengths, missing bytes and a damaged video."""
    for file in range(2):
        records = [
            framed(sequence_example(f"f{file}_{i}", num_frames=1 + i % 5, seed=i).SerializeToString())
            for i in range(40)
        ]
        records[3] = flipped(records[3], 1)
        records[11] = records[11][:30] + records[11][33:]
        records[20] = flipped(records[20], 50)
        records[30 + file] = flipped(records[30 + file], 9)
        (tmp_path / f"{file}.tfrecord").write_bytes(file_of(*records))
    return open_videos(str(tmp_path), "x", TINY_FEATURES, skip_bad_records=True)


def ids(batches) -> list[str]:
    return [video_id.decode() for batch in batches for video_id in batch["video_id"]]


def test_reading_resumes_behind_damage(videos):
    expected = [f"f{file}_{i}" for file in range(2) for i in range(40) if i not in (3, 11, 20, 30 + file)]
    batches = list(videos.ordered_batches(View(), 7))
    assert ids(batches) == expected
    shuffled = list(videos.training_batches(View(), 7, seed=1, epoch=0))
    assert sorted(ids(shuffled)) == sorted(expected)
    for done in range(len(batches)):
        rest = videos.ordered_batches(View(), 7, start=position_after(batches[done]))
        assert ids(rest) == ids(batches[done + 1 :])
        again = videos.training_batches(View(), 7, seed=1, epoch=0, start=position_after(shuffled[done]))
        assert ids(again) == ids(shuffled[done + 1 :])
    assert [len(bad) for bad in videos.bad_records.by_file().values()] == [4, 4]


def test_the_summary_says_what_was_passed_over(videos, caplog):
    list(videos.ordered_batches(View(), 7))
    report_skipped([videos.bad_records], max_fraction=1)
    bad = [record for records in videos.bad_records.by_file().values() for record in records]
    passed = sum(record.num_bytes for record in bad if record.is_gap)
    assert 0 < passed < sum(record.num_bytes for record in bad)
    assert f"({passed:,} bytes of them passed over where no record could be found)" in caplog.text


def test_what_was_noted_before_gaps_were_known_is_restored():
    noted = BadRecords(skip=True)
    noted.restore({"bad": {"a": [[3, 70, "damaged"]]}, "bytes_by_file": {"a": 100}})
    assert [record.is_gap for record in noted.by_file()["a"]] == [False]
