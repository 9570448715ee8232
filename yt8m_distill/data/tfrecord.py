"""Records of a TFRecord file by place: found by their framing, read one by one.

A record is its length (8 bytes, little-endian), a checksum of those 8 bytes, the data, and a checksum of the data.
TensorFlow's own reader can neither start in the middle of a file nor continue after damage.
"""

import contextlib
import itertools
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import google_crc32c
import numpy as np

HEADER_BYTES = 12
FOOTER_BYTES = 4
READ_AHEAD_BYTES = 1 << 24
MAX_RECORD_BYTES = 1 << 28  # a day of video, a frame a second; more is refused before memory is taken for it
_MASK_DELTA = 0xA282EAD8


class DamagedRecord(ValueError):
    """The problem of a record, in words; its file and number are known where it is caught."""


@dataclass(frozen=True)
class Frame:
    """The place of one record in its file.

    Attributes:
        number: of the record, from 1.
        offset: of its first byte.
        num_bytes: with header and footer; where the length field is damaged or leads beyond the end of the file, all
            that is left of the file.
        sound: whether the length field is right, so that the next record can be found; the data may be damaged.
    """

    number: int
    offset: int
    num_bytes: int
    sound: bool = True


def masked_crc32c(data: bytes | np.ndarray) -> int:
    """The checksum of the TFRecord format, of bytes or a uint8 array.

    Source: the TFRecord format as TensorFlow documents it.
    """
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def framed(data: bytes) -> bytes:
    """A record as it stands in a file: the data with header and footer."""
    length = len(data).to_bytes(8, "little")
    checksums = (masked_crc32c(part).to_bytes(4, "little") for part in (length, data))
    return b"".join((length, next(checksums), data, next(checksums)))


def frames_of_file(path: str | os.PathLike, skip: int = 0, *, read_ahead: bool = False) -> Iterator[Frame]:
    """The places of the records, reading their headers only; one that is not sound is the last.

    Args:
        path: of the file.
        skip: leave out the first sound ones.
        read_ahead: let the system fetch the records, as they will be read, too.
    """
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        number, offset, asked = 1, 0, 0
        while offset < size:
            if read_ahead and number > skip and offset >= asked:
                asked = offset + READ_AHEAD_BYTES
                ask_for(file.fileno(), offset, READ_AHEAD_BYTES)
            frame = _frame_at(file.fileno(), number, offset, size)
            if number > skip or not frame.sound:
                yield frame
            number, offset = number + 1, offset + frame.num_bytes


def ask_for(file: int, offset: int, num_bytes: int):
    """Lets the system fetch a part of an open file that will be read soon, where it takes such hints."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file, offset, num_bytes, os.POSIX_FADV_WILLNEED)


def _frame_at(file: int, number: int, offset: int, size: int) -> Frame:
    length = _length_in(os.pread(file, HEADER_BYTES, offset))
    num_bytes = None if length is None else HEADER_BYTES + length + FOOTER_BYTES
    if num_bytes is None or offset + num_bytes > size:
        return Frame(number, offset, size - offset, sound=False)
    return Frame(number, offset, num_bytes)


def _length_in(header: bytes) -> int | None:
    """The length of a record's data; None where the header is cut short or its checksum is wrong."""
    if len(header) < HEADER_BYTES or masked_crc32c(header[:8]) != int.from_bytes(header[8:], "little"):
        return None
    return int.from_bytes(header[:8], "little")


def place_problem(path: str | os.PathLike, frame: Frame) -> str | None:
    """Why a record cannot be read at its place, in words; None: it can be."""
    if not frame.sound:
        return _unsound_problem(path, frame)
    return f"longer than {MAX_RECORD_BYTES:,} bytes: no video" if frame.num_bytes > MAX_RECORD_BYTES else None


