"""The knee of accuracy by cost."""

import math

import pytest

from yt8m_distill.evaluation.knee import Point, describe, gain_per_doubling, knee_of


def points(*gaps: float) -> list[Point]:
    """k = 1, 2, 4, ...; each costs twice as much as the one before."""
    return [Point(2**i, 100.0 * 2**i, gap) for i, gap in enumerate(gaps)]


@pytest.mark.parametrize(
    ("gaps", "expected"),
    [
        ((0.30, 0.35, 0.38, 0.385), 4),
        ((0.30, 0.309, 0.315), 1),
        ((0.30, 0.32, 0.35), 4),  # the last step still pays
        ((0.30, 0.305, 0.35, 0.351), 4),  # a step that does not pay before one that does
        ((0.30, 0.35, 0.34), 2),  # more frames even lose
    ],
)
def test_knee(gaps, expected):
    assert knee_of(points(*gaps)) == expected
    assert knee_of(points(*gaps)[::-1]) == expected


def test_gain_is_by_doublings_of_the_cost():
    first, second = Point(1, 300, 0.2), Point(3, 900, 0.29)
    assert gain_per_doubling(first, second) == pytest.approx(0.09 / (math.log(900 / 300) / math.log(2)))
    assert knee_of([first, second], smallest_gain=0.056) == 3
    assert knee_of([first, second], smallest_gain=0.058) == 1


def test_sentence():
    assert describe(points(0.3, 0.35, 0.351)) == (
        "Knee: k = 2; after it a doubling of multiply-accumulates gains less than 0.01 GAP@20."
    )
    assert describe(points(0.3, 0.35), "frames").startswith("Knee: none up to k = 2; a doubling of frames still gains")
