"""Predictions as text: the Kaggle submission file and a listing for people."""

import contextlib
import csv
import json
import os
import pathlib
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from yt8m_distill.errors import UserError
from yt8m_distill.resumable_files import ResumableFiles

HEADER = "VideoId,LabelConfidencePairs\n"

MOST_DIGITS = 9  # of a class index

_INDEX_COLUMNS = ("index",)  # In lower case; the editions write "Index" and "index".
_NAME_COLUMNS = ("name", "display_name")
_IDENTIFIER_COLUMNS = ("knowledgegraphid", "mid")


def format_row(video_id: str | bytes, predictions, top_k: int = 20) -> str:
    """One line of the submission file, `ID,CLASS SCORE CLASS SCORE ...`, best class first.

    Args:
        video_id: without commas and line breaks.
        predictions: array (classes,), finite.
        top_k: classes to write; all of them where there are fewer.

    Returns:
        The line with its line end. Scores have 6 significant digits; of equal scores the lower class comes first.

    Raises:
        UserError: if the id would break the file, a prediction is NaN or infinite, the shape is not (classes,) or
            `top_k` is below 1.

    Source: the YouTube-8M starter code (inference.py, format_lines).
    Differs: the starter code fails where `top_k` exceeds the classes, and in Python 3 on any id that is bytes.
    """
    return _format_rows([video_id], np.asarray(predictions)[None], top_k)[0]


