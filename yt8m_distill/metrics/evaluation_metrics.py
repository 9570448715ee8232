"""Streaming evaluation metrics of YouTube-8M: GAP@k, mAP, Hit@1 and PERR, exact over the whole set.

Of every video only its `top_k` best (score, class, hit) triples are kept, 7 bytes each: 154 MB for 1.1 million videos
and `top_k` 20. The starter code's GAP and mAP are functions of these alone, so nothing is approximated.
"""

import dataclasses
import operator
import os
import pathlib

import numpy as np

from yt8m_distill.errors import UserError
from yt8m_distill.ranking import top_classes

_BLOCK_VALUES = 1 << 20  # Scores ranked at once: bounds the temporaries, whatever the batch size.
_CHUNK_BYTES = 1 << 22
_RANKING_BYTES_PER_EXAMPLE = 32  # Temporaries of ranking one class: score, sort order, workspace, label.


@dataclasses.dataclass(frozen=True)
class ClassMetrics:
    """The metrics of one class.

    Attributes:
        class_index: the class.
        positives: videos with this label.
        average_precision: the term of this class in `mAP`, in [0, 1]; None where the class has no positives.
        average_precision_full: its term in `mAP_full`; None without `full_map` and where it has no positives.
    """

    class_index: int
    positives: int
    average_precision: float | None
    average_precision_full: float | None


