"""`features.json` beside TFRecord files: the numbers that the bytes of each feature stand for.

    {"features": {"clip": {"min": -0.21, "max": 0.24}}}

Files without one beside them have the range of the published features, [-2, 2].
"""

import dataclasses
import math
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

from yt8m_distill.config.dataset import DEFAULT_RANGE, RANGES_FILE, VIDEO, DatasetSpec
from yt8m_distill.errors import UserError
from yt8m_distill.files import atomic, untrusted

Range = tuple[float, float]  # lowest and highest number


def write_ranges(folder: str | os.PathLike, ranges: Mapping[str, Range]):
    """Writes `features.json` into a folder of TFRecord files.

    Args:
        folder: of files that were quantized with these ranges.
        ranges: by name of the feature.
    """
    features = {name: {"min": float(low), "max": float(high)} for name, (low, high) in ranges.items()}
    atomic.write_json(pathlib.Path(folder) / RANGES_FILE, {"features": features})


def read_ranges(path: str | os.PathLike) -> dict[str, Range]:
    """The ranges by feature in a file of `write_ranges`.

    Raises:
        UserError: it cannot be read or has another form. The message names it.
    """
    return _ranges_in(untrusted.read_text(pathlib.Path(path)), str(path))


def with_ranges(
    spec: DatasetSpec, files: Sequence[str], read: Callable[[str], str | None] | None = None
) -> DatasetSpec:
    """A format with the ranges that `features.json` beside the files says, if there is one.

    Args:
        spec: the format; where it has ranges already, they must be these.
        files: TFRecord files.
        read: gives the text at a path, None where there is none; None: `text_of`.

    Raises:
        UserError: a `features.json` cannot be read or lacks a feature, or folders of files have different ones.
    """
    if spec.level == VIDEO:  # floats
        return spec
    read = read or text_of
    by_folder = {}
    for folder in dict.fromkeys(map(os.path.dirname, files)):
        path = os.path.join(folder, RANGES_FILE)
        by_folder[folder] = _ranges_of(spec, read(path), path)
    ranges = next(iter(by_folder.values()), None)
    for folder, others in by_folder.items():
        if others != ranges:
            first = next(iter(by_folder))
            raise UserError(
                f"the files in '{first or '.'}' and those in '{folder or '.'}' were quantized with different ranges "
                f"({RANGES_FILE}), so that the same bytes stand for other numbers."
            )
    if spec.feature_ranges not in (None, ranges):
        raise UserError(f"the {RANGES_FILE} beside '{files[0]}' is not that of the run, with other ranges.")
    return dataclasses.replace(spec, feature_ranges=ranges)


def keep_ranges(spec: DatasetSpec, folder: pathlib.Path):
    """Writes `features.json` for files of a format, where their ranges are not the default ones.

    Raises:
        UserError: the folder has another `features.json`.
    """
    path = folder / RANGES_FILE
    ranges = spec.feature_ranges or (DEFAULT_RANGE,) * len(spec.feature_names)
    text = text_of(str(path))
    if text is not None and _ranges_of(spec, text, str(path)) != spec.feature_ranges:
        raise UserError(f"OUT_DIR: '{path}' says other ranges than {spec.describe_ranges()}; give another directory.")
    if text is None and spec.feature_ranges is not None:
        write_ranges(folder, dict(zip(spec.feature_names, ranges, strict=True)))


def text_of(path: str) -> str | None:
    """The text of a small file of this machine; None where there is none."""
    return untrusted.read_text(pathlib.Path(path)) if os.path.lexists(path) else None


def _ranges_of(spec: DatasetSpec, text: str | None, path: str) -> tuple[Range, ...] | None:
    """The ranges of a format's features; None where all have the default one."""
    if text is None:
        return None
    ranges = _ranges_in(text, path)
    missing = [name for name in spec.feature_names if name not in ranges]
    if missing:
        raise UserError(f"'{path}' has no range of the feature '{missing[0]}'; it has {', '.join(ranges)}.")
    chosen = tuple(ranges[name] for name in spec.feature_names)
    return None if set(chosen) == {DEFAULT_RANGE} else chosen


def _ranges_in(text: str, path: str) -> dict[str, Range]:
    ranges = {}
    features = untrusted.parse_json(text, path).get("features")
    for name, ends in features.items() if isinstance(features, dict) else ():
        low, high = (ends.get("min"), ends.get("max")) if isinstance(ends, dict) else (None, None)
        if not (_is_number(low) and _is_number(high) and low < high):
            raise UserError(f"'{path}': the range of '{name}' must be two numbers, 'min' below 'max'.")
        ranges[name] = (float(low), float(high))
    if not ranges:
        raise UserError(f"'{path}' must hold 'features' with 'min' and 'max' of each.")
    return ranges


def _is_number(value) -> bool:
    return type(value) in (int, float) and abs(value) < math.inf
