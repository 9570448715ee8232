"""Predictions as text: the Kaggle submission file and a readable listing."""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from yt8m_distill.data.record_format import id_text_problem
from yt8m_distill.errors import UserError
from yt8m_distill.files.resumable import ResumableFiles
from yt8m_distill.ranking import ranked_classes

HEADER = "VideoId,LabelConfidencePairs\n"


def format_row(video_id: str | bytes, predictions, top_k: int = 20) -> str:
    """One line of the submission file, `ID,CLASS SCORE CLASS SCORE ...`, best class first.

    Args:
        video_id: without commas and line breaks.
        predictions: array (classes,), finite.
        top_k: number of classes to write, at most all.

    Returns:
        The line with its line end. Scores have 6 significant digits; of equal scores the lower class comes first.

    Raises:
        UserError: the id would break the file, a prediction is NaN or infinite, the shape is not (classes,) or `top_k`
            is below 1.

    Example:
        >>> format_row("abcd", [0.25, 0.75, 0.5], top_k=2)
        'abcd,1 0.75 2 0.5\\n'

    Source: the YouTube-8M starter code (inference.py, format_lines).
    Differs: the starter code fails if `top_k` exceeds the number of classes, and in Python 3 if ids are bytes.
    """
    return _format_rows([video_id], np.asarray(predictions)[None], top_k)[0]


class PredictionsWriter:
    """Writes a submission file, and with class names a readable listing `<path>.txt` beside it.

    A context manager that uses `ResumableFiles`: files appear under their names only when complete; after a `save`, the
    next writer for the same work resumes there.

    Args:
        path: the file to write, compressed if it ends in `.gz`.
        top_k: classes per video, at most all.
        names: class names by index, for the listing; None: no listing.
        work: JSON that identifies model, input and settings.
        run: JSON to write beside the file, with the number of its rows, see `description_path`; None: nothing.

    Attributes:
        rows: videos written so far, including those before a stop.
        position: the argument of the last `save` for this work; None at the beginning.
        other_work: whether there were partial files of other work.

    Raises:
        UserError: on entering, if the file cannot be written; on leaving, if the disk is full.
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
        """Appends a row for each video.

        Args:
            video_ids: batch ids without commas and line breaks.
            predictions: array (batch, classes), finite.

        Raises:
            UserError: as `format_row`; the numbers of ids and predictions differ; the disk is full.
        """
        if not self._open:
            raise RuntimeError("PredictionsWriter is used outside its `with` block.")
        self._files.write("".join(_format_rows(video_ids, predictions, self._top_k)))
        if self._names is not None:
            rows = zip(video_ids, predictions, strict=True)
            self._files.write("".join(format_readable(i, row, self._names, self._top_k) for i, row in rows), file=1)
        self.rows += len(video_ids)

    def save(self, position: Any):
        """Makes the file resumable after the rows written so far, with this position in the input (JSON)."""
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
    """The path of the readable listing of a submission file."""
    return pathlib.Path(f"{path}.txt")


def description_path(path: str | os.PathLike) -> pathlib.Path:
    """The path of the description of a predictions file: its model, its input and its number of rows."""
    return pathlib.Path(f"{path}.json")


def format_readable(video_id: str | bytes, predictions, names: Mapping[int, str], top_k: int = 20) -> str:
    """The best classes of a video in readable form: the id, then a line `  SCORE  NAME` for each class, best first.

    Args:
        video_id: the id.
        predictions: array (classes,), finite.
        names: class names by index, of `load_vocabulary`; other classes are shown as `class INDEX`.
        top_k: number of classes to list, at most all.

    Returns:
        The lines, each with its line end. Scores have 4 decimals.

    Raises:
        UserError: as `format_row`.

    Example:
        >>> print(format_readable("abcd", [0.25, 0.75, 0.5], {1: "Car"}, top_k=2), end="")
        abcd
          0.7500  Car
          0.5000  class 2
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


def checked_id(video_id: str | bytes) -> str:
    """A video's id as a string.

    Raises:
        UserError: it is not UTF-8, or would break a line of a CSV file.
    """
    encoded = video_id if isinstance(video_id, bytes) else str(video_id).encode(errors="surrogatepass")
    if problem := id_text_problem(encoded):
        raise UserError(f"The video id {encoded.decode(errors='backslashreplace')!r} {problem}.")
    return encoded.decode()
