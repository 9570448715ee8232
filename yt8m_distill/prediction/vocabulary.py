"""Class names and class ids from CSV files."""

import os
import reprlib
from collections.abc import Iterator, Sequence

from yt8m_distill.errors import UserError
from yt8m_distill.files.delimited import read_rows, whole_number

# Names of columns, in lower case and without spaces and underscores.
_INDEX_COLUMNS = ("index", "labelid", "classid", "classindex")
_NAME_COLUMNS = ("name", "displayname", "labelname", "classname")
_IDENTIFIER_COLUMNS = ("knowledgegraphid", "mid")


def load_vocabulary(path: str | os.PathLike, num_classes: int | None = None) -> dict[int, str]:
    """Class names from a vocabulary CSV, by class index.

    The header names the columns, in any case and order, as in the published files: `Index` and `Name` of YouTube-8M,
    `index` and `display_name` of AudioSet, `label_id` and `label_name` of Kaggle. A class without a name gets its
    Knowledge Graph id, if there is such a column. How the text may be written: see `files.delimited.read_rows`.

    Args:
        path: of the file.
        num_classes: of the model whose classes are to be named; None: any.

    Raises:
        UserError: the file cannot be read or has no such columns, an index is missing, not an integer of at least 0 or
            repeated, or the model has no such class. The message names file and line.
    """
    rows = read_rows(path, "vocabulary", lambda cells: None not in (_index_column(cells), _name_column(cells)))
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
    rows = read_rows(path, "list of label ids", lambda cells: _index_column(cells) is not None)
    _, header = next(rows, (1, []))
    column = _index_column(header)
    if column is None:
        raise UserError(f"{path}, line 1: a list of label ids needs a header with a column 'Index'.")
    indices = set()
    for line, row in rows:
        if column >= len(row):
            raise UserError(f"{path}, line {line}: it has no index.")
        indices.add(_vocabulary_index(row[column], f"{path}, line {line}"))
    if not indices:
        raise UserError(f"{path}: it holds no label ids.")
    return sorted(indices)


def _read_vocabulary(rows: Iterator[tuple[int, list[str]]], path: str | os.PathLike) -> dict[int, str]:
    line, header = next(rows, (1, []))
    index_column, name_column = _index_column(header), _name_column(header)
    identifier_column = _column(header, _IDENTIFIER_COLUMNS)
    if index_column is None or name_column is None:
        raise UserError(
            f"{path}, line {line}: a vocabulary needs a header with columns 'index' and 'name' (or 'display_name', or "
            f"'label_id' and 'label_name'), not {reprlib.repr(header)}."
        )
    names: dict[int, str] = {}
    for line, row in rows:
        place = f"{path}, line {line}"
        if len(row) < len(header) or any(row[len(header) :]):
            raise UserError(f"{place}: {len(row)} values for {len(header)} columns.")
        index = _vocabulary_index(row[index_column], place)
        if index in names:
            raise UserError(f"{place}: index {index} occurs twice.")
        identifier = "" if identifier_column is None else row[identifier_column]
        names[index] = _in_one_line(row[name_column]) or _in_one_line(identifier) or f"class {index}"
    if not names:
        raise UserError(f"{path}, line {line}: the vocabulary has no classes.")
    return names


def _in_one_line(text: str) -> str:
    return " ".join(text.split())


def _index_column(header: Sequence[str]) -> int | None:
    return _column(header, _INDEX_COLUMNS)


def _name_column(header: Sequence[str]) -> int | None:
    return _column(header, _NAME_COLUMNS)


def _column(header: Sequence[str], candidates: tuple[str, ...]) -> int | None:
    names = [name.lower().replace("_", "").replace(" ", "") for name in header]
    return next((names.index(name) for name in candidates if name in names), None)


def _vocabulary_index(text: str, place: str) -> int:
    index = whole_number(text)
    if index is None:
        raise UserError(f"{place}: the index must be an integer of at least 0, not {reprlib.repr(text)}.")
    return index
