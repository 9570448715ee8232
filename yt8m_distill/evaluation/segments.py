"""Scores a submission of segments, `Class,Segments`, against rated segments: `run_segment_evaluation`."""

import csv
import logging
import pathlib
from collections.abc import Iterable, Mapping

import numpy as np
from tqdm import tqdm

from yt8m_distill.config.inference import SegmentEvalConfig
from yt8m_distill.data.bad_records import report_skipped
from yt8m_distill.data.video import rated_segments
from yt8m_distill.data.video_files import open_videos
from yt8m_distill.errors import UserError
from yt8m_distill.files import atomic
from yt8m_distill.prediction.segments import read_segments
from yt8m_distill.prediction.vocabulary import MOST_DIGITS

log = logging.getLogger(__name__)

# For each class, whether it is in each segment, "ID:START", that was rated for it.
Rated = dict[int, dict[str, bool]]


def run_segment_evaluation(config: SegmentEvalConfig) -> dict[str, float]:
    """Prints, writes and returns the mean average precision of a submission.

    Raises:
        UserError: there are no rated segments, the submission or cache has another format, or a record is bad.
        TooManyBadRecords: at the end, if more of the input than allowed was skipped.
    """
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
        UserError: no class has a positive segment, or the file has another format.

    Source: the starter code's segment_eval_inference.py.
    Differs: the original cannot read the header, never matches the last segment of a line, fails at a class without
        positives, and does not count a class that is missing.
    """
    precisions = {index: 0.0 for index, segments in rated.items() if any(segments.values())}
    if not precisions:
        raise UserError("no rated segment is positive for any class, so the submission cannot be scored.")
    missing, repeated = set(precisions), 0
    for index, segments in read_segments(submission_file):
        missing.discard(index)
        ranked = list(dict.fromkeys(segments))
        repeated += len(segments) - len(ranked)
        if index in precisions:
            precisions[index] = average_precision(ranked[:top_n], rated[index])
    if repeated:
        log.warning("%s: %d segments are repeated in the line of a class; the first counts.", submission_file, repeated)
    mean = float(np.mean(list(precisions.values())))
    return {f"MAP@{top_n}": mean, "classes": len(precisions), "classes_missing": len(missing)}


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
    rated = _rated_in_records(config)
    if cache is not None:
        write_label_cache(cache, rated)
    return rated


def _rated_in_records(config: SegmentEvalConfig) -> Rated:
    rated: Rated = {}
    skip = config.bad_records.skip
    files = open_videos(config.eval_data_pattern, "eval_data_pattern", config.overrides, skip_bad_records=skip)
    total = files.estimated_videos()
    with tqdm(total=total, desc="Reading ratings", unit=" segments", mininterval=1.0) as bar:
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
    try:
        with open(path, encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.reader(file), start=1):
                if not row:
                    continue
                try:
                    name, index, score = row
                    if len(index) > MOST_DIGITS or not 0 <= float(score) <= 1:
                        raise ValueError
                    rated.setdefault(int(index), {})[name] = float(score) > 0
                except ValueError as error:
                    raise UserError(f"{path}, line {number}: it is not ID:START,CLASS,SCORE.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {error}.") from error
    return rated
