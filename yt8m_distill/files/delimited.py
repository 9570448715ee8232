"""Rows of delimited text from elsewhere: CSV files of vocabularies, class ids, segments and ratings."""

import codecs
import csv
import gzip
import io
import itertools
import os
import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from yt8m_distill.errors import UserError
from yt8m_distill.files.untrusted import MOST_LINE_BYTES

SEPARATORS = (",", ";", "\t", "|")
MOST_DIGITS = 9  # of a class index
_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"


def read_rows(
    path: str | os.PathLike, what: str, is_first_row: Callable[[Sequence[str]], bool]
) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row that is not blank.

    Read are UTF-8 with or without a byte order mark and UTF-16 with one, any line ends, quoted cells, and gzip. The
    separator is the first of `SEPARATORS` with which the first row is as expected, else a comma; a line `sep=;` before
    it, as Excel writes it, decides. Cells have no spaces around them.

    Args:
        path: of the file.
        what: it is, for messages: "vocabulary".
        is_first_row: whether cells can be the first row.

    Raises:
        UserError: the file cannot be read, is not a regular file (a pipe would be waited for) or not such text, or a
            quote is not closed.
    """
    csv.field_size_limit(MOST_LINE_BYTES)  # of the process; the line of a class of segments is one cell
    line = 0
    try:
        _check_kind(path, what)
        with open(path, "rb") as file, _text(file, f"The {what} {path}") as text:
            lines = _lines(text, path)
            line, first, separator = _first_row(lines, is_first_row)
            reader = csv.reader(
                itertools.chain([first], lines), delimiter=separator, skipinitialspace=True, strict=True
            )
            before = line - 1
            for cells in reader:
                line = before + reader.line_num
                cells = [cell.strip() for cell in cells]
                if any(cells):
                    yield line, cells
    except UnicodeError as error:
        raise UserError(f"The {what} {path} is not a CSV text file in UTF-8: {error}.") from error
    except csv.Error as error:
        raise UserError(f"The {what} {path} is not a CSV text file: after line {line}, {error}.") from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"The {what} {path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error


def whole_number(text: str) -> int | None:
    """A number of at least 0 with at most `MOST_DIGITS` digits, as written by people and by spreadsheets, else None.

    Example:
        >>> [whole_number(text) for text in ("7", "7.0", "7.5", "-7", "1e3")]
        [7, 7, None, None, None]
    """
    digits, _, decimals = text.strip().partition(".")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= MOST_DIGITS) or decimals.strip("0"):
        return None
    return int(digits)


def _check_kind(path: str | os.PathLike, what: str):
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise UserError(f"The {what} {path} cannot be read: it is not a regular file; write its content into one.")


def _text(file: BinaryIO, name: str) -> io.TextIOBase:
    """The text of a file, decompressed and decoded as its first bytes say."""
    start = file.read(len(_ZIP))
    file.seek(0)
    if start == _ZIP:
        raise UserError(f"{name} cannot be read: it is a ZIP archive; unpack it.")
    binary = gzip.GzipFile(fileobj=file) if start.startswith(_GZIP) else file
    is_utf16 = binary.read(len(codecs.BOM_UTF16)) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    binary.seek(0)
    return io.TextIOWrapper(binary, encoding="utf-16" if is_utf16 else "utf-8-sig", newline="")


def _lines(file: io.TextIOBase, path: str | os.PathLike) -> Iterator[str]:
    for number in itertools.count(1):
        line = file.readline(MOST_LINE_BYTES + 1)
        if len(line) > MOST_LINE_BYTES:
            raise UserError(f"{path}, line {number}: it is longer than {MOST_LINE_BYTES:,} characters.")
        if not line:
            return
        yield line


def _first_row(lines: Iterator[str], is_first_row: Callable[[Sequence[str]], bool]) -> tuple[int, str, str]:
    """Number and text of the first line that is not blank, and the separator."""
    decided = None
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not decided and text.lower().startswith("sep=") and len(text) == len("sep=") + 1:
            decided = text[-1]
        elif text:
            return number, line, decided or _separator(line, is_first_row)
    return 1, "", SEPARATORS[0]


def _separator(line: str, is_first_row: Callable[[Sequence[str]], bool]) -> str:
    for separator in SEPARATORS:
        try:
            cells = next(csv.reader([line], delimiter=separator, skipinitialspace=True))
        except csv.Error:
            continue
        if is_first_row([cell.strip() for cell in cells]):
            return separator
    return SEPARATORS[0]
