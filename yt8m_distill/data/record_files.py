"""TFRecord files opened for reading by place; compressed ones are unpacked before."""

import contextlib
import functools
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from yt8m_distill.data.byte_sources import FileBytes
from yt8m_distill.data.compression import HEAD_BYTES, Unpacked, compression_of, unpack
from yt8m_distill.data.framing import StreamRecord, frames_of, records_of_stream, records_with_data
from yt8m_distill.data.tfrecord import Frame
from yt8m_distill.errors import UserError

READ_AHEAD_BYTES = 1 << 24
_ENDINGS = (".gz", ".gzip", ".z", ".zz", ".zlib")
_UNPACKED_FILES = 16  # kept at a time: two groups of those that are read together

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenRecords:
    """An open file with records.

    Attributes:
        descriptor: to read by place; of a compressed file its content.
        num_bytes: that can be read.
        unpacked: where the file is compressed.
    """

    descriptor: int
    num_bytes: int
    unpacked: Unpacked | None = None

    @property
    def all_bytes(self) -> int:
        """With those that are lost, as they cannot be unpacked."""
        return self.num_bytes + (self.unpacked.lost_bytes if self.unpacked else 0)

    def read_into(self, buffer: np.ndarray, offset: int):
        """Reads a part of the content; what is beyond its end becomes 0.

        Args:
            buffer: uint8, of as many bytes as are read.
            offset: of the first one.
        """
        done = 0
        while done < len(buffer) and (count := os.preadv(self.descriptor, [buffer[done:]], offset + done)):
            done += count
        buffer[done:] = 0

    def frames(self, skip: int = 0, *, read_ahead: bool = False) -> Iterator[Frame]:
        """The places of the records, reading little more than their headers; see `frames_of_file`.

        The last one may stand for what could not be unpacked.
        """
        number, readable, asked = 0, 0, 0
        for frame in frames_of(FileBytes(self.descriptor, self.num_bytes)):
            number, offset, num_bytes, problem, _ = frame
            if problem is None:
                readable += 1
                if readable <= skip:
                    continue
                if read_ahead and offset + num_bytes >= asked:
                    asked = offset + READ_AHEAD_BYTES
                    ask_for(self.descriptor, offset, READ_AHEAD_BYTES)
            yield frame
        if self.unpacked and self.unpacked.problem:
            yield Frame(number + 1, self.num_bytes, self.unpacked.lost_bytes, self.unpacked.problem)


@contextlib.contextmanager
def open_records(path: str | os.PathLike) -> Iterator[OpenRecords]:
    """A file, open for as long as the context lasts.

    Raises:
        OSError: it cannot be read.
        UserError: there is no space to unpack it.
    """
    with open(path, "rb", buffering=0) as file:
        head = os.pread(file.fileno(), HEAD_BYTES, 0)
        if compression_of(head):
            status = os.fstat(file.fileno())
            identity = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
            unpacked = _unpacked(os.path.realpath(path), identity)
            if unpacked.num_bytes:
                yield OpenRecords(unpacked.file.fileno(), unpacked.num_bytes, unpacked)
                return
        yield OpenRecords(file.fileno(), os.fstat(file.fileno()).st_size)


@dataclass(frozen=True)
class FileStamp:
    """What shows whether a file has changed since a command began.

    Attributes:
        num_bytes: its size.
        written: when it was last written, in nanoseconds.
    """

    num_bytes: int
    written: int

    @classmethod
    def of(cls, path: str) -> "FileStamp":
        """That of a file as it is now.

        Raises:
            OSError: there is none.
        """
        status = os.stat(path)
        return cls(status.st_size, status.st_mtime_ns)


@contextlib.contextmanager
def open_unchanged(path: str, stamp: FileStamp | None) -> Iterator[OpenRecords]:
    """`open_records` of a file that is as it was when the command began.

    Args:
        path: of the file.
        stamp: of that time; None: it is not known.

    Raises:
        UserError: it has been removed, replaced or written since then, or cannot be read any more.
    """
    with contextlib.ExitStack() as opened:
        try:
            now = stamp and FileStamp.of(path)
            records = opened.enter_context(open_records(path))
        except OSError as error:
            was = (
                "was removed" if isinstance(error, FileNotFoundError) else f"cannot be read any more ({error.strerror})"
            )
            raise UserError(f"{path} {was} after this command had begun: put it back, and start again.") from error
        if now != stamp:
            sizes = f"it had {stamp.num_bytes:,} bytes, now it has {now.num_bytes:,}"
            sizes = "it has as many bytes as before" if now.num_bytes == stamp.num_bytes else sizes
            raise UserError(
                f"{path} was replaced or written to after this command had begun ({sizes}): start again when it is "
                "complete, and leave input files as they are meanwhile."
            )
        yield records


@functools.lru_cache(_UNPACKED_FILES)
def _unpacked(path: str, identity: tuple[int, ...]) -> Unpacked:
    """The content of a compressed file; the temporary file is gone when nobody reads it any more.

    Args:
        path: of the file.
        identity: changes with its content.
    """
    del identity
    with open(path, "rb") as stream:
        kind = compression_of(stream.read(HEAD_BYTES))
        stream.seek(0)
        return unpack(stream, kind or "gzip", path)


def frames_of_file(path: str | os.PathLike, skip: int = 0, *, read_ahead: bool = False) -> Iterator[Frame]:
    """The places of the records, reading little more than their headers.

    Args:
        path: of the file.
        skip: leave out the first ones that can be read.
        read_ahead: let the system fetch the records, as they will be read, too.
    """
    with open_records(path) as records:
        yield from records.frames(skip, read_ahead=read_ahead)


def records_of_any(stream: BinaryIO, name: str) -> Iterator[StreamRecord]:
    """The records of an open file, which may be compressed; the same as `frames_of_file` finds.

    Args:
        stream: the file at its beginning; it can be rewound.
        name: of the file, for errors.
    """
    kind = compression_of(stream.read(HEAD_BYTES))
    stream.seek(0)
    if kind:
        unpacked = unpack(stream, kind, name)
        if unpacked.num_bytes:
            records = OpenRecords(unpacked.file.fileno(), unpacked.num_bytes, unpacked)
            source = FileBytes(records.descriptor, records.num_bytes)
            yield from records_with_data(source, records.frames())
            return
        stream.seek(0)
    yield from records_of_stream(stream)


def ask_for(file: int, offset: int, num_bytes: int):
    """Lets the system fetch a part of an open file that will be read soon, where it takes such hints."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file, offset, num_bytes, os.POSIX_FADV_WILLNEED)


def tell_of_compressed(files: Sequence[str]):
    """Says in the log that files are compressed, and what follows from it."""
    kinds = {path: kind for path in files if (kind := _compression_of_file(path))}
    if kinds:
        log.info(
            "%d of %d files are compressed (%s): each is unpacked whole into a temporary file before it is read.",
            len(kinds),
            len(files),
            " and ".join(sorted(set(kinds.values()))),
        )


def name_unpacked(path: str) -> str:
    """The name of a file, of a compressed one without the ending that says so."""
    name = os.path.basename(path)
    stem, ending = os.path.splitext(name)
    return stem if ending.lower() in _ENDINGS and _compression_of_file(path) else name


def _compression_of_file(path: str) -> str | None:
    with contextlib.suppress(OSError), open(path, "rb", buffering=0) as file:
        return compression_of(os.pread(file.fileno(), HEAD_BYTES, 0))
    return None
