"""Rewrites files of float features as bytes, in ranges that they fill: `run_quantization`."""

import logging
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from yt8m_distill.config.dataset import DEFAULT_RANGE, EDITIONS, RANGES_FILE
from yt8m_distill.config.shards import QuantizeConfig
from yt8m_distill.data import sequence_example
from yt8m_distill.data.bad_records import BadRecords, report_skipped
from yt8m_distill.data.feature_ranges import Range, read_ranges, write_ranges
from yt8m_distill.data.reading import records_of_file
from yt8m_distill.data.rewriting import Rewriting, size_of
from yt8m_distill.data.sequence_example import BYTES, FLOATS, Frames, parse_record
from yt8m_distill.data.tfrecord import DamagedRecord
from yt8m_distill.errors import UserError
from yt8m_distill.files.lock import lock_directory
from yt8m_distill.files.patterns import find_files
from yt8m_distill.files.progress_bar import ProgressBar
from yt8m_distill.quantization import RangeFit, quantize

log = logging.getLogger(__name__)

_TYPES = {1: "<u1", 2: "<f2", 4: "<f4", 8: "<f8"}  # by bytes of a value
_PUBLISHED = {name: size for edition in EDITIONS for name, size in edition.features}


def run_quantization(config: QuantizeConfig):
    """Writes a file of uint8 features for each file, under its name, and `features.json`; files that exist are kept.

    Raises:
        UserError: no file matches, records without feature lists, a feature whose size is not known, a file in the
            output directory that is something else, a bad record, no space on the disk.
        TooManyBadRecords: at the end, more of the input than allowed was skipped.
    """
    files, output_dir = find_files(config.pattern, "IN"), pathlib.Path(config.output_dir)
    bad_records = BadRecords(config.bad_records.skip)
    features = _features(files, config)
    rewriting = Rewriting(lambda path, bad: _quantized(path, bad, features, ranges), "Quantizing", "these", RANGES_FILE)
    targets = rewriting.targets(files, output_dir)
    with lock_directory(output_dir):
        ranges = _given_ranges(config, output_dir) or _fitted(files, features, bad_records)
        missing = [name for name in features.sizes if name not in ranges]
        if missing:
            raise UserError(f"there is no range of the feature '{missing[0]}', only of {', '.join(ranges)}.")
        write_ranges(output_dir, {name: ranges[name] for name in features.sizes})
        count = rewriting.write(targets, bad_records)
    print(f"{count} videos written; all {len(targets)} files and {RANGES_FILE} are in {output_dir}.")
    for name in features.sizes:
        print("{}: bytes 0 to 255 stand for {:.6g} to {:.6g}".format(name, *ranges[name]))
    report_skipped([bad_records], config.bad_records.max_bad_fraction)


@dataclass(frozen=True)
class _Features:
    """The features to write, and their number of values a frame where it is known."""

    sizes: Mapping[str, int | None]

    def numbers(self, serialized: memoryview) -> dict[str, np.ndarray]:
        """Values (frames, size) of each feature; uint8 where they are bytes already.

        Raises:
            DamagedRecord: a feature is missing, its frames differ in size, or a value is not finite.
        """
        lists = parse_record(serialized).feature_lists
        if missing := [name for name in self.sizes if name not in lists]:
            raise DamagedRecord(f"it has no feature list '{missing[0]}'")
        return {name: self._numbers(name, lists[name]) for name in self.sizes}

    def _numbers(self, name: str, frames: Frames) -> np.ndarray:
        if not len(frames):
            return np.zeros((0, self.sizes[name] or 1), np.float32)
        if isinstance(frames, np.ndarray):
            values = self._decoded(name, frames)
        else:
            rows = [frame.values for frame in frames if frame.kind == FLOATS]
            if len(rows) < len(frames) or len(set(map(len, rows))) != 1 or not len(rows[0]):
                raise DamagedRecord(f"the frames of '{name}' are not lists of as many floats, nor bytes, each")
            values = np.stack(rows)
        if self.sizes[name] not in (None, values.shape[1]):
            raise DamagedRecord(f"'{name}' has {values.shape[1]} values a frame, not {self.sizes[name]}")
        if values.dtype != np.uint8 and not np.isfinite(values).all():
            raise DamagedRecord(f"'{name}' holds a number that is not finite")
        return values

    def _decoded(self, name: str, frames: np.ndarray) -> np.ndarray:
        size = self.sizes[name]
        if size is None:
            raise UserError(
                f"the frames of '{name}' are {frames.shape[1]} bytes, which may be numbers of 1, 2, 4 or 8 bytes: give "
                "--feature_names and --feature_sizes, the values per frame."
            )
        width, rest = divmod(frames.shape[1], size)
        if rest or width not in _TYPES:
            raise DamagedRecord(f"'{name}' has {frames.shape[1]} bytes a frame, which are not {size} numbers")
        return np.ascontiguousarray(frames).view(_TYPES[width])


