"""Scores a submission of segments, `Class,Segments`, against rated segments: `run_segment_evaluation`."""

import logging
import pathlib
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from yt8m_distill.config.inference import SegmentEvalConfig
from yt8m_distill.data.bad_records import report_skipped
from yt8m_distill.data.video import rated_segments
from yt8m_distill.data.video_files import open_videos
from yt8m_distill.errors import UserError
from yt8m_distill.files import atomic
from yt8m_distill.files.delimited import read_rows, whole_number
from yt8m_distill.files.lock import lock_files
from yt8m_distill.files.progress_bar import ProgressBar
from yt8m_distill.prediction.segments import read_segments, segment_name

log = logging.getLogger(__name__)

# For each class, whether it is in each segment, "ID:START", that was rated for it.
Rated = dict[int, dict[str, bool]]


def run_segment_evaluation(config: SegmentEvalConfig) -> dict[str, float]:
    """Prints, writes and returns the mean average precision of a submission.

    Raises:
        UserError: there are no rated segments, the submission or cache has another format, or a record is bad.
        TooManyBadRecords: at the end, if more of the input than allowed was skipped.
    """
    with lock_files(config.output_file):
        result = evaluate_segments(_rated(config), config.submission_file, config.top_n)
        for name, value in result.items():
            print(f"{name:24} {value:.6g}")
        if config.output_file:
            atomic.write_json(pathlib.Path(config.output_file), {"submission_file": config.submission_file, **result})
    return result


def evaluate_segments(rated: Rated, submission_file: str, top_n: int) -> dict[str, float]:
    """The metrics of a submission.

    Args:
        rated: the labels.
        submission_file: `Class,Segments`.
        top_n: best segments of a class that count.

    Returns:
        `MAP@<top_n>`, the mean average precision over all classes with positive segments, 0 for classes that are not in
        the submission; "classes", the number of these classes; "classes_missing", those not in the submission.

    Raises:
        UserError: no class has a positive segment, the file has another format, or nothing in it can be scored: none of
            its classes has a positive segment, or none of its segments was rated for its class.

    Source: the starter code's segment_eval_inference.py.
    Differs: the original cannot read the header, never matches the last segment of a line, fails at a class without
        positives, and does not count a class that is missing.
    """
    precisions = {index: 0.0 for index, segments in rated.items() if any(segments.values())}
    if not precisions:
        raise UserError("no rated segment is positive for any class, so the submission cannot be scored.")
    counts = _Counts()
    for index, segments in read_segments(submission_file):
        ranked = list(dict.fromkeys(segments))
        counts.add(index, segments, ranked, precisions, rated)
        if index in precisions:
            precisions[index] = average_precision(ranked[:top_n], rated[index])
    counts.check(submission_file, precisions, rated)
    mean = float(np.mean(list(precisions.values())))
    missing = len(precisions) - counts.scored
    return {f"MAP@{top_n}": mean, "classes": len(precisions), "classes_missing": missing}


@dataclass
class _Counts:
    """How much of a submission can be scored."""

    classes: int = 0
    scored: int = 0
    unmatched: int = 0
    segments: int = 0
    repeated: int = 0
    example: str = ""

    def add(self, index: int, segments: list[str], ranked: list[str], precisions: Mapping[int, float], rated: Rated):
        self.classes += 1
        self.segments += len(segments)
        self.repeated += len(segments) - len(ranked)
        self.example = self.example or (segments[0] if segments else "")
        if index in precisions:
            self.scored += 1
            self.unmatched += rated[index].keys().isdisjoint(ranked)

    def check(self, file: str, precisions: Mapping[int, float], rated: Rated):
        """Raises UserError where nothing can be scored; warns where some cannot."""
        if not self.segments:
            raise UserError(f"{file} has no segments to score: a line is CLASS,ID:START ID:START ...")
        if not self.scored:
            raise UserError(
                f"none of the {self.classes:,} classes in {file} has a segment that is rated positive; such have the "
                f"classes {reprlib.repr(sorted(precisions))[1:-1]}. Are the ratings of other data?"
            )
        if self.unmatched == self.scored:
            index = next(iter(precisions))
            raise UserError(
                f"none of the segments in {file}, such as '{self.example}', was rated for its class; rated is, for "
                f"class {index}, '{next(iter(rated[index]))}'. Are the ratings of other videos?"
            )
        if self.unmatched:
            log.warning("%s: of %d classes no segment was rated; they count as 0.", file, self.unmatched)
        if self.repeated:
            text = "%s: %d segments are repeated in the line of a class; the first counts."
            log.warning(text, file, self.repeated)


def average_precision(ranked: Iterable[str], rated: Mapping[str, bool]) -> float:
    """Average precision of one class: the mean, over all positive segments, of the precision at each of them.

    Args:
        ranked: segments, best first; those that were not rated are ignored.
        rated: whether each is positive, at least one; positive segments that are not in `ranked` have a precision of 0.

    Example:
        >>> average_precision(["a:0", "unrated:5", "b:0", "c:0"], {"a:0": True, "b:0": False, "c:0": True})
        0.8333333333333333
    """
    hits = np.array([rated[segment] for segment in ranked if segment in rated], bool)
    ranks = np.flatnonzero(hits) + 1
    return float(np.sum(np.arange(1, len(ranks) + 1) / ranks)) / sum(rated.values())


def _rated(config: SegmentEvalConfig) -> Rated:
    """Rated segments from the cache, or from the records, which are then cached."""
    cache = pathlib.Path(config.label_cache) if config.label_cache else None
    if cache is not None and cache.exists():
        log.info("Reading rated segments from --label_cache=%s", cache)
        return read_label_cache(cache)
    if config.eval_data_pattern is None:
        raise UserError("--eval_data_pattern is needed: records with rated segments.")
    with lock_files(cache):
        rated = _rated_in_records(config)
        if cache is not None:
            write_label_cache(cache, rated)
    return rated


def _rated_in_records(config: SegmentEvalConfig) -> Rated:
    rated: Rated = {}
    skip = config.bad_records.skip
    files = open_videos(config.eval_data_pattern, "eval_data_pattern", config.overrides, skip_bad_records=skip)
    with ProgressBar(files.estimated_videos(), "Reading ratings", " segments", is_estimate=True) as bar:
        for video in files.videos():
            segments = rated_segments(video)
            bar.update(len(segments))
            for segment in segments:
                name = segment.key.decode(errors="replace")
                for index, score in segment.scores.items():
                    rated.setdefault(index, {})[name] = score > 0
    report_skipped([files.bad_records], config.bad_records.max_bad_fraction)
    return rated


def write_label_cache(path: pathlib.Path, rated: Rated):
    """Writes lines `ID:START,CLASS,SCORE`, as the starter code does."""
    with atomic.file_written_beside(path) as file:
        for index, segments in rated.items():
            file.writelines(f"{name},{index},{float(positive)}\n" for name, positive in segments.items())


def read_label_cache(path: pathlib.Path) -> Rated:
    """Reads a file of `write_label_cache`.

    Raises:
        UserError: it cannot be read or has another format. The message names file and line.
    """
    rated: Rated = {}
    for line, cells in read_rows(path, "label cache", lambda cells: len(cells) == len(("segment", "class", "score"))):
        try:
            text, class_text, score_text = cells
            name, index, score = segment_name(text), whole_number(class_text), float(score_text)
            if name is None or index is None or not 0 <= score <= 1:
                raise ValueError
        except ValueError as error:
            raise UserError(f"{path}, line {line}: it is not ID:START,CLASS,SCORE.") from error
        rated.setdefault(index, {})[name] = score > 0
    return rated