def _unsound_problem(path: str | os.PathLike, frame: Frame) -> str:
    with open(path, "rb") as file:
        file.seek(frame.offset)
        length = int.from_bytes(file.read(8), "little")
    if frame.num_bytes < HEADER_BYTES:
        return "cut short"
    if length + HEADER_BYTES + FOOTER_BYTES <= frame.num_bytes:
        return "damaged: the checksum of its length is wrong; the rest of the file is lost"
    return "the file is not a TFRecord file" if frame.number == 1 else "damaged or cut short: the file ends before it"


def read_record(file: int, offset: int, buffer: np.ndarray) -> memoryview:
    """The data of a record that is sound, as a part of the buffer.

    Args:
        file: descriptor of the open file.
        offset: of its `Frame`.
        buffer: uint8 array of as many bytes as the `Frame` has.

    Raises:
        DamagedRecord: its checksum is wrong, or the file has been cut short meanwhile.
    """
    num_bytes = os.preadv(file, [buffer], offset)
    data, footer = buffer[HEADER_BYTES:-FOOTER_BYTES], buffer[-FOOTER_BYTES:].tobytes()
    if num_bytes != len(buffer) or masked_crc32c(data) != int.from_bytes(footer, "little"):
        raise DamagedRecord("damaged: its checksum is wrong")
    return memoryview(data)


def records_of_bytes(content: bytes) -> Iterator[memoryview]:
    """The data of every record of a TFRecord file that is in memory.

    Raises:
        DamagedRecord: at a record that is damaged or cut short.
    """
    whole, offset = memoryview(content), 0
    while offset < len(whole):
        length = _length_in(bytes(whole[offset : offset + HEADER_BYTES]))
        if length is None:
            raise DamagedRecord("not a TFRecord file, or damaged: the checksum of a length is wrong")
        begin = offset + HEADER_BYTES
        offset = begin + length + FOOTER_BYTES
        if offset > len(whole):
            raise DamagedRecord("cut short: the file ends before it")
        data, footer = whole[begin : begin + length], bytes(whole[begin + length : offset])
        if masked_crc32c(np.frombuffer(data, np.uint8)) != int.from_bytes(footer, "little"):
            raise DamagedRecord("damaged: its checksum is wrong")
        yield data


@dataclass(frozen=True)
class StreamRecord:
    """A record of a file that is read from its beginning.

    Attributes:
        number: in its file, from 1.
        num_bytes: with header and footer; where the next record cannot be found, all that is left of the file.
        data: its content.
        problem: why it cannot be read, in words; None: it can be.
    """

    number: int
    num_bytes: int
    data: bytes = b""
    problem: str | None = None


class _NoEnd(Exception):
    """Where a record ends is not known, and so not where the next one starts."""


def records_of_stream(file: BinaryIO) -> Iterator[StreamRecord]:
    """The records of an open file, which may be decompressed as it is read; after one without an end there is none."""
    start = 0
    for number in itertools.count(1):
        data, problem, lost = b"", None, False
        try:
            data = _next_data(file)
        except DamagedRecord as error:
            problem = str(error)
        except (_NoEnd, EOFError, zlib.error):
            lost, problem = True, "damaged or cut short; the rest of the file is lost"
        if data is None:
            return
        with contextlib.suppress(EOFError, zlib.error):
            while lost and file.read(1 << 20):
                pass
        start, before = file.tell(), start
        yield StreamRecord(number, start - before, data, problem)
        if lost:
            return


def _next_data(file: BinaryIO) -> bytes | None:
    """The data of the next record; None at the end of the file."""
    header = file.read(HEADER_BYTES)
    if not header:
        return None
    length = _length_in(header)
    if length is None or length > MAX_RECORD_BYTES:
        raise _NoEnd
    data = file.read(length + FOOTER_BYTES)
    if len(data) < length + FOOTER_BYTES:
        raise _NoEnd
    data, footer = data[:length], data[length:]
    if masked_crc32c(data) != int.from_bytes(footer, "little"):
        raise DamagedRecord("damaged: its checksum is wrong")
    return data
