"""Packed models from elsewhere: `.tar.gz` archives, unpacked with bounds on names, sizes and memory."""

import gzip
import os
import pathlib
import stat
import tarfile
import zlib
from collections.abc import Collection
from typing import BinaryIO

from yt8m_distill.errors import UserError
from yt8m_distill.files.atomic import check_space
from yt8m_distill.files.untrusted import in_short

MOST_UNPACKED_BYTES = 1 << 33
# Weights hardly compress; an archive that grows more than this while it is unpacked was made to fill a disk.
MOST_GROWTH = 20
GROWTH_FROM_BYTES = 1 << 26
_MOST_HEADER_BYTES = 1 << 20


def unpack(path: str | os.PathLike, folder: str | os.PathLike, names: Collection[str]):
    """Extracts a `.tar.gz` archive of regular files, each one of `names` and at most once, into an empty folder.

    Raises:
        UserError: it is not such an archive, it holds anything else or too much, or the disk is full.
    """
    limit = min(MOST_UNPACKED_BYTES, max(GROWTH_FROM_BYTES, MOST_GROWTH * _size(path)))
    remaining = set(names)
    try:
        with gzip.open(path) as stream:
            reads = _BoundedReads(stream)
            with tarfile.open(fileobj=reads, mode="r:") as archive:
                while (member := archive.next()) is not None:
                    _check_member(member, path, remaining, limit)
                    remaining.remove(member.name)
                    limit -= member.size
                    _extract(archive, member, reads, folder)
            _read_to_end(stream)
    except (OSError, EOFError, ValueError, RecursionError, zlib.error, tarfile.TarError) as error:
        raise UserError(
            f"'{path}' is not a model packed by --output_model_tgz, or damaged: {in_short(error)}."
        ) from error


def _read_to_end(stream: BinaryIO):
    """At the end of the stream is the checksum of all of it, which tarfile would not look at."""
    if len(stream.read(_MOST_HEADER_BYTES)) == _MOST_HEADER_BYTES:
        raise tarfile.ReadError("there is more after its end")
    stream.read(1)


def _size(path: str | os.PathLike) -> int:
    try:
        status = os.stat(path)
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error.strerror}.") from error
    if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
        raise UserError(f"'{path}' is not a model packed by --output_model_tgz: it is not a regular file.")
    return status.st_size


class _BoundedReads:
    """A stream for `tarfile`, which takes headers into memory, however long they are.

    Args:
        stream: to read from.

    Attributes:
        left: bytes that may still be read; set again for each member.
    """

    def __init__(self, stream: BinaryIO):
        self._stream = stream
        self.seek, self.tell = stream.seek, stream.tell
        self.left = _MOST_HEADER_BYTES

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self.left:
            raise tarfile.ReadError("a header is too long")
        self.left -= size
        return self._stream.read(size)


def _check_member(member: tarfile.TarInfo, path: str | os.PathLike, names: Collection[str], limit: int):
    """The filter of `tarfile` allows other names, repeated ones, links within the folder, sparse files and any size."""
    if member.name not in names or not member.isreg() or member.issparse() or member.size < 0:
        raise UserError(
            f"'{path}' is not a packed model: it holds '{member.name}', not as a regular file or more than once."
        )
    if member.size > limit:
        raise UserError(f"'{path}' is not a packed model: '{member.name}' in it would take {member.size:,} bytes.")


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, reads: _BoundedReads, folder: str | os.PathLike):
    check_space(pathlib.Path(folder), member.size, f"the file '{member.name}' of the packed model", "make room.")
    reads.left = member.size
    archive.extract(member, folder, set_attrs=False, filter="data")
    reads.left = _MOST_HEADER_BYTES
