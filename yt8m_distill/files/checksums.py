"""Checksums of files beside them: `checksums.json` in a folder, by which a flipped bit is found when a file is read.

Folders that were written without one are read as they are.
"""

import hashlib
import pathlib
from collections.abc import Collection

from yt8m_distill.errors import UserError
from yt8m_distill.files import atomic, untrusted

CHECKSUMS_FILE = "checksums.json"


def file_checksum(path: pathlib.Path) -> str:
    """SHA-256 of a file; of a folder, of the output of `sha256sum` for its files in the order of their paths.

    Raises:
        UserError: it cannot be read.
    """
    try:
        if not path.is_dir():
            with open(path, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error.strerror}.") from error
    checksum = hashlib.sha256()
    for file in sorted(each for each in path.rglob("*") if each.is_file()):
        checksum.update(f"{file_checksum(file)}  {file.relative_to(path).as_posix()}\n".encode())
    return checksum.hexdigest()


def write_checksums(folder: pathlib.Path, leave_out: Collection[str] = ()):
    """Writes the checksums of all files in a folder that is not yet under its name: files and checksums appear as one.

    Args:
        folder: without folders in it.
        leave_out: names of files that are not checked.
    """
    names = sorted(path.name for path in folder.iterdir() if path.name not in leave_out)
    atomic.write_json(folder / CHECKSUMS_FILE, {name: file_checksum(folder / name) for name in names})


def check_file(path: pathlib.Path, advice: str):
    """Checks a file by the checksums beside it, if there are any.

    Args:
        path: of the file.
        advice: what to do about a damaged one, for the message: "train it again".

    Raises:
        UserError: it is not the file that was written there.
    """
    stored = path.with_name(CHECKSUMS_FILE)
    if not stored.is_file():
        return
    expected = untrusted.read_json(stored).get(path.name)
    if expected is None:
        raise UserError(f"'{path}' is not among the files of '{stored}', or that is damaged: {advice}.")
    check_file_against(path, expected, f"{advice}. If you have changed it yourself, delete '{stored}'")


def check_file_against(path: pathlib.Path, checksum: str, advice: str):
    """Checks that a file, or a folder, has a checksum.

    Raises:
        UserError: it has another one.
    """
    if file_checksum(path) != checksum:
        raise UserError(f"'{path}' is damaged: its SHA-256 checksum is not that of the file once written. {advice}.")
