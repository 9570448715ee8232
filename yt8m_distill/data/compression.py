"""Files that are compressed as a whole, unpacked into a temporary file, as records are read by their place."""

import errno
import shutil
import tempfile
import zlib
from dataclasses import dataclass
from typing import BinaryIO

from yt8m_distill.data.tfrecord import HEADER_BYTES, length_in
from yt8m_distill.errors import UserError

HEAD_BYTES = 1 << 12  # of a file, by which compression is recognized
_PIECE_BYTES = 1 << 14  # read at a time
_UNPACKED_BYTES = 1 << 12  # at a time: what is lost of sound data before damage
_LEAST_FREE_BYTES = 1 << 26  # of the disk with the temporary file
_WINDOW_BITS = {"gzip": 31, "zlib": 15}
_GZIP_MAGIC = b"\x1f\x8b\x08"
_RESERVED_FLAGS = 0xE0  # of gzip; always 0


def compression_of(head: bytes) -> str | None:
    """How a file is compressed, by its first bytes: "gzip", "zlib", or None."""
    if length_in(head[:HEADER_BYTES]) is not None or len(head) < 2:
        return None
    if head.startswith(_GZIP_MAGIC) and not (head[3:4] or b"\0")[0] & _RESERVED_FLAGS:
        return "gzip"
    # Two bytes are not enough to tell zlib from anything else: there has to be a record.
    if head[0] & 0x0F == 8 and int.from_bytes(head[:2], "big") % 31 == 0:
        try:
            unpacked = zlib.decompressobj().decompress(head, HEADER_BYTES)
        except zlib.error:
            return None
        return "zlib" if length_in(unpacked) is not None else None
    return None


@dataclass(frozen=True)
class Unpacked:
    """The content of a compressed file.

    Attributes:
        file: open temporary file without a name, which is gone with this object, or with the process.
        num_bytes: of the content.
        kind: "gzip" or "zlib".
        lost_bytes: of the compressed file that could not be unpacked.
        problem: why, in words; None: it was unpacked whole.
    """

    file: BinaryIO
    num_bytes: int
    kind: str
    lost_bytes: int = 0
    problem: str | None = None


def unpack(stream: BinaryIO, kind: str, name: str) -> Unpacked:
    """Unpacks a compressed file, as far as that is possible.

    Args:
        stream: the file at its beginning.
        kind: "gzip" (of one or several members) or "zlib".
        name: of the file, for errors.

    Raises:
        UserError: the temporary file does not fit onto the disk.
    """
    file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as what is returned
    try:
        problem, lost_bytes = _unpack_into(file, stream, kind)
        file.flush()
        return Unpacked(file, file.tell(), kind, lost_bytes, problem)
    except OSError as error:
        file.close()
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"{name} is compressed, and there is too little space in {tempfile.gettempdir()} to unpack it. Set TMPDIR "
            "to a folder with more space, or unpack the files before."
        ) from error


def _unpack_into(file: BinaryIO, stream: BinaryIO, kind: str) -> tuple[str | None, int]:
    """Returns what is wrong, None where nothing is, and how many bytes of the stream were not unpacked."""
    packed = stream.read(_PIECE_BYTES)
    while packed:  # once for each member
        unpacker, piece = zlib.decompressobj(_WINDOW_BITS[kind]), b""
        try:
            while not unpacker.eof and (packed or len(piece) == _UNPACKED_BYTES):
                piece = unpacker.decompress(packed, _UNPACKED_BYTES)
                _write(file, piece)
                packed = unpacker.unconsumed_tail
                if not packed and len(piece) < _UNPACKED_BYTES and not unpacker.eof:
                    packed = stream.read(_PIECE_BYTES)
        except zlib.error:
            return "the compressed data is damaged; the rest of the file is lost", len(packed) + _rest_of(stream)
        if not unpacker.eof:
            return "the compressed file is cut short; the rest of the file is lost", 0
        packed = _after_padding(unpacker.unused_data, stream)
        if packed and (kind == "zlib" or not packed.startswith(_GZIP_MAGIC[: len(packed)])):
            return "something else follows the compressed data", len(packed) + _rest_of(stream)
    return None, 0


def _after_padding(packed: bytes, stream: BinaryIO) -> bytes:
    """What follows zeros, of which tapes and disks of blocks may have some."""
    packed = packed.lstrip(b"\0")
    while not packed and (packed := stream.read(_PIECE_BYTES)):
        packed = packed.lstrip(b"\0")
    return packed


def _rest_of(stream: BinaryIO) -> int:
    count = 0
    while piece := stream.read(_PIECE_BYTES):
        count += len(piece)
    return count


def _write(file: BinaryIO, piece: bytes):
    if file.tell() % _LEAST_FREE_BYTES < len(piece) and _free_bytes() < 2 * _LEAST_FREE_BYTES:
        raise OSError(errno.ENOSPC, "too little space")
    file.write(piece)


def _free_bytes() -> int:
    return shutil.disk_usage(tempfile.gettempdir()).free
