"""Writing files and folders so that a kill or a full disk leaves the former content."""

import contextlib
import errno
import json
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import IO, Any

from yt8m_distill.errors import UserError
from yt8m_distill.files.remote import is_remote

_PARTIAL = ".partial"
_OLD = ".old"
SPACE_FACTOR = 1.02  # size of a file of arrays, divided by that of the arrays


def make_directory(path: pathlib.Path):
    """Creates `path` and its parents.

    Raises:
        UserError: it cannot be created or written to, or is on another machine.
    """
    if is_remote(path) and not path.parent.exists():
        raise UserError(f"'{path}' is not on this machine; give a folder here, and copy what is in it afterwards.")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the folder '{path}' cannot be created: {error.strerror}.") from error
    if not os.access(path, os.W_OK):
        raise UserError(f"the folder '{path}' cannot be written to.")


def check_replaceable(path: pathlib.Path):
    """Checks that a file can take the place of what has this name: a device would be replaced, too.

    Raises:
        UserError: it is something other than a file.
    """
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a regular file: the name of a file is needed.")


@contextlib.contextmanager
def file_written_beside(path: pathlib.Path, *, binary: bool = False) -> Iterator[IO]:
    """An open file that replaces `path` when the context ends without an error, so that `path` is never half written.

    Until then its name begins with a dot, so that a pattern that matches `path` does not match it.
    """
    make_directory(path.parent)
    check_replaceable(path)
    partial, _ = _hidden(path)
    try:
        with (
            full_disk_named(path),
            open(partial, "wb" if binary else "w", encoding=None if binary else "utf-8") as file,
        ):
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: pathlib.Path, text: str):
    """Writes a text file by `file_written_beside`."""
    with file_written_beside(path) as file:
        file.write(text)


def write_json(path: pathlib.Path, values: Mapping[str, Any]):
    """Writes a JSON file by `file_written_beside`."""
    write_text(path, json.dumps(values, indent=2) + "\n")


def remove_directory(path: pathlib.Path):
    """Removes a folder so that a kill leaves all of it or nothing."""
    partial, _ = _hidden(path)
    shutil.rmtree(partial, ignore_errors=True)
    os.rename(path, partial)
    shutil.rmtree(partial, ignore_errors=True)


def clear_leftovers(path: pathlib.Path):
    """Removes what a killed process has left beside a file or folder that it was writing.

    A folder that it had moved away, and not yet replaced, is there again.
    """
    partial, old = _hidden(path)
    if old.exists() and not path.exists():  # killed between the two renames of `directory_written_beside`
        os.rename(old, path)
    for leftover in (partial, old):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def clear_all_leftovers(folder: pathlib.Path):
    """`clear_leftovers` of everything in a folder in which nobody else has hidden files."""
    hidden = (path.name for path in folder.glob(".*") if path.name.endswith((_PARTIAL, _OLD)))
    for name in {name[1:].rpartition(".")[0] for name in hidden}:
        clear_leftovers(folder / name)


def _hidden(path: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """What is being written, and what it replaces. Hidden: NAME.old may be somebody's copy of NAME."""
    return path.with_name(f".{path.name}{_PARTIAL}"), path.with_name(f".{path.name}{_OLD}")


@contextlib.contextmanager
def directory_written_beside(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """An empty folder that replaces `path` and its content when the context ends without an error."""
    partial, old = _hidden(path)
    clear_leftovers(path)
    make_directory(partial)
    try:
        with full_disk_named(path):
            yield partial
            _sync_files(partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if path.exists():
        os.rename(path, old)
    os.rename(partial, path)
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def full_disk_named(path: pathlib.Path):
    """Names what is written where the disk is full.

    Raises:
        UserError: it is.
    """
    try:
        yield
    except Exception as error:
        if not is_full_disk(error):
            raise
        raise UserError(f"no space left on the disk for '{path}'; what was written before is intact.") from error


def is_full_disk(error: Exception) -> bool:
    """Whether an error says that a disk, or somebody's share of it, is full."""
    numbers = errno.ENOSPC, errno.EDQUOT
    # Errors of TensorFlow and HDF5 have the message, not the number.
    return getattr(error, "errno", None) in numbers or any(os.strerror(n) in str(error) for n in numbers)


def _sync_files(folder: pathlib.Path):
    for file in filter(pathlib.Path.is_file, folder.rglob("*")):
        with open(file, "rb") as opened:
            os.fsync(opened.fileno())


def check_space(
    folder: pathlib.Path,
    num_bytes: int,
    what: str,
    advice: str = "what was written before is intact. Make room, and the same command continues.",
):
    """Checks that something can be written before writing starts.

    Args:
        folder: an existing folder on the disk.
        num_bytes: at least to be written.
        what: is to be written, for the message.
        advice: the end of the message.

    Raises:
        UserError: less than that, and `SPACE_FACTOR`, is free.
    """
    free = shutil.disk_usage(folder).free
    if free < num_bytes * SPACE_FACTOR:
        raise UserError(
            f"{what} in '{folder}' would take at least {num_bytes / 1e6:,.1f} MB, and {free / 1e6:,.1f} MB are free; "
            f"{advice}"
        )