def _features(files: Sequence[str], config: QuantizeConfig) -> _Features:
    """The features of the settings, or those of the first good record."""
    names = config.feature_names
    for path in files if names is None else ():
        record = next((record for _, _, record in records_of_file(path, BadRecords(skip=True), parse_record)), None)
        if record is not None:
            names = tuple(name for name, frames in record.feature_lists.items() if _is_feature(frames))
            break
    if not names:
        raise UserError(f"IN: the records have no feature lists of numbers (first file: {files[0]}).")
    sizes = config.feature_sizes or [_PUBLISHED.get(name) for name in names]
    return _Features(dict(zip(names, sizes, strict=True)))


def _is_feature(frames: Frames) -> bool:
    return isinstance(frames, np.ndarray) or {frame.kind for frame in frames} <= {FLOATS, BYTES}


def _given_ranges(config: QuantizeConfig, output_dir: pathlib.Path) -> dict[str, Range] | None:
    """Those of the settings, or those that an earlier start has fitted."""
    path = output_dir / RANGES_FILE
    ranges = read_ranges(config.ranges) if config.ranges else None
    if not path.exists():
        return ranges
    earlier = read_ranges(path)
    if ranges is not None and any(earlier[name] != ranges.get(name) for name in earlier):
        raise UserError(f"OUT_DIR: '{path}' says other ranges than --ranges={config.ranges}; give another directory.")
    log.info("The ranges are those in %s", path)
    return earlier


def _fitted(files: Sequence[str], features: _Features, bad_records: BadRecords) -> dict[str, Range]:
    """A range for each feature by all its values; the default one where it is bytes already."""
    fits = {name: RangeFit() for name in features.sizes}
    as_bytes = set()
    with ProgressBar(sum(map(size_of, files)), "Fitting ranges", "B", unit_scale=True) as bar:
        for path in files:
            for frame, _, numbers in records_of_file(path, bad_records, features.numbers):
                for name, values in numbers.items():
                    if values.dtype == np.uint8:
                        as_bytes.add(name)
                    elif values.size:
                        fits[name].add(values)
                bar.update(frame.num_bytes)
    for name in as_bytes:
        log.warning("'%s' is uint8 already and stays as it is, in [-2, 2].", name)
    try:
        return {name: DEFAULT_RANGE if name in as_bytes else fits[name].range() for name in fits}
    except UserError as error:
        raise UserError(f"a feature of these files has no frames, so that there is nothing to fit: {error}") from error


def _quantized(
    path: str, bad_records: BadRecords, features: _Features, ranges: Mapping[str, Range]
) -> Iterator[tuple[int, bytes]]:
    """How far a file has been read, and a record of bytes, for each of its good records."""
    for frame, serialized, numbers in records_of_file(path, bad_records, features.numbers):
        lists = {name: _as_bytes(values, ranges[name]) for name, values in numbers.items()}
        context = sequence_example.serialized_context(serialized)
        yield frame.offset + frame.num_bytes, sequence_example.serialized_example(context, lists)


def _as_bytes(values: np.ndarray, ends: Range) -> np.ndarray:
    low, high = ends
    return values if values.dtype == np.uint8 else quantize(values, high, low)
