"""Checks of model arguments."""

import inspect
import math
import numbers
from collections.abc import Sequence
from typing import Any

from yt8m_distill.errors import UserError
from yt8m_distill.layers import (
    RandomFrames,
)

# Settings may come with a model from elsewhere: these are far above all that makes sense, and keep the work bounded.
MOST_UNITS = 1 << 24
MOST_FEATURES = 64
MOST_SAMPLED_FRAMES = 1 << 16


def checked_count(name: str, value: Any, most: int = MOST_UNITS, least: int = 1) -> int:
    """Returns `value`; raises UserError unless it is an integer from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise UserError(f"{name} must be an integer of at least {least}, not {value!r}.")
    if value > most:
        raise UserError(f"{name} must be at most {most}, not {value}.")
    return int(value)


def checked_rate(name: str, value: Any) -> float:
    """Returns the dropout rate `value`; raises UserError unless it is in [0, 1)."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= value < 1:
        raise UserError(f"{name} must be a number of at least 0 and below 1, not {value!r}.")
    return float(value)


def checked_number(name: str, value: Any, least: float) -> float:
    """Returns `value`; raises UserError unless it is a finite number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not least <= value < math.inf:
        raise UserError(f"{name} must be a number of at least {least:g}, not {value!r}.")
    return float(value)


def checked_flag(name: str, value: Any) -> bool:
    """Returns `value`; raises UserError unless it is True or False."""
    if not isinstance(value, bool):
        raise UserError(f"{name} must be True or False, not {value!r}.")
    return value


def checked_choice(name: str, value: Any, known: tuple[str, ...]) -> str:
    """Returns `value`; raises UserError unless it is one of `known`."""
    if value not in known:
        raise UserError(f"Unknown {name} {value!r}. Allowed: {', '.join(known)}.")
    return value


def frame_sampler(iterations: int, sample_random_frames: bool) -> RandomFrames | None:
    """What draws `iterations` frames of each video to train on, independently or in a run; None for 0: all frames."""
    if iterations:
        return RandomFrames(iterations, contiguous=not sample_random_frames, name="frame_sampler")
    if not sample_random_frames:
        raise UserError("sample_random_frames=False does nothing without iterations, the number of frames to draw.")
    return None


def checked_feature_sizes(feature_sizes: Sequence[int]) -> tuple[int, ...]:
    sizes = tuple(feature_sizes)
    if not 1 <= len(sizes) <= MOST_FEATURES:
        raise UserError(f"feature_sizes must name at least one feature size and at most {MOST_FEATURES}.")
    return tuple(checked_count("each of feature_sizes", size) for size in sizes)


def keyword_defaults(function: Any) -> dict[str, Any]:
    """Keyword-only arguments of a constructor that are hyper-parameters, with their defaults."""
    parameters = inspect.signature(function).parameters.values()
    others = ("classifier_layer", "model_args")
    return {
        each.name: each.default for each in parameters if each.kind == each.KEYWORD_ONLY and each.name not in others
    }
