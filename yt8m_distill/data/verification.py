"""Checks shards whole, every record of every file: `run_verification`."""

import logging
import os
import pathlib
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from yt8m_distill.config.dataset import VIDEO, DatasetSpec, SpecOverrides
from yt8m_distill.config.shards import VerifyConfig
from yt8m_distill.data import format_detection, sequence_example
from yt8m_distill.data.bad_records import BadRecords
from yt8m_distill.data.feature_ranges import with_described, with_ranges
from yt8m_distill.data.float_frames import with_fitted_ranges
from yt8m_distill.data.levels import LEVELS, describe_levels
from yt8m_distill.data.reading import records_of_file, videos_of_file
from yt8m_distill.data.record_files import tell_of_compressed
from yt8m_distill.data.record_format import VERIFICATION
from yt8m_distill.data.video import Video
from yt8m_distill.data.video_files import check_generated_ids
from yt8m_distill.errors import UserError
from yt8m_distill.files import atomic
from yt8m_distill.files.lock import lock_files
from yt8m_distill.files.patterns import find_files
from yt8m_distill.files.progress_bar import ProgressBar
from yt8m_distill.files.text_table import aligned_table

log = logging.getLogger(__name__)

RECORDS_TO_DETECT_BY = 16  # of several files: the first record may be the damaged one
SAMPLED_FRAMES = 32  # of each video, whose bytes are counted
RECORDS_OF_A_FILE = 3  # of them
MOST_WORKERS = 32
PROGRESS_BYTES = 1 << 24  # between two movements of the progress bar
LONGEST_TABLE = 20  # of more files, good ones are one line together
COUNTED = ("videos", "frames", "without_frames", "without_labels", "bad_records", "bad_bytes")


@dataclass(frozen=True)
class FileReport:
    """What a file holds.

    Attributes:
        path: of the file.
        videos: good records.
        frames: of them, as far as they are read.
        without_frames, without_labels: of the videos.
        bad_records: how many records are bad; that the file is empty or cannot be read counts as one.
        bad_bytes: that cannot be used.
        first_problem: number of the first bad record, and what is wrong with it; empty where none is.
        levels: how often each byte occurs in each feature (features, 256), in a sample of the frames.
    """

    path: str
    videos: int
    frames: int
    without_frames: int
    without_labels: int
    bad_records: int
    bad_bytes: int
    first_problem: str
    levels: np.ndarray | None = field(default=None, compare=False, repr=False)


def run_verification(config: VerifyConfig) -> bool:
    """Checks all files, prints a table, and writes a list of the bad ones; returns whether all are good.

    Raises:
        UserError: no file matches, or the records are sound but of an unknown format.
    """
    files = find_files(config.pattern, "PATTERN")
    spec, problem = _common_format(files, with_described(config.overrides, files))
    tell_of_compressed(files)
    if spec is None:
        reason = problem or "no record can be read"
        log.warning("The format of the records is not known, so only their structure is checked: %s", reason)
    else:
        check_generated_ids(spec, files)
        spec = with_fitted_ranges(with_ranges(spec, files), files)
        log.info("Checking %d files; %s", len(files), spec.describe())
    reports = _check_files(files, spec, config.num_workers or min(MOST_WORKERS, 2 * (os.cpu_count() or 1)))
    bad = [report.path for report in reports if report.bad_records]
    if spec is None and not bad:
        raise problem
    print(table(reports))
    if spec is not None and spec.level != VIDEO:
        print(f"\n{describe_levels(sum(report.levels for report in reports), spec)}\n")
    _write_list(pathlib.Path(config.output_file), bad)
    return not bad


def _common_format(files: Sequence[str], overrides: SpecOverrides) -> tuple[DatasetSpec | None, UserError | None]:
    """The format that most of some first records are of; None and the first problem where none shows one."""
    specs, problem = Counter(), None
    for path in files:
        for frame, _, record in islice(records_of_file(path, BadRecords(skip=True), bytes), RECORDS_OF_A_FILE):
            try:
                specs[format_detection.detect_spec(record, f"{path}, record {frame.number}", overrides)] += 1
            except UserError as error:
                problem = problem or error
        if specs.total() >= RECORDS_TO_DETECT_BY:
            break
    return (specs.most_common(1)[0][0] if specs else None), problem


