"""`report.csv`: a row for each film that was extracted, or could not be."""

import csv
import io
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from yt8m_distill.errors import UserError
from yt8m_distill.files import atomic
from yt8m_distill.files.delimited import read_rows

REPORT_FILE = "report.csv"


@dataclass(frozen=True)
class Row:
    """What has become of a film.

    Attributes:
        video_id: of the film.
        path: of its file.
        seconds: its duration.
        frames: in its record.
        sound: "yes", "no", or "" where it was not looked at.
        labels: class numbers, joined by ";".
        file: name of the TFRecord file with its record; empty: there is none.
        problems: what could not be decoded, in words.
    """

    video_id: str
    path: str
    seconds: float
    frames: int
    sound: str
    labels: str
    file: str
    problems: str

    @classmethod
    def of_values(cls, values: Mapping[str, Any]) -> "Row":
        """A row out of values as `values` gives them, or out of texts; a ValueError or KeyError where they are none."""
        texts = {name: str(values[name]) for name in COLUMNS}
        return cls(**{**texts, "seconds": float(texts["seconds"]), "frames": int(texts["frames"])})

    def values(self) -> dict[str, Any]:
        return asdict(self)


COLUMNS = tuple(field.name for field in fields(Row))


def write_report(path: pathlib.Path, rows: Iterable[Row]):
    """Writes the rows as a CSV file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row.values(), "seconds": f"{row.seconds:.3f}"} for row in rows)
    atomic.write_text(path, text.getvalue())


def read_report(path: pathlib.Path) -> list[Row]:
    """The rows of a report; none where there is no file.

    Raises:
        UserError: it is not a report.
    """
    if not os.path.lexists(path):
        return []
    lines = read_rows(path, "report", lambda cells: tuple(cells) == COLUMNS)
    if tuple(next(lines, (1, []))[1]) != COLUMNS:
        raise UserError(f"'{path}' is not a report of an extraction; give another directory.")
    rows = []
    for line, cells in lines:
        try:
            rows.append(Row.of_values(dict(zip(COLUMNS, cells, strict=True))))
        except ValueError as error:
            raise UserError(f"'{path}', line {line}: it is not a row of a report.") from error
    return rows


def shown_path(path: str) -> str:
    """A path as text of the report, whatever bytes its name has."""
    return os.fsencode(path).decode(errors="backslashreplace")


def joined_labels(labels: Sequence[int]) -> str:
    return ";".join(map(str, labels))
