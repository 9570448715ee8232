"""Frames as lists of floats, as MediaPipe writes them: read as bytes, in ranges that the first videos fill."""

import dataclasses
import itertools
import logging
import os
from collections.abc import Iterator, Sequence

import numpy as np

from yt8m_distill.config.dataset import RANGES_FILE, DatasetSpec
from yt8m_distill.data.record_files import open_records
from yt8m_distill.data.record_format import is_floats
from yt8m_distill.data.sequence_example import Feature, parse_record
from yt8m_distill.data.tfrecord import DamagedRecord, read_record
from yt8m_distill.errors import UserError
from yt8m_distill.quantization import RangeFit, quantize

log = logging.getLogger(__name__)

_MOST_VIDEOS = 256  # that ranges are fitted to
_MOST_FILES = 16


def as_bytes(frames: Sequence[Feature], low: float, high: float) -> np.ndarray:
    """Frames of floats as uint8 (frames, size), in a range."""
    return quantize(np.stack([frame.values for frame in frames]), high, low)


def with_fitted_ranges(spec: DatasetSpec, files: Sequence[str]) -> DatasetSpec:
    """A format whose float frames have ranges: those that the first videos fill, unless it says some.

    Args:
        spec: the format.
        files: TFRecord files; where there is a `features.json` beside the first one, nothing is fitted.

    Raises:
        UserError: the first videos have no frames.
    """
    beside = os.path.join(os.path.dirname(files[0]), RANGES_FILE)
    if not spec.float_frames or spec.feature_ranges is not None or os.path.lexists(beside):
        return spec
    fits = {name: RangeFit() for name in spec.feature_names}
    for name, values in _first_frames(spec, files):
        fits[name].add(values)
    try:
        ranges = tuple(tuple(fit.range()) for fit in fits.values())
    except UserError as error:
        raise UserError(f"{files[0]}: the first videos have no frames of floats: {error}") from error
    spec = dataclasses.replace(spec, feature_ranges=ranges)
    log.info(
        "The frames are floats; they are read as bytes in the ranges that the first videos fill, %s. python -m "
        "yt8m_distill.quantize writes them as bytes, which are read much quicker.",
        spec.describe_ranges(),
    )
    return spec


def _first_frames(spec: DatasetSpec, files: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Frames of each feature of some videos of some of the files."""
    some = files[:: -(-len(files) // _MOST_FILES)]
    for path in some:
        for record in itertools.islice(_good_records(path), -(-_MOST_VIDEOS // len(some))):
            for name, size in zip(spec.feature_names, spec.feature_sizes, strict=True):
                frames = record.feature_lists.get(name, ())
                rows = [frame.values for frame in frames if len(frame.values) == size] if is_floats(frames) else []
                if rows and np.isfinite(rows).all():
                    yield name, np.stack(rows)


def _good_records(path: str) -> Iterator:
    with open_records(path) as records:
        for frame in records.frames():
            try:
                if not frame.problem:
                    buffer = np.empty(frame.num_bytes, np.uint8)
                    yield parse_record(bytes(read_record(records.descriptor, frame.offset, buffer)))
            except DamagedRecord:
                continue