def _check_files(files: Sequence[str], spec: DatasetSpec | None, num_workers: int) -> list[FileReport]:
    """The reports in the order of the files, several of which are checked at once."""
    # Threads: most of the time goes into reading and into numpy, which leave the interpreter to the other threads.
    # Processes measured no faster on two cores, and would have to be ended with care.
    with _Progress(files) as progress, ThreadPoolExecutor(num_workers) as pool:
        checks = [pool.submit(check_file, path, spec, progress.add) for path in files]
        try:
            return [check.result() for check in checks]
        except BaseException:
            progress.stopped = True
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def check_file(path: str, spec: DatasetSpec | None, progress: Callable[[int], None]) -> FileReport:
    """Reads a file to its end, whatever is wrong with some records.

    Args:
        path: of the file.
        spec: the format; None: only framing, checksums and whether the records are SequenceExamples.
        progress: is told about bytes that are done.
    """
    bad_records = BadRecords(skip=True)
    if spec is None:
        records = records_of_file(path, bad_records, _check_structure)
    else:
        records = videos_of_file(path, spec, bad_records, VERIFICATION)
    levels = np.zeros((len(spec.feature_names) if spec else 0, LEVELS), np.int64)
    videos = frames = without_frames = without_labels = done = 0
    for frame, _, video in records:
        videos += 1
        if video is not None:
            frames += video.num_frames
            without_frames += not video.num_frames
            without_labels += not video.labels
            _count_levels(levels, video)
        if frame.offset - done >= PROGRESS_BYTES:
            progress(frame.offset - done)
            done = frame.offset
    progress(bad_records.bytes_by_file().get(path, done) - done)
    bad = bad_records.by_file().get(path, [])
    first_problem = f"record {bad[0].number}: {bad[0].problem}" if bad else ""
    num_bytes = sum(record.num_bytes for record in bad)
    counts = videos, frames, without_frames, without_labels, len(bad), num_bytes
    return FileReport(path, *counts, first_problem, levels)


def _count_levels(levels: np.ndarray, video: Video):
    """Adds how often each byte occurs in some frames of a video."""
    for counts, feature in zip(levels, video.features, strict=True):
        if feature.dtype == np.uint8:  # no video-level record
            sample = feature[:: -(-len(feature) // SAMPLED_FRAMES) or 1]
            counts += np.bincount(sample.ravel(), minlength=LEVELS)


def _check_structure(serialized: memoryview):
    """Raises DamagedRecord where a record is not of the format at all."""
    sequence_example.parse_record(serialized)


class _Progress:
    """A progress bar in bytes that many threads may move, and by which they are stopped."""

    def __init__(self, files: Sequence[str]):
        total = sum(os.path.getsize(path) for path in files if os.path.exists(path))
        self._bar = ProgressBar(total, "Checking", "B", unit_scale=True)
        self._lock = threading.Lock()
        self.stopped = False

    def add(self, num_bytes: int):
        """Bytes are done. After a stop it raises, which ends the thread."""
        if self.stopped:
            raise CancelledError
        with self._lock:
            self._bar.update(num_bytes)

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *error):
        self._bar.close()


def table(reports: Sequence[FileReport]) -> str:
    """The reports as text for the terminal, all bad files among them, and the totals."""
    head = ["file", *(name.replace("_", " ") for name in COUNTED), "first problem"]
    good = [report for report in reports if not report.bad_records]
    shown = reports if len(reports) <= LONGEST_TABLE else [report for report in reports if report.bad_records]
    lines = [head, *([report.path, *_counts([report]), report.first_problem] for report in shown)]
    if len(shown) < len(reports):
        lines.append([f"{len(good)} good files", *_counts(good), ""])
    if len(reports) > 1:
        lines.append([f"all {len(reports)} files", *_counts(reports), ""])
    return aligned_table(lines, f"<{'>' * len(COUNTED)}<")


def _counts(reports: Sequence[FileReport]) -> list[str]:
    return [f"{sum(getattr(report, name) for report in reports):,}" for name in COUNTED]


def _write_list(path: pathlib.Path, bad: Sequence[str]):
    """The bad files, one a line. An older list is replaced also where no file is bad, as it would be wrong."""
    if bad or path.exists():
        with lock_files(path):
            atomic.write_text(path, "".join(f"{file}\n" for file in bad))
    print(f"Bad files: {len(bad)}, listed in {path}" if bad else "No bad files.")
