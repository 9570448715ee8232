"""Output files that take hours to write, and are resumed after a kill, a full disk or an error."""

import contextlib
import gzip
import json
import os
import pathlib
import shutil
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from yt8m_distill.errors import UserError
from yt8m_distill.files.atomic import check_replaceable
from yt8m_distill.files.lock import lock_files

_PIECE_BYTES = 1 << 20


class ResumableFiles:
    """Files that appear under their names only when complete, and whose writing is resumed after a stop.

    A context manager. Content is written to `<path>.partial`; `save` stores in `<first path>.partial.json` the size of
    each of them. If that file exists and belongs to the same work, writing resumes there: content after these sizes is
    cut off. `finish` renames the files in their order, replacing older ones. If a path ends in `.gz`, `finish`
    compresses the file; the same content gives the same bytes. Missing folders are created. Within the context, no
    other command writes the files.

    Args:
        paths: of the files.
        work: JSON that identifies the inputs and settings that the content depends on.

    Attributes:
        state: the argument of the last `save` for this work; None: there is nothing to resume.
        other_work: whether there were partial files of other work, or damaged ones.

    Raises:
        UserError: on entering, if another command writes a file; then and later, if one cannot be written or the disk
            is full.
    """

    def __init__(self, paths: Sequence[str | os.PathLike], work: Any):
        self._paths = [pathlib.Path(path) for path in paths]
        self._partial = [path.with_name(f"{path.name}.partial") for path in self._paths]
        self._note = self._partial[0].with_name(f"{self._partial[0].name}.json")
        self._new_note = self._note.with_name(f"{self._note.name}.new")
        self._work = json.loads(json.dumps(work))
        self._files: list[BinaryIO] = []
        self._checksums = [0] * len(self._paths)  # CRC-32 of what was written into each
        self._locks = contextlib.ExitStack()
        self.state: Any = None
        self.other_work = False

    def __enter__(self) -> "ResumableFiles":
        # Renaming onto a folder would fail only at the end, and renaming onto a device would replace the device.
        for path in self._paths:
            check_replaceable(path)
        with contextlib.ExitStack() as locks:
            locks.enter_context(lock_files(*self._paths))
            self._open()
            self._locks = locks.pop_all()
        return self

    def _open(self):
        sizes = self._sizes_to_resume()
        for path, partial, size in zip(self._paths, self._partial, sizes, strict=True):
            with _user_errors(path):
                file = open(partial, "r+b" if size else "wb")  # noqa: SIM115 - __exit__ closes it
                self._files.append(file)
                if size:
                    file.truncate(size)
                    file.seek(size)

    def _sizes_to_resume(self) -> list[int]:
        """The number of bytes of each partial file that are kept."""
        nothing = [0] * len(self._paths)
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            checksum = note.pop("checksum", None)
            sizes = [int(size) for size in note["sizes"]]
            found = [_checksum_of(partial, size) for partial, size in zip(self._partial, sizes, strict=True)]
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return nothing
        is_whole = checksum in (None, _checksum(note)) and found == note.get("checksums", found) and None not in found
        if note.get("work") != self._work or not is_whole:
            self.other_work = True
            return nothing
        self.state, self._checksums = note.get("state"), found
        return sizes

    def write(self, content: str | bytes, file: int = 0):
        """Appends text or bytes to a file, by its index in `paths`."""
        encoded = content.encode() if isinstance(content, str) else content
        with _user_errors(self._paths[file]):
            self._files[file].write(encoded)
        self._checksums[file] = zlib.crc32(encoded, self._checksums[file])

    def save(self, state: Any):
        """Makes the files resumable after everything written so far, with this state (JSON)."""
        with _user_errors(self._paths[0]):
            for file in self._files:
                file.flush()
                os.fsync(file.fileno())
            sizes = [file.tell() for file in self._files]
            note = {"work": self._work, "sizes": sizes, "checksums": self._checksums, "state": state}
            text = json.dumps({**note, "checksum": _checksum(note)})
            self._new_note.write_text(text, encoding="utf-8")
            os.replace(self._new_note, self._note)

    def finish(self):
        """Completes the files and gives them their names."""
        for path, partial, file in zip(self._paths, self._partial, self._files, strict=True):
            with _user_errors(path):
                file.flush()
                os.fsync(file.fileno())
                file.close()
                if path.suffix == ".gz":
                    _compress(partial, path)
                else:
                    os.replace(partial, path)
        for leftover in (self._note, self._new_note, *self._partial):
            leftover.unlink(missing_ok=True)

    def __exit__(self, error_type, error, traceback):
        with self._locks:
            for file in self._files:
                with contextlib.suppress(OSError):
                    file.close()
            self._files = []
            if not self._note.exists():  # nothing to resume
                for partial in self._partial:
                    partial.unlink(missing_ok=True)


def _checksum(note: dict[str, Any]) -> int:
    """The same of what is written and of what is read again."""
    return zlib.crc32(json.dumps(note, sort_keys=True).encode())


def _checksum_of(path: pathlib.Path, size: int) -> int | None:
    """That of the first bytes of a file; None where it has fewer."""
    checksum, left = 0, size
    with open(path, "rb") as file:
        while left and (piece := file.read(min(left, _PIECE_BYTES))):
            checksum, left = zlib.crc32(piece, checksum), left - len(piece)
    return None if left else checksum


def _compress(source: pathlib.Path, target: pathlib.Path):
    beside = target.with_name(f"{target.name}.compressed")
    try:
        with open(source, "rb") as text, open(beside, "wb") as file:
            # No file name and no time in the header.
            with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0) as compressed:
                shutil.copyfileobj(text, compressed, _PIECE_BYTES)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def _user_errors(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}.") from error
