"""The knee of accuracy by cost: the number of frames from which on more frames hardly pay."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

SMALLEST_GAIN = 0.01  # of GAP@20, by a doubling of the cost


@dataclass(frozen=True)
class Point:
    """A model with one number of frames.

    Attributes:
        k: frames.
        cost: above 0; multiply-accumulates for a video, or its frames where those are unknown.
        gap: GAP@20.
    """

    k: int
    cost: float
    gap: float


def gain_per_doubling(first: Point, second: Point) -> float:
    """GAP@20 that a doubling of the cost gains between two points: the slope over the logarithm of the cost.

    Example:
        >>> gain_per_doubling(Point(1, 100, 0.25), Point(4, 400, 0.5))
        0.125
    """
    doublings = math.log2(second.cost / first.cost)
    return (second.gap - first.gap) / doublings if doublings > 0 else math.inf


def knee_of(points: Sequence[Point], smallest_gain: float = SMALLEST_GAIN) -> int:
    """The smallest k after which a doubling of the cost gains less than `smallest_gain` at every further k.

    Args:
        points: in any order; at least one.
        smallest_gain: of GAP@20, by a doubling of the cost.

    Returns:
        The k; the largest where even the last step gains as much.

    Example:
        >>> knee_of([Point(1, 100, 0.29), Point(2, 200, 0.35), Point(4, 400, 0.38), Point(8, 800, 0.385)])
        4
    """
    ordered = sorted(points, key=lambda point: point.k)
    chosen = ordered[-1]
    for first, second in zip(ordered[-2::-1], ordered[:0:-1], strict=True):
        if gain_per_doubling(first, second) >= smallest_gain:
            break
        chosen = first
    return chosen.k


def describe(points: Sequence[Point], counted: str = "multiply-accumulates") -> str:
    """One sentence that names the knee.

    Args:
        points: in any order; at least two.
        counted: what the costs are.
    """
    knee, largest = knee_of(points), max(point.k for point in points)
    if knee == largest:
        return f"Knee: none up to k = {knee}; a doubling of {counted} still gains {SMALLEST_GAIN:g} GAP@20 or more."
    return f"Knee: k = {knee}; after it a doubling of {counted} gains less than {SMALLEST_GAIN:g} GAP@20."
