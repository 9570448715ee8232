"""Files from elsewhere: kind and size are checked before memory, disk space or a decoder is given to them.

Trained models come as run directories or packed archives that anybody may have made. `weights_files` and
`array_files` check the weights and arrays in them, `archives` unpacks them; here is what reads text and folders.
"""

import gzip
import json
import os
import pathlib
import stat
import zlib
from collections.abc import Iterator
from typing import Any

from yt8m_distill.errors import UserError

MOST_TEXT_BYTES = 1 << 24  # a configuration has some 2 kB
MOST_LINE_BYTES = 1 << 27  # a class of a submission of segments has some 2 MB


def read_text(path: pathlib.Path) -> str:
    """The text of a small file.

    Raises:
        UserError: it does not exist, is not a regular file, is too large or is not UTF-8 text.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"'{path}' is not a regular file.")
        if status.st_size > MOST_TEXT_BYTES:
            raise UserError(f"'{path}' has {status.st_size:,} bytes; more than {MOST_TEXT_BYTES:,} are not read.")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"'{path}' is not UTF-8 text: {error}.") from error


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        UserError: as `read_text`, or it is not a JSON object.
    """
    return parse_json(read_text(path), path)


def parse_json(text: str, path: str | os.PathLike) -> dict[str, Any]:
    """The object in a text.

    Args:
        text: of a file.
        path: of the file, for messages.

    Raises:
        UserError: it is not a JSON object.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"'{path}' is not valid JSON ({error}).") from error
    if not isinstance(values, dict):
        raise UserError(f"'{path}' does not hold a JSON object.")
    return values


def read_lines(path: str | os.PathLike) -> Iterator[bytes]:
    """The lines of a text file of any size, with their line ends; a file whose name ends in `.gz` is decompressed.

    Raises:
        UserError: it cannot be read or decompressed, or a line is longer than `MOST_LINE_BYTES`.
    """
    opened = gzip.open if str(path).endswith(".gz") else open
    number = 0
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UserError(f"{path} cannot be read: it is not a regular file.")
        with opened(path, "rb") as file:
            while line := file.readline(MOST_LINE_BYTES + 1):
                number += 1
                if len(line) > MOST_LINE_BYTES:
                    raise UserError(f"{path}, line {number}: it is longer than {MOST_LINE_BYTES:,} bytes.")
                yield line
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error


def check_folder(folder: pathlib.Path):
    """Checks that what is written to paths in a folder stays in it, and that reading its files ends.

    Raises:
        UserError: a link in it leads out of it, or something in it is neither a file nor a folder.
    """
    root = os.path.realpath(folder)
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(parent, name)
            try:
                mode = os.lstat(path).st_mode
            except FileNotFoundError:  # removed by a training that is running
                continue
            if stat.S_ISLNK(mode):
                if os.path.commonpath((root, os.path.realpath(path))) != root:
                    raise UserError(f"'{path}' is a link that leads out of '{folder}'; replace it by its target.")
            elif not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise UserError(f"'{path}' is neither a file nor a folder; remove it.")


def in_short(error: Exception) -> str:
    """An error's message on one line, cut off after 200 characters.

    Example:
        >>> in_short(ValueError("bad magic\\n  number"))
        'bad magic number'
    """
    return " ".join(str(error).split())[:200] or type(error).__name__


def in_words(error: OSError) -> str:
    """An error of the system without its number.

    Example:
        >>> in_words(FileNotFoundError(2, "No such file or directory", "a.csv"))
        "'a.csv': No such file or directory"
    """
    names = [f"'{os.fsdecode(name)}'" for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    return f"{' and '.join(names)}: {error.strerror}" if names else error.strerror or in_short(error)
