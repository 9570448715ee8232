"""Predictions of segments as text: `Class,Segments`, the best segments of each class."""

import os
import re
import reprlib
from collections.abc import Iterator, Sequence

import numpy as np

from yt8m_distill.errors import UserError
from yt8m_distill.files.delimited import read_rows, whole_number
from yt8m_distill.files.resumable import ResumableFiles
from yt8m_distill.prediction.submission import checked_id
from yt8m_distill.ranking import ranked_classes

HEADER = "Class,Segments\n"
_COLUMNS = (("class", "classes"), ("segments", "segment"))  # in lower case
# A list of segments as it is written here. Possessive, so that a line of megabytes takes no memory.
_PLAIN_LIST = re.compile(r"(?:[^\s:;,|]++:(?:0|[1-9][0-9]{0,8}+)(?: |$))*+")
_SEGMENT = re.compile(r"([^,\"]+):([0-9]{1,9})(?:\.0*)?")
_OTHER_SEPARATOR = re.compile(r":[0-9.]+[;|]")
_START_BITS = 32  # of a segment's number, for its start; the others are for its video


class SegmentsWriter:
    """Collects the best segments of each class and writes them at the end.

    A context manager. The file appears only when it is complete; after a stop it is started again, as the last video
    may have the best segment of a class.

    Args:
        path: the file to write, compressed if it ends in `.gz`.
        top_k: best classes of each segment that count, among `classes`.
        max_segments: best segments of each class to write. Memory is bounded by about 24 bytes for each of them, and
            the video ids.
        classes: to predict; None: all.

    Attributes:
        segments: added so far.

    Raises:
        UserError: on entering, if the file cannot be written; on leaving, if the disk is full.

    Source: the starter code's inference with `segment_labels`: classes in order of first appearance.
    Differs: scores are compared with all their digits, not with 6; of equal scores the earlier segment comes first.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        top_k: int = 20,
        max_segments: int = 100_000,
        classes: Sequence[int] | None = None,
    ):
        self.segments = 0
        self._top_k = top_k
        self._max_segments = max_segments
        self._classes = None if classes is None else np.array(classes)
        self._videos: list[str] = []
        self._best: dict[int, _BestSegments] = {}
        self._file = ResumableFiles([path], {"content": HEADER})

    def __enter__(self) -> "SegmentsWriter":
        self._file.__enter__()
        return self

    def write(self, video_ids: Sequence[bytes], starts: Sequence[int], predictions: np.ndarray):
        """Adds segments.

        Args:
            video_ids: of each segment; the segments of a video are consecutive.
            starts: in seconds.
            predictions: array (segments, classes), finite.

        Raises:
            UserError: an id that would break the file, or a prediction that is not finite.
        """
        ids = [_checked_id(video_id) for video_id in video_ids]
        numbers = np.array([self._number(*pair) for pair in zip(ids, starts, strict=True)], np.int64)
        allowed = predictions if self._classes is None else predictions[:, self._classes]
        columns, scores = ranked_classes(ids, allowed, self._top_k)
        classes = (columns if self._classes is None else self._classes[columns]).ravel()
        scores, numbers = scores.ravel(), np.repeat(numbers, columns.shape[1])
        order = np.argsort(classes, kind="stable")
        ordered = classes[order]
        for index in dict.fromkeys(classes.tolist()):
            rows = order[np.searchsorted(ordered, index) : np.searchsorted(ordered, index, side="right")]
            self._best.setdefault(index, _BestSegments(self._max_segments)).add(scores[rows], numbers[rows])
        self.segments += len(ids)

    def _number(self, video_id: str, start: int) -> int:
        """A number for a segment, larger than those of all earlier segments."""
        if not self._videos or self._videos[-1] != video_id:
            self._videos.append(video_id)
        return (len(self._videos) - 1) << _START_BITS | int(start)

    def _name(self, number: int) -> str:
        return f"{self._videos[number >> _START_BITS]}:{number & (1 << _START_BITS) - 1}"

    def __exit__(self, error_type, error, traceback):
        try:
            if error_type is None:
                self._file.write(HEADER)
                for index, best in self._best.items():
                    self._file.write(f"{index},{' '.join(map(self._name, best.ranked()))}\n")
                self._file.finish()
        finally:
            self._file.__exit__(error_type, error, traceback)


class _BestSegments:
    """The best segments of one class, in at most twice their memory."""

    def __init__(self, limit: int):
        self._limit = limit
        self._count = 0
        self._scores = np.empty(0, np.float32)
        self._numbers = np.empty(0, np.int64)

    def add(self, scores: np.ndarray, numbers: np.ndarray):
        end = self._count + len(scores)
        if end > len(self._scores):
            more = max(end, min(2 * self._limit, 2 * len(self._scores))) - self._count
            self._scores = np.concatenate([self._scores[: self._count], np.empty(more, np.float32)])
            self._numbers = np.concatenate([self._numbers[: self._count], np.empty(more, np.int64)])
        self._scores[self._count : end], self._numbers[self._count : end] = scores, numbers
        self._count = end
        if end >= 2 * self._limit:
            best = self._order()
            self._count = len(best)
            self._scores[: self._count], self._numbers[: self._count] = self._scores[best], self._numbers[best]

    def _order(self) -> np.ndarray:
        return np.lexsort((self._numbers[: self._count], -self._scores[: self._count]))[: self._limit]

    def ranked(self) -> list[int]:
        """Numbers of the segments, best first."""
        return self._numbers[self._order()].tolist()


def read_segments(path: str | os.PathLike) -> Iterator[tuple[int, list[str]]]:
    """Class and segments, `ID:START`, best first, of each line of a CSV file `Class,Segments`.

    The file is that of `SegmentsWriter`, or one that another program has written: columns are found by the header, if
    there is one; `3.0` is class 3, and `a:5.0` the segment "a:5". How else the text may be written: see
    `files.delimited.read_rows`.

    Raises:
        UserError: the file cannot be read, has another format or repeats a class. The message names file and line.
    """
    seen = set()
    columns: tuple[int, int] | None = None
    for line, cells in read_rows(path, "submission", _is_first_row):
        place = f"{path}, line {line}"
        if columns is None:
            columns = _columns(cells)
            if columns is not None:
                continue
            columns = (0, 1)
        index, segments = _row(cells, columns, place)
        if index in seen:
            raise UserError(f"{place}: class {index} occurs twice.")
        seen.add(index)
        yield index, segments


def segment_name(text: str) -> str | None:
    """The name of a segment, `ID:START`, where START is a whole number of seconds; None if the text is none.

    Example:
        >>> [segment_name(text) for text in ("ab:5", "ab:5.0", "ab:05", "ab:5.5", "ab", ":5", "ab:0;cd:5")]
        ['ab:5', 'ab:5', 'ab:5', None, None, None, None]
    """
    match = _SEGMENT.fullmatch(text)
    return f"{match[1]}:{int(match[2])}" if match and not _OTHER_SEPARATOR.search(text) else None


def _is_first_row(cells: Sequence[str]) -> bool:
    return _columns(cells) is not None or (len(cells) > 1 and whole_number(cells[0]) is not None)


def _columns(header: Sequence[str]) -> tuple[int, int] | None:
    """Where a header has class and segments; None if it is none."""
    names = [name.lower() for name in header]
    found = [next((names.index(name) for name in each if name in names), None) for each in _COLUMNS]
    return None if None in found else (found[0], found[1])


def _row(cells: Sequence[str], columns: tuple[int, int], place: str) -> tuple[int, list[str]]:
    """Class and segments of a row."""
    index = whole_number(cells[columns[0]]) if max(columns) < len(cells) else None
    if index is None:
        raise UserError(f"{place}: {reprlib.repr(','.join(cells))} is not CLASS,ID:START ID:START ...")
    if any(":" in cell for cell in cells[max(columns) + 1 :]):
        raise UserError(f"{place}: segments are in several columns; a line is CLASS,ID:START ID:START ...")
    text = " ".join(cells[columns[1]].split())
    segments = text.split()
    if _PLAIN_LIST.fullmatch(text):
        return index, segments
    names = [segment_name(segment) for segment in segments]
    if None in names:
        wrong = reprlib.repr(segments[names.index(None)])
        raise UserError(
            f"{place}: {wrong} is not a segment, ID:START with START in whole seconds; spaces separate segments."
        )
    return index, names


def _checked_id(video_id: bytes) -> str:
    text = checked_id(video_id)
    if not text or any(mark.isspace() for mark in text):
        raise UserError(f"The video id {text!r} is empty or has a space, which a list of segments cannot hold.")
    return text
