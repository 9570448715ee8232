"""Where the records of a TFRecord file are, behind damage as well: one damaged record costs one record.

Where a header is damaged, the next place is looked for at which a length and its checksum match and the record's own
checksum confirms them. The bytes up to there are a gap, which counts as one record. The search begins in the record
before, where that is damaged as well: bytes may be missing from it, and its length then leads too far.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import google_crc32c
import numpy as np

from yt8m_distill.data.byte_sources import ByteSource, StreamBytes
from yt8m_distill.data.foreign_files import kind_of_file
from yt8m_distill.data.tfrecord import (
    CHECKSUM_WRONG,
    FILE_ENDS,
    FOOTER_BYTES,
    HEADER_BYTES,
    LENGTH_DAMAGED,
    MAX_RECORD_BYTES,
    DamagedRecord,
    Frame,
    checked_data,
    header_places,
    headers_match,
    length_in,
    masked,
)

SEARCH_BYTES = MAX_RECORD_BYTES  # behind damage: as far as the longest record may be
_BLOCK_BYTES = 1 << 20  # searched at a time
_SMALL_BYTES = 1 << 13  # of a record: behind one of at most so many, several headers are looked at together
_TOGETHER_BYTES = 1 << 17  # that they are looked for in
LONGEST_NAMED_BYTES = 1 << 26  # of a file that holds no record, to see what it is
# Bytes of candidates that may be checked in vain in a file, as a crafted one may have a candidate at every 12th byte.
_CHECKED_IN_VAIN = 1 << 30
_LEAST_CHECKED = 1 << 12  # what a candidate counts at least
_LENGTH = struct.Struct("<I")  # the lower half; the other one is 0


def frames_of(source: ByteSource) -> Iterator[Frame]:
    """The places of the records, and the gaps between them; together they are all of the file."""
    search = _Search(source)
    number, offset = 1, 0
    before: Frame | None = None  # not yet given: where it ends is known with the next one
    while source.holds(offset + 1):
        frame = _frame_at(source, number, offset)
        if frame is not None:
            if before is not None:
                yield before
            source.forget(offset)
            *done, before = frame, *_next_small_frames(source, frame)
            yield from done
            number, offset = before.number + 1, before.end
            continue
        gap = Frame(number, offset, 0, is_gap=True)
        if before is not None and search.is_damaged(before):
            before = before._replace(problem=CHECKSUM_WRONG)
            found = search.next_record(before.offset + 1)
            if found is not None and found < offset:
                gap, before = before._replace(is_gap=True), None
        else:
            if before is not None:
                yield before
            before = None
            found = search.next_record(offset + 1)
        if before is not None:
            yield before
        gap = _ended(source, gap, found)
        yield gap
        number, offset, before = gap.number + 1, gap.end, None
        if found is None:
            return
    if before is not None:
        yield before


def _frame_at(source: ByteSource, number: int, offset: int) -> Frame | None:
    """The record at a place; None where its length is not known, or leads beyond the end of the file."""
    length = length_in(source.read(offset, HEADER_BYTES))
    if length is None or not source.holds(offset + HEADER_BYTES + length + FOOTER_BYTES):
        return None
    num_bytes = HEADER_BYTES + length + FOOTER_BYTES
    too_long = f"longer than {MAX_RECORD_BYTES:,} bytes: no video" if num_bytes > MAX_RECORD_BYTES else None
    return Frame(number, offset, num_bytes, too_long)


def _next_small_frames(source: ByteSource, before: Frame) -> Iterable[Frame]:
    """Records that follow a small one, as `_frame_at` would find them, as far as their headers are read in one piece.

    A piece of a file costs about as much as a header of it, and checksums of many headers as much as those of a few.
    """
    if before.num_bytes > _SMALL_BYTES:
        return ()
    block = source.read(before.end, _TOGETHER_BYTES)
    places, at = [], 0
    while at + HEADER_BYTES <= len(block):
        places.append(at)
        at += HEADER_BYTES + _LENGTH.unpack_from(block, at)[0] + FOOTER_BYTES
    ends = np.array([*places, at], np.int64)
    begins, sizes = ends[:-1], np.diff(ends)
    whole = headers_match(np.frombuffer(block, np.uint8), begins) & (sizes <= MAX_RECORD_BYTES)
    if at > len(block) and not source.holds(before.end + at):  # only the last one may lead beyond the block
        whole[-1:] = False
    count = len(whole) if whole.all() else int(whole.argmin())
    numbers = range(before.number + 1, before.number + 1 + count)
    return map(Frame, numbers, (before.end + begins).tolist(), sizes.tolist())


def _ended(source: ByteSource, gap: Frame, found: int | None) -> Frame:
    """The gap up to the next record that was found, or up to the end of the file."""
    end = source.size() if found is None else found
    num_bytes = end - gap.offset
    if found is not None:
        problem = f"{gap.problem or LENGTH_DAMAGED}; the next record begins {num_bytes:,} bytes later"
        return gap._replace(num_bytes=num_bytes, problem=problem)
    header = source.read(gap.offset, HEADER_BYTES)
    length = int.from_bytes(header[:8], "little")
    is_absurd = length + HEADER_BYTES + FOOTER_BYTES > num_bytes or not any(header)
    if gap.offset == 0 and is_absurd and length_in(header) is None:
        problem = kind_of_file(source.read(0, LONGEST_NAMED_BYTES))
    elif num_bytes < HEADER_BYTES:
        problem = "cut short"
    elif length_in(header) is not None or length + HEADER_BYTES + FOOTER_BYTES > num_bytes:
        problem = FILE_ENDS
    else:
        problem = f"{LENGTH_DAMAGED}; the rest of the file is lost"
    return gap._replace(num_bytes=num_bytes, problem=problem)


class _Search:
    """Searches for records behind damage, and bounds what this costs."""

    def __init__(self, source: ByteSource):
        self._source = source
        self._in_vain = 0

    def next_record(self, start: int) -> int | None:
        """The offset of the first record from a place on; None where there is none within `SEARCH_BYTES`."""
        for begin in range(start, start + SEARCH_BYTES, _BLOCK_BYTES):
            self._source.forget(begin)
            block = np.frombuffer(self._source.read(begin, _BLOCK_BYTES + HEADER_BYTES - 1), np.uint8)
            for place in header_places(block).tolist():
                if self._in_vain > _CHECKED_IN_VAIN + 4 * begin:
                    return None
                num_bytes = HEADER_BYTES + int.from_bytes(block[place : place + 8].tobytes(), "little") + FOOTER_BYTES
                if num_bytes <= MAX_RECORD_BYTES and not self.is_damaged(Frame(0, begin + place, num_bytes)):
                    return begin + place
            if len(block) < _BLOCK_BYTES:
                return None
        return None

    def is_damaged(self, frame: Frame) -> bool:
        """Whether the checksum of a record's data is wrong, or the file ends before it."""
        end = frame.end - FOOTER_BYTES
        damaged = frame.problem is None and (not self._source.holds(frame.end) or self._checksum_differs(frame, end))
        self._in_vain += max(frame.num_bytes, _LEAST_CHECKED) if damaged else 0
        return damaged

    def _checksum_differs(self, frame: Frame, end: int) -> bool:
        crc = 0
        for begin in range(frame.offset + HEADER_BYTES, end, _BLOCK_BYTES):
            crc = google_crc32c.extend(crc, self._source.read(begin, min(_BLOCK_BYTES, end - begin)))
        return masked(crc) != int.from_bytes(self._source.read(end, FOOTER_BYTES), "little")


@dataclass(frozen=True)
class StreamRecord:
    """A record of a file that is read from its beginning.

    Attributes:
        number: in its file, from 1, as of `Frame`.
        num_bytes: with header and footer, or of the gap.
        data: its content.
        problem: why it cannot be read, in words; None: it can be.
    """

    number: int
    num_bytes: int
    data: bytes = b""
    problem: str | None = None


def records_of_stream(stream: BinaryIO) -> Iterator[StreamRecord]:
    """The records of an open file, which may be decompressed as it is read; the same as `frames_of` finds in a file."""
    source = StreamBytes(stream)
    return records_with_data(source, frames_of(source))


def records_with_data(source: ByteSource, frames: Iterator[Frame]) -> Iterator[StreamRecord]:
    """The records at some places, each with its data."""
    for frame in frames:
        data, problem = b"", frame.problem
        if problem is None:
            try:
                data = bytes(checked_data(np.frombuffer(source.read(frame.offset, frame.num_bytes), np.uint8)))
            except DamagedRecord as error:
                problem = str(error)
        yield StreamRecord(frame.number, frame.num_bytes, data, problem)
