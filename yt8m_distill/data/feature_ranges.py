"""`features.json` beside TFRecord files: the numbers that the bytes of each feature stand for.

    {"features": {"clip": {"min": -0.21, "max": 0.24}}}

Files without one beside them have the range of the published features, [-2, 2]. Where an extraction of films has
written it, it also says the size of each feature, the number of classes, the frames of the longest video and how the
features are made; what users do not say themselves is read there.
"""

import dataclasses
import math
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from yt8m_distill.config.dataset import (
    DEFAULT_RANGE,
    DESCRIPTION_FILES,
    RANGES_FILE,
    VIDEO,
    DatasetSpec,
    SpecOverrides,
)
from yt8m_distill.errors import UserError
from yt8m_distill.files import atomic, untrusted

Range = tuple[float, float]  # lowest and highest number


@dataclass(frozen=True)
class FeatureFile:
    """The content of `features.json`, but how features are made.

    Attributes:
        ranges: by name of the feature.
        sizes: values a frame of each feature, in model input order; empty: not said.
        num_classes: of the vocabulary; None: not said.
        max_frames: of the longest video; None: not said.
        extraction: identity of how the features are made of films; empty: not said.
    """

    ranges: Mapping[str, Range]
    sizes: Mapping[str, int] = field(default_factory=dict)
    num_classes: int | None = None
    max_frames: int | None = None
    extraction: str = ""


def write_ranges(folder: str | os.PathLike, ranges: Mapping[str, Range]):
    """Writes `features.json` into a folder of TFRecord files.

    Args:
        folder: of files that were quantized with these ranges.
        ranges: by name of the feature.
    """
    write_feature_file(folder, FeatureFile(ranges))


def write_feature_file(folder: str | os.PathLike, content: FeatureFile, extraction: Mapping[str, Any] | None = None):
    """Writes `features.json` into a folder of TFRecord files.

    Args:
        folder: of the files.
        content: of the file.
        extraction: how the features are made of films, with the identity.
    """
    features: dict[str, dict[str, Any]] = {}
    for name, (low, high) in content.ranges.items():
        features[name] = {"min": float(low), "max": float(high)}
        if name in content.sizes:
            features[name]["size"] = content.sizes[name]
    values = {
        "features": features,
        "num_classes": content.num_classes,
        "max_frames": content.max_frames,
        "extraction": extraction,
    }
    path = pathlib.Path(folder) / RANGES_FILE
    atomic.write_json(path, {name: value for name, value in values.items() if value is not None})


def read_ranges(path: str | os.PathLike) -> dict[str, Range]:
    """The ranges by feature in a file of `write_ranges`.

    Raises:
        UserError: it cannot be read or has another form. The message names it.
    """
    return dict(_content_of(untrusted.read_text(pathlib.Path(path)), str(path)).ranges)


def read_feature_file(path: str | os.PathLike) -> tuple[FeatureFile, dict[str, Any] | None]:
    """The content of a `features.json`, and how features are made of films, if it says that.

    Raises:
        UserError: as `read_ranges`.
    """
    text = untrusted.read_text(pathlib.Path(path))
    return _content_of(text, str(path)), untrusted.parse_json(text, path).get("extraction")


def with_described(
    overrides: SpecOverrides, files: Sequence[str], read: Callable[[str], str | None] | None = None
) -> SpecOverrides:
    """What users say of a format, and what `features.json` beside the files says where they say nothing.

    Args:
        overrides: what users say.
        files: TFRecord files.
        read: as for `with_ranges`.

    Raises:
        UserError: a `features.json` cannot be read.
    """
    path = os.path.join(os.path.dirname(files[0]), RANGES_FILE)
    text = (read or text_of)(path)
    content = None if text is None or overrides.level == VIDEO else _content_of(text, path)
    if content is None or not content.sizes:
        return overrides
    names = overrides.feature_names or tuple(content.sizes)
    sizes = overrides.feature_sizes
    if sizes is None and set(names) <= set(content.sizes):
        sizes = tuple(content.sizes[name] for name in names)
    return dataclasses.replace(
        overrides,
        feature_names=names,
        feature_sizes=sizes,
        num_classes=overrides.num_classes or content.num_classes,
        max_frames=content.max_frames if overrides.max_frames is None else overrides.max_frames,
        frame_features=None,
        segment_labels=None,
    )


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
        by_folder[folder] = _described(spec, read(path), path)
    ranges, extraction = next(iter(by_folder.values()), (None, ""))
    first = next(iter(by_folder), "")
    for folder, (others, other_extraction) in by_folder.items():
        if others != ranges:
            raise UserError(
                f"the files in '{first or '.'}' and those in '{folder or '.'}' were quantized with different ranges "
                f"({RANGES_FILE}), so that the same bytes stand for other numbers."
            )
        if other_extraction != extraction:
            raise UserError(
                f"the files in '{first or '.'}' and those in '{folder or '.'}' have features that were made in "
                f"different ways ({RANGES_FILE})."
            )
    if spec.float_frames and ranges is None:  # floats are quantized when they are read
        return spec
    if spec.feature_ranges not in (None, ranges):
        raise UserError(f"the {RANGES_FILE} beside '{files[0]}' is not that of the run, with other ranges.")
    return dataclasses.replace(spec, feature_ranges=ranges, extraction=extraction)


