"""Bytes by their place: of an open file, or of a stream that is read from its beginning."""

import contextlib
import os
import zlib
from typing import BinaryIO, Protocol

_AHEAD_BYTES = 1 << 16  # read of a stream at least
_SKIP_BYTES = 1 << 20  # at a time, where nothing is kept
_MOST_KEPT_BYTES = 1 << 30  # of a stream: more than two of the longest records


class ByteSource(Protocol):
    """Bytes at known places."""

    def read(self, offset: int, num_bytes: int) -> bytes:
        """The bytes at a place, fewer at the end."""

    def holds(self, end: int) -> bool:
        """Whether there are as many bytes."""

    def size(self) -> int:
        """How many bytes there are."""

    def forget(self, before: int):
        """What is before this place will hardly be asked for again."""


class FileBytes:
    """The bytes of an open file.

    Args:
        descriptor: of the file.
        num_bytes: its size.
    """

    def __init__(self, descriptor: int, num_bytes: int):
        self._descriptor = descriptor
        self._num_bytes = num_bytes

    def read(self, offset: int, num_bytes: int) -> bytes:
        return os.pread(self._descriptor, max(min(num_bytes, self._num_bytes - offset), 0), offset)

    def holds(self, end: int) -> bool:
        return end <= self._num_bytes

    def size(self) -> int:
        return self._num_bytes

    def forget(self, before: int):
        pass


class StreamBytes:
    """The bytes of a stream, which may be decompressed as it is read; it ends where it cannot be read any further.

    What was not forgotten is in memory; to read before it, the stream is rewound.

    Args:
        stream: an open file at its beginning.
    """

    def __init__(self, stream: BinaryIO):
        self._stream = stream
        self._kept = bytearray()
        self._start = 0  # of what is kept
        self._num_bytes: int | None = None  # known at the end
        self._can_rewind = getattr(stream, "seekable", bool)()

    def read(self, offset: int, num_bytes: int) -> bytes:
        if offset < self._start and not self._rewind(offset):
            return b""
        self._fill(offset + num_bytes)
        begin = offset - self._start
        return bytes(memoryview(self._kept)[begin : begin + num_bytes]) if begin >= 0 else b""

    def holds(self, end: int) -> bool:
        self._fill(end)
        return end <= self._start + len(self._kept)

    def size(self) -> int:
        while self._num_bytes is None:
            self._skip()
        return self._num_bytes

    def forget(self, before: int):
        if before > self._start:
            del self._kept[: before - self._start]
            self._start = before

    def _fill(self, end: int):
        if end - self._start > _MOST_KEPT_BYTES and not self._can_rewind:
            return  # what would have to be forgotten may be asked for again
        while not self._at_end and (missing := end - self._start - len(self._kept)) > 0:
            if end - self._start > _MOST_KEPT_BYTES:
                self._skip()
            else:
                self._kept += self._next_bytes(max(missing, _AHEAD_BYTES))

    @property
    def _at_end(self) -> bool:
        return self._start + len(self._kept) == self._num_bytes

    def _skip(self):
        """Reads on, and keeps nothing of it."""
        content = self._next_bytes(_SKIP_BYTES)
        self._start += len(self._kept) + len(content)
        self._kept.clear()

    def _next_bytes(self, num_bytes: int) -> bytes:
        content = b""
        with contextlib.suppress(EOFError, zlib.error):
            content = self._stream.read(num_bytes)
        if not content:
            self._num_bytes = self._start + len(self._kept)
        return content

    def _rewind(self, offset: int) -> bool:
        try:
            self._stream.seek(offset)
        except (OSError, AttributeError, EOFError, zlib.error):
            return False
        self._kept.clear()
        self._start = offset
        return True
