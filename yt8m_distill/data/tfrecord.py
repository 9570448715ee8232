"""The TFRecord format: records, their checksums, and a search for the next record after damage.

A record is its length (8 bytes, little-endian), a checksum of those 8 bytes, the data, and a checksum of the data.
TensorFlow's own reader can neither start in the middle of a file nor continue after damage.
"""

import functools
import os
from collections.abc import Iterator
from typing import NamedTuple

import google_crc32c
import numpy as np

HEADER_BYTES = 12
FOOTER_BYTES = 4
MAX_RECORD_BYTES = 1 << 28  # a day of video, a frame a second; more is refused before memory is taken for it
LENGTH_DAMAGED = "damaged: the checksum of its length is wrong"
CHECKSUM_WRONG = "damaged: its checksum is wrong"
FILE_ENDS = "damaged or cut short: the file ends before it"
_MASK_DELTA = 0xA282EAD8


class DamagedRecord(ValueError):
    """The problem of a record, in words; its file and number are known where it is caught."""


class Frame(NamedTuple):
    """The place of one record in its file.

    Attributes:
        number: of the record, from 1. What lies between two records that were found counts as one record.
        offset: of its first byte.
        num_bytes: with header and footer.
        problem: why the record cannot be read at its place, in words; None: it can be, though its data may be damaged.
        is_gap: whether its end is unknown, so that the bytes up to the next record were passed over.
    """

    number: int
    offset: int
    num_bytes: int
    problem: str | None = None
    is_gap: bool = False

    @property
    def end(self) -> int:
        """The offset of the byte after it."""
        return self.offset + self.num_bytes


def masked_crc32c(data: bytes | np.ndarray) -> int:
    """The checksum of the TFRecord format, of bytes or a uint8 array.

    Source: the TFRecord format as TensorFlow documents it.
    """
    return masked(google_crc32c.value(data))


def masked(crc: int) -> int:
    """A CRC-32C as the TFRecord format stores it."""
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def framed(data: bytes) -> bytes:
    """A record as it is in a file: the data with header and footer."""
    length = len(data).to_bytes(8, "little")
    checksums = (masked_crc32c(part).to_bytes(4, "little") for part in (length, data))
    return b"".join((length, next(checksums), data, next(checksums)))


def length_in(header: bytes) -> int | None:
    """The length of a record's data; None where the header is cut short or its checksum is wrong."""
    if len(header) < HEADER_BYTES or masked_crc32c(header[:8]) != int.from_bytes(header[8:12], "little"):
        return None
    return int.from_bytes(header[:8], "little")


def header_places(block: np.ndarray) -> np.ndarray:
    """Where a header may begin: a length of at most `MAX_RECORD_BYTES`, and its checksum.

    Args:
        block: uint8 array.

    Returns:
        Increasing indices, int64.
    """
    count = max(len(block) - HEADER_BYTES + 1, 0)
    byte = [block[index : index + count] for index in range(HEADER_BYTES)]
    high = byte[4] | byte[5] | byte[6] | byte[7]
    # The checksum of length 0 is not 0; without this test blocks of zeros would take long.
    others = functools.reduce(np.bitwise_or, (*byte[:4], *byte[8:]))
    places = np.flatnonzero((high == 0) & (byte[3] <= MAX_RECORD_BYTES >> 24) & (others != 0))
    return places[_checksums_match(block, places)]


def headers_match(block: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Whether each place holds a header: a length below 2**32, and its checksum.

    Args:
        block: uint8 array.
        places: int64 indices, each with at least `HEADER_BYTES` bytes from it on.
    """
    high = block[places + 4] | block[places + 5] | block[places + 6] | block[places + 7]
    return (high == 0) & _checksums_match(block, places)


def _checksums_match(block: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Whether the checksum is that of a length below 2**32, at each place."""
    tables, crc_of_zeros = _length_checksums()
    crcs = np.full(len(places), crc_of_zeros, np.uint32)
    stored = np.zeros(len(places), np.uint32)
    for index, table in enumerate(tables):
        crcs ^= table[block[places + index]]
        stored |= block[places + 8 + index].astype(np.uint32) << np.uint32(8 * index)
    return stored == (crcs >> np.uint32(15) | crcs << np.uint32(17)) + np.uint32(_MASK_DELTA)


@functools.cache
def _length_checksums() -> tuple[np.ndarray, int]:
    """CRC-32C of 8 bytes whose last four are 0: what each of the first four adds, and that of all zeros."""
    zeros = google_crc32c.value(bytes(8))
    tables = np.empty((4, 256), np.uint32)
    for index, value in np.ndindex(*tables.shape):
        tables[index, value] = google_crc32c.value((value << 8 * index).to_bytes(8, "little")) ^ zeros
    return tables, zeros


def read_record(file: int, offset: int, buffer: np.ndarray) -> memoryview:
    """The data of a record that is whole, as a part of the buffer.

    Args:
        file: descriptor of the open file.
        offset: of its `Frame`.
        buffer: uint8 array of as many bytes as the `Frame` has.

    Raises:
        DamagedRecord: its checksum is wrong, or the file has been cut short meanwhile.
    """
    if os.preadv(file, [buffer], offset) != len(buffer):
        raise DamagedRecord(CHECKSUM_WRONG)
    return checked_data(buffer)


def checked_data(record: np.ndarray) -> memoryview:
    """The data of a record, a uint8 array with header and footer.

    Raises:
        DamagedRecord: its checksum is wrong.
    """
    data, footer = record[HEADER_BYTES:-FOOTER_BYTES], record[-FOOTER_BYTES:].tobytes()
    if masked_crc32c(data) != int.from_bytes(footer, "little"):
        raise DamagedRecord(CHECKSUM_WRONG)
    return memoryview(data)


def records_of_bytes(content: bytes) -> Iterator[memoryview]:
    """The data of every record of a TFRecord file that is in memory.

    Raises:
        DamagedRecord: at a record that is damaged or cut short.
    """
    whole, offset = memoryview(content), 0
    while offset < len(whole):
        length = length_in(bytes(whole[offset : offset + HEADER_BYTES]))
        if length is None:
            raise DamagedRecord("not a TFRecord file, or damaged: the checksum of a length is wrong")
        begin = offset
        offset = begin + HEADER_BYTES + length + FOOTER_BYTES
        if offset > len(whole):
            raise DamagedRecord("cut short: the file ends before it")
        yield checked_data(np.frombuffer(whole[begin:offset], np.uint8))
