"""Framing of TFRecord files: by place, in memory and as a stream."""

import gzip
import io

import pytest

from yt8m_distill.data.framing import StreamRecord, records_of_stream
from yt8m_distill.data.record_files import frames_of_file
from yt8m_distill.data.tfrecord import DamagedRecord, framed, records_of_bytes

CONTENTS = [b"first", b"", b"a longer third record"]
FILE = b"".join(map(framed, CONTENTS))
SECOND = len(framed(CONTENTS[0]))
THIRD = SECOND + len(framed(CONTENTS[1]))


def flipped(place: int) -> bytes:
    return FILE[:place] + bytes([FILE[place] ^ 1]) + FILE[place + 1 :]


def test_every_reader_finds_the_same_records(tmp_path):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(FILE)
    assert [bytes(data) for data in records_of_bytes(FILE)] == CONTENTS
    for stream in (io.BytesIO(FILE), gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(FILE)))):
        records = list(records_of_stream(stream))
        assert [record.data for record in records] == CONTENTS
        sizes = [(frame.number, frame.num_bytes) for frame in frames_of_file(path)]
        assert [(record.number, record.num_bytes) for record in records] == sizes


def test_a_stream_continues_after_damaged_data():
    assert list(records_of_stream(io.BytesIO(flipped(12)))) == [
        StreamRecord(1, SECOND, problem="damaged: its checksum is wrong"),
        StreamRecord(2, THIRD - SECOND, b""),
        StreamRecord(3, len(FILE) - THIRD, CONTENTS[2]),
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (flipped(THIRD), "damaged: the checksum of its length is wrong; the rest of the file is lost"),
        (flipped(THIRD + 9), "damaged: the checksum of its length is wrong; the rest of the file is lost"),
        (FILE[:-1], "damaged or cut short: the file ends before it"),
        (FILE[: THIRD + 5], "cut short"),
    ],
)
def test_the_rest_of_a_stream_is_lost_after_a_last_record_without_an_end(content, problem):
    *good, lost = records_of_stream(io.BytesIO(content))
    assert [record.data for record in good] == CONTENTS[:2]
    assert lost == StreamRecord(3, len(content) - THIRD, problem=problem)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (flipped(THIRD), "the checksum of a length is wrong"),
        (FILE[:-1], "cut short"),
        (flipped(THIRD + 12), "its checksum is wrong"),
    ],
)
def test_damage_in_memory_is_an_error(content, problem):
    records = records_of_bytes(content)
    assert [bytes(next(records)) for _ in range(2)] == CONTENTS[:2]
    with pytest.raises(DamagedRecord, match=problem):
        next(records)
