"""Class names and class ids from CSV files."""

import contextlib
import csv
import os
import reprlib
from collections.abc import Iterator

from yt8m_distill.errors import UserError

MOST_DIGITS = 9  # of a class index
_INDEX_COLUMNS = ("index",)  # in lower case; the editions write "Index" and "index"
_NAME_COLUMNS = ("name", "display_name")
_IDENTIFIER_COLUMNS = ("knowledgegraphid", "mid")


def load_vocabulary(path: str | os.PathLike, num_classes: int | None = None) -> dict[int, str]:
    """Class names from a vocabulary CSV, by class index.

    The header names the columns: `index` and `name` or `display_name`, in any case, as in the files of YouTube-8M and
    AudioSet. A class without a name gets its Knowledge Graph id, if there is such a column.

    Args:
        path: of the file.
        num_classes: of the model whose classes are to be named; None: any.

    Raises:
        UserError: the file cannot be read or has no such columns, an index is missing, not an integer of at least 0 or
            repeated, or the model has no such class. The message names file and line.
    """
    with _csv_rows(path, "vocabulary") as rows:
        names = _read_vocabulary(rows, path)
    if num_classes is not None and max(names, default=0) >= num_classes:
        raise UserError(
            f"The vocabulary {path} is for another model: it names class {max(names)}, and this model has "
            f"{num_classes:,} classes."
        )
    return names


def load_class_ids(path: str | os.PathLike) -> list[int]:
    """Class indices, ascending, from the column `index` of a CSV file, such as YouTube-8M's label ids of segments.

    Raises:
        UserError: as `load_vocabulary`.
    """
    with _csv_rows(path, "list of label ids") as rows:
        return _read_class_ids(rows, path)


@contextlib.contextmanager
def _csv_rows(path: str | os.PathLike, what: str) -> Iterator[Iterator[list[str]]]:
    """The rows of a CSV file, which messages call `what`."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            yield csv.reader(file)
    except OSError as error:
        raise UserError(f"The {what} {path} cannot be read: {error.strerror or error}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"The {what} {path} is not a CSV text file in UTF-8: {error}.") from error


def _read_vocabulary(reader, path: str | os.PathLike) -> dict[int, str]:
    header = [column.strip().lower() for column in next(reader, [])]
    index_column = _column(header, _INDEX_COLUMNS)
    name_column = _column(header, _NAME_COLUMNS)
    identifier_column = _column(header, _IDENTIFIER_COLUMNS)
    if index_column is None or name_column is None:
        raise UserError(
            f"{path}, line 1: a vocabulary needs a header with columns 'index' and 'name' or 'display_name', not "
            f"{reprlib.repr(header)}."
        )
    names: dict[int, str] = {}
    for row in reader:
        if not row:
            continue
        place = f"{path}, line {reader.line_num}"
        if len(row) != len(header):
            raise UserError(f"{place}: {len(row)} values for {len(header)} columns.")
        index = _vocabulary_index(row[index_column], place)
        if index in names:
            raise UserError(f"{place}: index {index} occurs twice.")
        identifier = "" if identifier_column is None else row[identifier_column]
        names[index] = _in_one_line(row[name_column]) or _in_one_line(identifier) or f"class {index}"
    if not names:
        raise UserError(f"{path}, line {reader.line_num}: the vocabulary has no classes.")
    return names


def _read_class_ids(reader, path: str | os.PathLike) -> list[int]:
    column = _column([name.strip().lower() for name in next(reader, [])], _INDEX_COLUMNS)
    if column is None:
        raise UserError(f"{path}, line 1: a list of label ids needs a header with a column 'Index'.")
    indices = set()
    for row in filter(None, reader):
        place = f"{path}, line {reader.line_num}"
        if column >= len(row):
            raise UserError(f"{place}: it has no index.")
        indices.add(_vocabulary_index(row[column], place))
    if not indices:
        raise UserError(f"{path}: it holds no label ids.")
    return sorted(indices)


def _in_one_line(text: str) -> str:
    return " ".join(text.split())


def _column(header: list[str], candidates: tuple[str, ...]) -> int | None:
    return next((header.index(name) for name in candidates if name in header), None)


def _vocabulary_index(text: str, place: str) -> int:
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= MOST_DIGITS):
        raise UserError(f"{place}: the index must be an integer of at least 0, not {reprlib.repr(text)}.")
    return int(digits)