class PredictionsWriter:
    """Writes a submission file, and where class names are given a readable listing `<path>.txt` beside it.

    A context manager, on `ResumableFiles`: files appear under their names only when complete; after a `save` they are
    gone on with by the next writer for the same work.

    Args:
        path: the file to write; compressed where it ends in `.gz`.
        top_k: classes per video; all of them where there are fewer.
        names: class names by index, for the listing; None: no listing.
        work: identifies what is predicted by what; JSON.
        run: JSON that is written beside the file with the number of its rows, see `description_path`; None: nothing is.

    Attributes:
        rows: videos written so far, those before a stop included.
        position: what was given to the last `save` for this work; None at the beginning.
        other_work: whether something unfinished was there, of other work.

    Raises:
        UserError: on entering, if the file cannot be written there; on leaving, if the disk does not take it.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        top_k: int = 20,
        *,
        names: Mapping[int, str] | None = None,
        work: Any = None,
        run: Any = None,
    ):
        self.rows = 0
        self.position: Any = None
        self._top_k = top_k
        self._names = names
        self._run = run
        listing = [] if names is None else [listing_path(path)]
        description = [] if run is None else [description_path(path)]
        self._files = ResumableFiles([path, *listing, *description], {"top_k": top_k, "work": work})
        self._open = False

    @property
    def other_work(self) -> bool:
        return self._files.other_work

    def __enter__(self) -> "PredictionsWriter":
        self._files.__enter__()
        self._open = True
        if self._files.state is None:
            self._files.write(HEADER)
        else:
            self.rows, self.position = self._files.state["rows"], self._files.state["position"]
        return self

    def write(self, video_ids: Sequence[str | bytes], predictions) -> None:
        """Adds a row for every video.

        Args:
            video_ids: batch ids without commas and line breaks.
            predictions: array (batch, classes), finite.

        Raises:
            UserError: as `format_row`; if there are not as many ids as predictions; if the disk is full.
        """
        if not self._open:
            raise RuntimeError("PredictionsWriter is used outside of its `with` block.")
        self._files.write("".join(_format_rows(video_ids, predictions, self._top_k)))
        if self._names is not None:
            rows = zip(video_ids, predictions, strict=True)
            self._files.write("".join(format_readable(i, row, self._names, self._top_k) for i, row in rows), file=1)
        self.rows += len(video_ids)

    def save(self, position: Any):
        """Lets the next writer for the same work go on after the rows written until now; `position` is JSON."""
        self._files.save({"rows": self.rows, "position": position})

    def __exit__(self, error_type, error, traceback) -> None:
        self._open = False
        try:
            if error_type is None:
                if self._run is not None:
                    self._files.write(json.dumps({"run": self._run, "rows": self.rows}, indent=2) + "\n", file=-1)
                self._files.finish()
        finally:
            self._files.__exit__(error_type, error, traceback)


def listing_path(path: str | os.PathLike) -> pathlib.Path:
    """Where the readable listing of a submission file is."""
    return pathlib.Path(f"{path}.txt")


def description_path(path: str | os.PathLike) -> pathlib.Path:
    """Where it is written what a file of predictions was made by, from what, and how many rows it has."""
    return pathlib.Path(f"{path}.json")


def load_vocabulary(path: str | os.PathLike, num_classes: int | None = None) -> dict[int, str]:
    """Class names from a vocabulary CSV, by class index.

    The columns are found by the header: `index` and `name` or `display_name`, in any case, as in the files of
    YouTube-8M and AudioSet. A class without a name is called by its Knowledge Graph id, where there is such a column.

    Args:
        path: of the file.
        num_classes: of the model whose classes are to be named; None: it does not matter.

    Raises:
        UserError: if the file cannot be read or has no such columns, an index is missing, not a whole number of at
            least 0, or there twice, or the model has no such class. The message names file and line.
    """
    with _csv_rows(path, "vocabulary") as rows:
        names = _read_vocabulary(rows, path)
    if num_classes is not None and max(names, default=0) >= num_classes:
        raise UserError(
            f"The vocabulary {path} is another model's: it names class {max(names)}, and this one has {num_classes:,} "
            "classes."
        )
    return names


def load_class_ids(path: str | os.PathLike) -> list[int]:
    """Class indices, ascending, from a CSV whose column `index` holds them, as the label ids of YouTube-8M's segments.

    Raises:
        UserError: as `load_vocabulary`.
    """
    with _csv_rows(path, "list of label ids") as rows:
        return _read_class_ids(rows, path)


@contextlib.contextmanager
def _csv_rows(path: str | os.PathLike, what: str) -> Iterator[Iterator[list[str]]]:
    """The rows of a CSV file; what is wrong with the file itself is said as of the `what`."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            yield csv.reader(file)
    except OSError as error:
        raise UserError(f"The {what} {path} cannot be read: {error.strerror or error}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"The {what} {path} is not a CSV text file in UTF-8: {error}.") from error


def format_readable(video_id: str | bytes, predictions, names: Mapping[int, str], top_k: int = 20) -> str:
    """The best classes of a video for people: the id, then a line `  SCORE  NAME` for each class, best first.

    Args:
        video_id: the id.
        predictions: array (classes,), finite.
        names: class names by index, of `load_vocabulary`; a class that is not there is shown as `class INDEX`.
        top_k: classes to list; all of them where there are fewer.

    Returns:
        The lines, each with its line end. Scores have 4 decimals.

    Raises:
        UserError: as `format_row`.
    """
    video_id = checked_id(video_id)
    classes, scores = ranked_classes([video_id], np.asarray(predictions)[None], top_k)
    ranked = zip(classes[0].tolist(), scores[0].tolist(), strict=True)
    lines = [f"  {score:.4f}  {names.get(index, f'class {index}')}\n" for index, score in ranked]
    return f"{video_id}\n{''.join(lines)}"


def _format_rows(video_ids: Sequence[str | bytes], predictions, top_k: int) -> list[str]:
    ids = [checked_id(video_id) for video_id in video_ids]
    classes, scores = ranked_classes(ids, predictions, top_k)
    pairs = " ".join(["%i %g"] * classes.shape[1]) + "\n"
    rows = []
    for video_id, row_classes, row_scores in zip(ids, classes.tolist(), scores.tolist(), strict=True):
        values = [None] * (2 * len(row_classes))
        values[::2] = row_classes
        values[1::2] = row_scores
        rows.append(f"{video_id},{pairs % tuple(values)}")
    return rows


def ranked_classes(ids: Sequence[str], predictions, top_k: int) -> tuple[np.ndarray, np.ndarray]:
    """The best classes of every video, and their scores, best first; of equal scores the lower class comes first.

    Args:
        ids: of the videos.
        predictions: array (batch, classes), finite.
        top_k: how many; all where there are fewer.

    Returns:
        Two arrays (batch, k).

    Raises:
        UserError: a prediction is NaN or infinite, or the shape is not (batch, classes).
    """
    scores = np.asarray(predictions)
    if scores.dtype != np.float64:
        scores = scores.astype(np.float32, copy=False)  # Also for 16-bit floats.
    if scores.ndim != 2 or len(scores) != len(ids) or not scores.shape[1]:
        raise UserError(
            f"predictions have the shape {scores.shape} for {len(ids)} video ids: ({len(ids)}, classes) is needed."
        )
    if top_k < 1:
        raise UserError(f"top_k is {top_k}: at least 1 is needed.")
    # Of a row with a NaN both are NaN: cheaper than looking at every score.
    damaged = np.flatnonzero(~(np.isfinite(scores.max(axis=1)) & np.isfinite(scores.min(axis=1))))
    if damaged.size:
        raise UserError(f"The predictions of video {ids[damaged[0]]} are not finite: has the training diverged?")
    return _top_classes(scores, min(top_k, scores.shape[1]))


def _top_classes(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best classes of every row and their scores, best first; of equal scores the lower class comes first."""
    border = scores.shape[1] - k
    classes = np.argpartition(scores, border, axis=1)[:, border:]
    lowest = np.take_along_axis(scores, classes, axis=1).min(axis=1, keepdims=True)
    # Among scores equal to the lowest kept one, argpartition chooses differently on different processors.
    tied = np.flatnonzero(np.count_nonzero(scores >= lowest, axis=1) > k)
    classes[tied] = np.argsort(-scores[tied], axis=1, kind="stable")[:, :k]
    classes.sort(axis=1)
    values = np.take_along_axis(scores, classes, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(classes, order, axis=1), np.take_along_axis(values, order, axis=1)


def checked_id(video_id: str | bytes) -> str:
    """A video's id as text; UserError where it cannot be in a line of a CSV."""
    try:
        text = video_id.decode() if isinstance(video_id, bytes) else str(video_id).encode().decode()
    except UnicodeError as error:
        raise UserError(f"The video id {video_id!r} is not UTF-8 text.") from error
    if any(mark in text for mark in ',"\r\n'):
        raise UserError(f"The video id {text!r} has a comma, a quote or a line break: a line of a CSV cannot hold it.")
    return text


def _read_vocabulary(reader, path: str | os.PathLike) -> dict[int, str]:
    header = [column.strip().lower() for column in next(reader, [])]
    index_column = _column(header, _INDEX_COLUMNS)
    name_column = _column(header, _NAME_COLUMNS)
    identifier_column = _column(header, _IDENTIFIER_COLUMNS)
    if index_column is None or name_column is None:
        raise UserError(
            f"{path}, line 1: a vocabulary begins with column names, of which one is 'index' and one 'name' or "
            f"'display_name'; here they are {reprlib.repr(header)}."
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
            raise UserError(f"{place}: index {index} is there twice.")
        identifier = "" if identifier_column is None else row[identifier_column]
        names[index] = _in_one_line(row[name_column]) or _in_one_line(identifier) or f"class {index}"
    if not names:
        raise UserError(f"{path}, line {reader.line_num}: the vocabulary has no classes.")
    return names


def _read_class_ids(reader, path: str | os.PathLike) -> list[int]:
    column = _column([name.strip().lower() for name in next(reader, [])], _INDEX_COLUMNS)
    if column is None:
        raise UserError(f"{path}, line 1: one of the column names must be 'Index'.")
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
        raise UserError(f"{place}: the index is {reprlib.repr(text)}, a whole number of at least 0 is needed.")
    return int(digits)