def keep_ranges(spec: DatasetSpec, files: Sequence[str], folder: pathlib.Path):
    """Writes `features.json` for new files of a format, where their ranges are not the default ones.

    Args:
        spec: the format.
        files: that the new ones are made from; what is said beside them of films is copied.
        folder: of the new files.

    Raises:
        UserError: the folder has another `features.json`.
    """
    path = folder / RANGES_FILE
    ranges = spec.feature_ranges or (DEFAULT_RANGE,) * len(spec.feature_names)
    text = text_of(str(path))
    if text is not None and _described(spec, text, str(path)) != (spec.feature_ranges, spec.extraction):
        raise UserError(f"OUT_DIR: '{path}' says other ranges than {spec.describe_ranges()}; give another directory.")
    if spec.extraction:
        copy_description(pathlib.Path(files[0]).parent, folder)
    elif text is None and spec.feature_ranges is not None:
        write_ranges(folder, dict(zip(spec.feature_names, ranges, strict=True)))


def copy_description(source: pathlib.Path, target: pathlib.Path):
    """Copies `features.json` and what belongs to it from folder to folder."""
    for name in DESCRIPTION_FILES:
        if (source / name).exists():
            with open(source / name, "rb") as file, atomic.file_written_beside(target / name, binary=True) as copy:
                shutil.copyfileobj(file, copy)


def text_of(path: str) -> str | None:
    """The text of a small file of this machine; None where there is none."""
    return untrusted.read_text(pathlib.Path(path)) if os.path.lexists(path) else None


def _described(spec: DatasetSpec, text: str | None, path: str) -> tuple[tuple[Range, ...] | None, str]:
    """The ranges of a format's features, None where all have the default one; and the identity of the extraction."""
    if text is None:
        return None, ""
    content = _content_of(text, path)
    missing = [name for name in spec.feature_names if name not in content.ranges]
    if missing:
        raise UserError(f"'{path}' has no range of the feature '{missing[0]}'; it has {', '.join(content.ranges)}.")
    chosen = tuple(content.ranges[name] for name in spec.feature_names)
    return None if set(chosen) == {DEFAULT_RANGE} else chosen, content.extraction


def _content_of(text: str, path: str) -> FeatureFile:
    values = untrusted.parse_json(text, path)
    ranges, sizes = {}, {}
    features = values.get("features")
    for name, feature in features.items() if isinstance(features, dict) else ():
        described = feature if isinstance(feature, dict) else {}
        low, high, size = (described.get(key) for key in ("min", "max", "size"))
        if not (_is_number(low) and _is_number(high) and low < high):
            raise UserError(f"'{path}': the range of '{name}' must be two numbers, 'min' below 'max'.")
        ranges[name] = (float(low), float(high))
        if size is not None:
            sizes[name] = _count(size, f"'{path}': the size of '{name}'")
    if not ranges:
        raise UserError(f"'{path}' must hold 'features' with 'min' and 'max' of each.")
    counts = (_optional_count(values, key, path) for key in ("num_classes", "max_frames"))
    return FeatureFile(ranges, sizes, *counts, _identity_in(values, path))


def _identity_in(values: Mapping[str, Any], path: str) -> str:
    extraction = values.get("extraction", {"identity": ""})
    identity = extraction.get("identity") if isinstance(extraction, dict) else None
    if not isinstance(identity, str):
        raise UserError(f"'{path}': 'extraction' must be an object with a text 'identity'.")
    return identity


def _optional_count(values: Mapping[str, Any], key: str, path: str) -> int | None:
    return None if values.get(key) is None else _count(values[key], f"'{path}': '{key}'")


def _count(value: Any, what: str) -> int:
    if type(value) is not int or not 0 < value < 2**31:
        raise UserError(f"{what} must be a whole number of at least 1.")
    return value


def _is_number(value) -> bool:
    return type(value) in (int, float) and abs(value) < math.inf
