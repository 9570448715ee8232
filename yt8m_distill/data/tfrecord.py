"""Records of a TFRecord file by place: found by their framing, read one by one.

A record is its length (8 bytes, little-endian), a checksum of those 8 bytes, the data, and a checksum of the data.
TensorFlow's own reader can neither begin in the middle of a file nor go on after damage.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import google_crc32c
import numpy as np

HEADER_BYTES = 12
FOOTER_BYTES = 4
READ_AHEAD_BYTES = 1 << 24
MAX_RECORD_BYTES = 1 << 28  # a day of video, a frame a second; more is refused before memory is taken for it
_MASK_DELTA = 0xA282EAD8


class DamagedRecord(ValueError):
    """What is wrong with a record, in words; its file and number are known where it is caught."""


@dataclass(frozen=True)
class Frame:
    """The place of one record in its file.

    Attributes:
        number: of the record, from 1.
        offset: of its first byte.
        num_bytes: with header and footer; where the length field is damaged or leads beyond the end of the file, all
            that is left of the file.
        sound: whether the length field is right, so that the next record can be found. Says nothing of the data.
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
    header = os.pread(file, HEADER_BYTES, offset)
    length = int.from_bytes(header[:8], "little")
    num_bytes = HEADER_BYTES + length + FOOTER_BYTES
    sound = (
        len(header) == HEADER_BYTES
        and offset + num_bytes <= size
        and masked_crc32c(header[:8]) == int.from_bytes(header[8:], "little")
    )
    return Frame(number, offset, num_bytes) if sound else Frame(number, offset, size - offset, sound=False)


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
        header = bytes(whole[offset : offset + HEADER_BYTES])
        if len(header) < HEADER_BYTES or masked_crc32c(header[:8]) != int.from_bytes(header[8:], "little"):
            raise DamagedRecord("no TFRecord file, or damaged: the checksum of a length is wrong")
        begin, length = offset + HEADER_BYTES, int.from_bytes(header[:8], "little")
        offset = begin + length + FOOTER_BYTES
        if offset > len(whole):
            raise DamagedRecord("cut short: the file ends before it")
        data, footer = whole[begin : begin + length], bytes(whole[begin + length : offset])
        if masked_crc32c(np.frombuffer(data, np.uint8)) != int.from_bytes(footer, "little"):
            raise DamagedRecord("damaged: its checksum is wrong")
        yield data
