"""Checks of model arguments, used by constructors."""

import math
import numbers
from collections.abc import Sequence
from typing import Any

from yt8m_distill.errors import UserError
from yt8m_distill.layers import RandomFrames


def checked_count(name: str, value: Any, least: int = 1) -> int:
    """Returns `value`; raises UserError unless it is an integer of at least `least`."""
    if not _is_number(value, numbers.Integral) or value < least:
        raise UserError(f"{name} must be an integer of at least {least}, not {value!r}.")
    return int(value)


def checked_rate(name: str, value: Any) -> float:
    """Returns the dropout rate `value`; raises UserError unless it is in [0, 1)."""
    if not _is_number(value, numbers.Real) or not 0 <= value < 1:
        raise UserError(f"{name} must be a number of at least 0 and below 1, not {value!r}.")
    return float(value)


def checked_number(name: str, value: Any, least: float) -> float:
    """Returns `value`; raises UserError unless it is a finite number of at least `least`."""
    if not _is_number(value, numbers.Real) or not least <= value < math.inf:
        raise UserError(f"{name} must be a number of at least {least:g}, not {value!r}.")
    return float(value)


def _is_number(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def checked_flag(name: str, value: Any) -> bool:
    """Returns `value`; raises UserError unless it is True or False."""
    if not isinstance(value, bool):
        raise UserError(f"{name} must be True or False, not {value!r}.")
    return value


def checked_choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """Returns `value`; raises UserError unless it is one of `choices`."""
    if value not in choices:
        raise UserError(f"Unknown {name} {value!r}. Allowed: {', '.join(choices)}.")
    return value


def frame_sampler(iterations: int, sample_random_frames: bool) -> RandomFrames | None:
    """A layer that draws `iterations` frames of each video to train on, independently or in a run; 0: None, all."""
    if iterations:
        return RandomFrames(iterations, contiguous=not sample_random_frames, name="frame_sampler")
    if not sample_random_frames:
        raise UserError("sample_random_frames=False does nothing without iterations, the number of frames to draw.")
    return None


def checked_feature_sizes(feature_sizes: Sequence[int]) -> tuple[int, ...]:
    """Returns the sizes as a tuple; raises UserError unless there is at least one, and each is at least 1."""
    sizes = tuple(feature_sizes)
    if not sizes:
        raise UserError("feature_sizes must name at least one feature size.")
    return tuple(checked_count("each of feature_sizes", size) for size in sizes)


def checked_ranges(
    feature_ranges: Sequence[Sequence[float]] | None, feature_sizes: Sequence[int]
) -> tuple[tuple[float, float], ...] | None:
    """Returns the ranges as tuples; raises UserError unless there are two finite numbers, the lower first, for each."""
    if feature_ranges is None:
        return None
    ranges = tuple((float(low), float(high)) for low, high in feature_ranges)
    if len(ranges) != len(feature_sizes) or not all(-math.inf < low < high < math.inf for low, high in ranges):
        raise UserError(
            f"feature_ranges must be a lowest and a highest number for each of {len(feature_sizes)} features, not "
            f"{ranges}."
        )
    return ranges
