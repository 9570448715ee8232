"""Plans decode what is needed, and as little as possible."""

import itertools

import numpy as np
import pytest

from yt8m_distill.video.seek_plan import SEEK_COST, Packet, PacketTable, ascending_times

TICK = 1 / 25


def table(keys=(0,), count=100, stamps=None, **changes) -> PacketTable:
    stamps = range(count) if stamps is None else stamps
    packets = [Packet(stamp, number, number in keys) for number, stamp in enumerate(stamps)]
    return PacketTable(packets, TICK, **changes)


def least_cost(keys, packets) -> int:
    """The least cost of some packets, over all choices of where to seek."""
    costs = []
    for choice in itertools.product((False, True), repeat=len(packets)):
        cost, end = 0, -1
        for packet, seeks in zip(packets, choice, strict=True):
            key = max(key for key in keys if key <= packet)
            if seeks:
                cost, end = cost + SEEK_COST, key - 1
            cost, end = cost + packet - end, packet
        costs.append(cost)
    return min(costs)


@pytest.mark.parametrize("seed", range(30))
def test_plans_cost_the_least(seed):
    rng = np.random.default_rng(seed)
    keys = [0, *sorted(rng.choice(np.arange(1, 100), rng.integers(0, 12), replace=False).tolist())]
    packets = sorted(rng.choice(100, rng.integers(1, 9), replace=False).tolist())
    runs = table(keys).plan(packets)
    assert [target for run in runs for target in run.targets] == packets
    assert sum(run.cost for run in runs) == least_cost(keys, packets) <= packets[-1] + 1
    for run in runs:
        assert run.start in keys
        assert run.start <= run.targets[0]


def test_runs_start_at_the_keyframe_before():
    runs = table(keys=(0, 50), count=100).plan([10, 20, 70, 90])
    assert [(run.start, run.targets, run.cost) for run in runs] == [
        (0, (10, 20), 21),
        (50, (70, 90), 21 + 20 + SEEK_COST),
    ]


def test_avoided_keyframes_and_groups():
    films = table(keys=(0, 20, 40, 60), count=80)
    assert [run.start for run in films.plan([70], avoided={60, 40})] == [20]
    assert [run.start for run in films.plan([70], avoided={0, 20, 40, 60})] == [0]
    assert [run.start for run in films.plan([19, 20, 21, 41])] == [0, 40]
    assert [run.start for run in films.plan([19, 20, 21, 41], by_group=True)] == [0, 20, 40]


def test_frames_shown_before_their_keyframe_need_the_one_before():
    """Open groups: packets 10 and 11 are behind the keyframe 9, and shown before it."""
    stamps = [0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 9, 10, 12, 13]
    films = table(keys=(0, 9), stamps=stamps)
    assert films.is_regular
    assert films.has_leading
    assert [(run.start, run.cost) for run in films.plan([11])] == [(0, 12)]
    assert [(run.start, run.cost) for run in films.plan([12])] == [(9, 4 + SEEK_COST)]
    assert films.shown_at([9 * TICK, 10 * TICK, 11 * TICK]) == [10, 11, 9]
    assert not table(keys=(0, 9)).has_leading


@pytest.mark.parametrize(
    "stamps",
    [
        [0, 1, None, 3],
        [0, 1, 1, 3],
        [0, 1, 2, 3, 0, 1, 2, 3],
        [0, 1, 6, 3, 4, 5, 7, 8],
    ],
    ids=["missing", "twice", "back", "before its time"],
)
def test_timestamps_that_do_not_fit_are_not_planned_with(stamps):
    films = table(keys=(0, 4), stamps=stamps)
    assert not films.is_regular
    assert films.times == pytest.approx([number * TICK for number in range(len(stamps))])
    assert films.seconds == pytest.approx(len(stamps) * TICK)


def test_reordered_frames_whose_timestamps_are_in_order():
    assert table(reorders=False).is_regular
    assert not table(reorders=True).is_regular


def test_start_and_end():
    """What comes before the first keyframe does not count, nor what an edit list hides."""
    packets = [Packet(number + 5, number, number in (3, 10), number in (3, 4)) for number in range(20)]
    films = PacketTable(packets, TICK, last_duration=2)
    assert (films.first, films.zero) == (3, 10)
    assert films.seconds == pytest.approx((24 - 10 + 2) * TICK)
    assert films.keyframe_times == pytest.approx([5 * TICK])
    assert films.shown_at([-1.0, 0.0, TICK, 99.0]) == [5, 5, 6, 19]
    assert films.plan([5])[0].start == 3


def test_frame_that_begins_up_to_half_a_frame_later():
    films = table()
    assert films.shown_at([0.99, 1.0, 1.019, 1.021]) == [25, 25, 25, 26]
    assert PacketTable([Packet(number, number, True) for number in range(9)], tick=2.0).shown_at([1.9, 3.99]) == [0, 2]


def test_seeks_by_either_clock():
    packets = [Packet(number + 2, number, number % 5 == 0) for number in range(20)]
    assert PacketTable(packets, TICK).seek_stamps(10) == [12, 10, 7, 5, 2, 0]


def test_ascending_times():
    assert ascending_times([7, 8, 12], 0.5, 9.0) == [0.0, 0.5, 2.5]
    assert ascending_times([7, 8, 8], 0.5, 9.0) == [0.0, 9.0, 18.0]