class EvaluationMetrics:
    """GAP@k, mAP, Hit@1, PERR and loss of a whole evaluation set, fed batch by batch.

    - GAP@k: average precision over the pooled `top_k` predictions of all videos; the number of positives is that of
      all labels, also those outside a video's top k.
    - mAP: the mean over the classes with at least one label of the average precision over those predictions of the
      class that were in their video's top k; the positives are again all labels of the class.
    - Hit@1: the share of videos whose best class is a label.
    - PERR: for a video with n labels, the share of labels among its n best classes, where a score <= 0 is a miss;
      mean over all videos, a video without labels counting 0.
    - mAP_full (only with `full_map`): textbook mAP, over all scores of every class with labels.

    A set without any label gives 0 for all of them; `labelled_examples` counts. An empty set is an error.

    Ties: equal scores of different videos keep the order of arrival; within a video the lower class comes first.
    Scores are compared as float32, sums are float64.

    Args:
        num_classes: number of classes.
        top_k: predictions kept of every video; all classes where there are fewer.
        full_map: also compute `mAP_full`, which keeps every prediction in memory.
        max_full_map_bytes: memory `full_map` may take. Default: half of the memory available now.
        expected_examples: number of videos to come, if known: `full_map` then refuses at once and not on the way.

    Raises:
        UserError: if `num_classes` or `top_k` is below 1, or `full_map` needs more memory than allowed for the
            `expected_examples`.

    Source: the YouTube-8M starter code (eval_util.py, average_precision_calculator.py).
    Differs: the starter code shuffles equal scores with a fixed seed and lets argpartition choose among equal scores
    at the border of the top k; it gives a NaN mAP without any label.

    Example:
        >>> metrics = EvaluationMetrics(num_classes=3, top_k=2)
        >>> metrics.update([[0.9, 0.8, 0.1], [0.7, 0.2, 0.6]], [[1, 0, 0], [0, 0, 1]])
        >>> {name: round(value, 3) for name, value in metrics.result().items()}
        {'GAP@2': 0.75, 'mAP': 1.0, 'Hit@1': 0.5, 'PERR': 0.5, 'examples': 2}
    """

    def __init__(
        self,
        num_classes: int,
        top_k: int = 20,
        full_map: bool = False,
        max_full_map_bytes: int | None = None,
        expected_examples: int | None = None,
    ):
        self.num_classes = _positive_integer("num_classes", num_classes)
        self.top_k = _positive_integer("top_k", top_k)
        self._kept = min(self.top_k, self.num_classes)
        self._examples = 0
        self.labelled_examples = 0
        self._hits_at_one = 0
        self._perr_sum = 0.0
        self._loss_sum: float | None = None
        self._positives = np.zeros(self.num_classes, np.int64)
        self._scores = _RowStore(self._kept, np.float32)
        self._classes = _RowStore(self._kept, np.uint16 if self.num_classes <= 1 << 16 else np.uint32)
        self._hits = _RowStore(self._kept, np.bool_)
        self._ranking: _Ranking | None = None
        self._full: _FullScores | None = None
        if full_map:
            self._full = _FullScores(self.num_classes, max_full_map_bytes)
            self._full.check_memory(expected_examples or 0)

    def update(self, predictions, labels, loss: float | None = None) -> None:
        """Adds one batch. A batch that is refused leaves the metrics as they were.

        Args:
            predictions: array (batch, classes), float scores in [0, 1].
            labels: array (batch, classes) of {0, 1}, any dtype.
            loss: mean loss of the batch; the result weights it by the batch size. Give it always or never.

        Raises:
            UserError: if a shape is not (batch, num_classes), a prediction or the loss is NaN, a label is neither 0
                nor 1, the loss is given for some batches only, or `full_map` would need more memory than allowed.
        """
        scores = self._checked_scores(predictions)
        positives, positive_cells = _checked_labels(labels, scores.shape)
        if not len(scores):
            return
        loss_sum = self._checked_loss_sum(loss, len(scores))
        if self._full is not None:
            self._full.check_memory(self._examples + len(scores))
        self._ranking, self._loss_sum = None, loss_sum
        self._positives += np.bincount(positive_cells % self.num_classes, minlength=self.num_classes)
        label_counts = np.bincount(positive_cells // self.num_classes, minlength=len(scores))
        self.labelled_examples += int(np.count_nonzero(label_counts))
        rows = max(1, _BLOCK_VALUES // self.num_classes)
        for start in range(0, len(scores), rows):
            block = slice(start, start + rows)
            self._add(scores[block], positives[block], label_counts[block])

    def result(self) -> dict[str, float | int]:
        """The metrics of everything seen so far; more batches may follow.

        Returns:
            A dict with `GAP@<top_k>`, `mAP`, `Hit@1`, `PERR` (floats in [0, 1]), `loss` (only where it was given),
            `examples` (int) and `mAP_full` (only with `full_map`).

        Raises:
            UserError: if no example was seen.
        """
        ranking = self._ranked()
        has_labels = self._positives > 0
        metrics = {
            f"GAP@{self.top_k}": ranking.gap,
            "mAP": _mean(ranking.average_precisions[has_labels]),
            "Hit@1": self._hits_at_one / self._examples,
            "PERR": self._perr_sum / self._examples,
        }
        if self._loss_sum is not None:
            metrics["loss"] = self._loss_sum / self._examples
        metrics["examples"] = self._examples
        if ranking.full_average_precisions is not None:
            metrics["mAP_full"] = _mean(ranking.full_average_precisions[has_labels])
        return metrics

    def per_class(self) -> list[ClassMetrics]:
        """One row for every class, in class order.

        Raises:
            UserError: if no example was seen.
        """
        ranking = self._ranked()
        full = ranking.full_average_precisions
        return [
            ClassMetrics(
                class_index=index,
                positives=int(positives),
                average_precision=float(ranking.average_precisions[index]) if positives else None,
                average_precision_full=float(full[index]) if full is not None and positives else None,
            )
            for index, positives in enumerate(self._positives)
        ]

    def _checked_scores(self, predictions) -> np.ndarray:
        scores = np.ascontiguousarray(predictions, dtype=np.float32)
        if scores.ndim != 2 or scores.shape[1] != self.num_classes:
            raise UserError(f"predictions have the shape {scores.shape}: (batch, {self.num_classes}) is needed.")
        # The maximum of a row with a NaN is NaN: one cheap pass.
        damaged = np.flatnonzero(np.isnan(scores.max(axis=1)))
        if damaged.size:
            raise UserError(
                f"the predictions of {damaged.size} of the {len(scores)} videos of a batch hold NaN, the first is "
                f"video {self._examples + damaged[0]} of the evaluation (counted from 0): metrics need finite "
                f"numbers. Has the training diverged?"
            )
        return scores

    def _checked_loss_sum(self, loss: float | None, batch: int) -> float | None:
        if self._examples and (loss is None) != (self._loss_sum is None):
            raise UserError("the loss was given for some batches only: give it for every batch or for none.")
        if loss is None:
            return None
        mean_loss = float(np.mean(np.asarray(loss, np.float64)))
        if np.isnan(mean_loss):
            raise UserError(f"the loss of the batch that starts at video {self._examples} is NaN: a number is needed.")
        return (self._loss_sum or 0.0) + mean_loss * batch

    def _add(self, scores: np.ndarray, positives: np.ndarray, label_counts: np.ndarray) -> None:
        classes, values = top_classes(scores, self._kept)
        hits = np.take_along_axis(positives, classes, axis=1)
        self._scores.append(values)
        self._classes.append(classes)
        self._hits.append(hits)
        if self._full is not None:
            self._full.append(scores, positives)
        self._examples += len(scores)
        self._hits_at_one += int(np.count_nonzero(hits[:, 0]))
        within = label_counts <= self._kept
        self._perr_sum += _precision_sum(values[within], hits[within], label_counts[within])
        if not within.all():
            self._perr_sum += _precision_sum_beyond(scores[~within], positives[~within], label_counts[~within])

    def _ranked(self) -> "_Ranking":
        """Ranks everything seen, once until the next update."""
        if not self._examples:
            raise UserError("no examples were evaluated: metrics need at least one video.")
        if self._ranking is None:
            classes, hits = _rank_by_score(self._scores, self._classes, self._hits)
            total = int(self._positives.sum())
            self._ranking = _Ranking(
                gap=_precision_at_hits(hits) / total if total else 0.0,
                average_precisions=_average_precision_by_class(classes, hits, self._positives),
                full_average_precisions=None if self._full is None else self._full.average_precisions(self._positives),
            )
        return self._ranking


def _checked_labels(labels, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The labels as bool (batch, classes) and the flat indices of the positive ones."""
    labels = np.asarray(labels)
    if labels.shape != shape:
        raise UserError(f"labels have the shape {labels.shape}, the predictions {shape}: they must be equal.")
    positives = labels if labels.dtype == np.bool_ else labels != 0
    cells = np.flatnonzero(positives)
    values = labels.ravel()[cells]
    wrong = np.flatnonzero(values != 1)
    if wrong.size:
        raise UserError(f"labels hold {values[wrong[0]]}: only 0 and 1 are allowed.")
    return positives, cells


def _precision_sum(values: np.ndarray, hits: np.ndarray, counts: np.ndarray) -> float:
    """Sums over the rows the share of hits among the first `counts` entries, a score <= 0 being none."""
    labelled = counts > 0
    counts = counts[labelled]
    hit_counts = np.cumsum(hits[labelled] & (values[labelled] > 0), axis=1)
    return float(np.sum(hit_counts[np.arange(len(counts)), counts - 1] / counts))


def _precision_sum_beyond(scores: np.ndarray, positives: np.ndarray, counts: np.ndarray) -> float:
    """The same for videos with more labels than the top k holds."""
    classes, values = top_classes(scores, int(counts.max()))
    return _precision_sum(values, np.take_along_axis(positives, classes, axis=1), counts)


@dataclasses.dataclass(frozen=True)
class _Ranking:
    gap: float
    average_precisions: np.ndarray  # (classes,) float64, 0 for a class without positives
    full_average_precisions: np.ndarray | None


def _rank_by_score(scores: "_RowStore", classes: "_RowStore", hits: "_RowStore") -> tuple[np.ndarray, np.ndarray]:
    """Classes and hits of all kept entries, best score first, equal scores in order of arrival."""
    keys = scores.concatenated()
    np.negative(keys, out=keys)
    order = np.argsort(keys, kind="stable")
    del keys  # For millions of videos every array counts.
    return classes.concatenated()[order], hits.concatenated()[order]


def _precision_at_hits(hits: np.ndarray) -> float:
    """Sums (hits so far) / rank over the hits of a ranked list."""
    ranks = np.flatnonzero(hits) + 1
    return float(np.sum(np.arange(1, ranks.size + 1) / ranks))


def _average_precision_by_class(classes: np.ndarray, hits: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """Average precision of every class from the entries ranked by score; 0 for a class without positives."""
    num_classes = len(positives)
    starts = _starts(np.bincount(classes, minlength=num_classes))
    order = np.argsort(classes, kind="stable")  # A radix sort for uint16.
    places = np.flatnonzero(hits[order])
    hit_classes = classes[order[places]]
    del order
    ranks = places - starts[hit_classes] + 1
    hit_ranks = np.arange(places.size) - _starts(np.bincount(hit_classes, minlength=num_classes))[hit_classes] + 1
    sums = np.bincount(hit_classes, weights=hit_ranks / ranks, minlength=num_classes)
    return sums / np.maximum(positives, 1)


def _starts(counts: np.ndarray) -> np.ndarray:
    """Where each group begins when groups of these sizes lie one behind the other."""
    return np.cumsum(counts) - counts


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else 0.0


class _RowStore:
    """Rows of one width and dtype, appended into chunks, so that growing never copies what is there."""

    def __init__(self, width: int, dtype):
        self._width = width
        self._dtype = np.dtype(dtype)
        self._chunk_rows = max(1, _CHUNK_BYTES // (width * self._dtype.itemsize))
        self._chunks: list[np.ndarray] = []
        self._filled = self._chunk_rows

    def append(self, rows: np.ndarray) -> None:
        while len(rows):
            if self._filled == self._chunk_rows:
                self._chunks.append(np.empty((self._chunk_rows, self._width), self._dtype))
                self._filled = 0
            count = min(len(rows), self._chunk_rows - self._filled)
            self._chunks[-1][self._filled : self._filled + count] = rows[:count]
            self._filled += count
            rows = rows[count:]

    def chunks(self) -> list[np.ndarray]:
        return [*self._chunks[:-1], self._chunks[-1][: self._filled]]

    def concatenated(self) -> np.ndarray:
        """All values in order of arrival, flat; a copy."""
        return np.concatenate([chunk.ravel() for chunk in self.chunks()])


class _FullScores:
    """Every prediction and label, for the average precision without truncation."""

    def __init__(self, num_classes: int, max_bytes: int | None):
        self._limit = "allowed" if max_bytes is not None else "allowed (half of the memory available)"
        self._max_bytes = _available_memory_bytes() // 2 if max_bytes is None else max_bytes
        self._num_classes = num_classes
        self._scores = _RowStore(num_classes, np.float32)
        self._labels = _RowStore(-(-num_classes // 8), np.uint8)  # One bit each.

    def check_memory(self, examples: int) -> None:
        """Raises UserError if this many examples need more memory than allowed."""
        per_example = 4 * self._num_classes + -(-self._num_classes // 8) + _RANKING_BYTES_PER_EXAMPLE
        if examples * per_example > self._max_bytes:
            raise UserError(
                f"mAP_full (full_map) keeps every prediction: {examples} videos of {self._num_classes} classes need "
                f"{_readable_bytes(examples * per_example)} of memory, {_readable_bytes(self._max_bytes)} are "
                f"{self._limit}. Evaluate fewer videos or without full_map."
            )

    def append(self, scores: np.ndarray, positives: np.ndarray) -> None:
        self._scores.append(scores)
        self._labels.append(np.packbits(positives, axis=1))

    def average_precisions(self, positives: np.ndarray) -> np.ndarray:
        """(classes,) float64, 0 for a class without positives."""
        result = np.zeros(self._num_classes)
        for index in np.flatnonzero(positives):
            column = np.concatenate([chunk[:, index] for chunk in self._scores.chunks()])
            order = np.argsort(-column, kind="stable")
            packed = np.concatenate([chunk[:, index // 8] for chunk in self._labels.chunks()])
            hits = packed[order] & (128 >> index % 8)
            result[index] = _precision_at_hits(hits) / positives[index]
        return result


def _available_memory_bytes() -> int:
    """Memory that can be had without swapping; 8 GiB where the system does not tell."""
    limits = []
    try:
        lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
        limits += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
        group = pathlib.Path("/sys/fs/cgroup")
        files = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        # The page cache of files counts as used, but makes room when memory is needed.
        used = int((group / "memory.current").read_text()) - int(files.get("inactive_file", 0))
        limits.append(int((group / "memory.max").read_text()) - used)
    except (OSError, ValueError):
        pass  # No Linux, or no control group with a limit ("max").
    if not limits and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return max(0, min(limits, default=8 << 30))


def _readable_bytes(count: int) -> str:
    """For example 16.4 GiB."""
    value, units = float(count), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{value:.0f} bytes" if units[0] == "bytes" else f"{value:.1f} {units[0]}"


def _positive_integer(name: str, value: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise UserError(f"{name} is {value!r}: a whole number of at least 1 is needed.")
    return number
