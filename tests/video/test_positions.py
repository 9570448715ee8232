"""The times at which a film is looked at are those that a student's features are taken from."""

import numpy as np
import pytest

from yt8m_distill.data.frame_selection import frame_indices
from yt8m_distill.errors import UserError
from yt8m_distill.video.positions import positions, whole_seconds


@pytest.mark.parametrize(
    ("seconds", "count"), [(0.04, 1), (1.0, 1), (1.0001, 1), (1.04, 2), (10.0, 10), (299.9, 300), (7200.0, 300)]
)
def test_whole_seconds(seconds, count):
    assert whole_seconds(seconds) == list(range(count))


def test_other_rates():
    assert whole_seconds(2.0, 2.0) == [0.0, 0.5, 1.0, 1.5]
    assert whole_seconds(10.0, 1 / 3) == pytest.approx([0, 3, 6, 9])
    assert len(whole_seconds(1e12, 1e6, max_frames=7)) == 7


@pytest.mark.parametrize(("rate", "most"), [(0.0, 300), (-1.0, 300), (float("nan"), 300), (1.0, 0)])
def test_rates_that_are_refused(rate, most):
    with pytest.raises(UserError, match="frames_per_second"):
        whole_seconds(10.0, rate, most)


@pytest.mark.parametrize("sampling", ["uniform", "first", "last", "middle", "first_middle_last"])
def test_positions_are_those_of_the_frames_that_a_student_sees(sampling):
    times = whole_seconds(47.0)
    for k in (1, 6, 30, 46, 47, 60):
        assert positions(times, k, sampling) == [times[i] for i in frame_indices(47, k=k, sampling=sampling)]


def test_random_positions_depend_on_video_and_seed():
    times = whole_seconds(100.0)
    assert positions(times, 9, "random", video_id=b"a", seed=1) == positions(times, 9, "random", video_id=b"a", seed=1)
    assert positions(times, 9, "random", video_id=b"a", seed=1) != positions(times, 9, "random", video_id=b"b", seed=1)


@pytest.mark.parametrize("sampling", ["medoid", "k_center", "motion", "learned"])
def test_samplings_that_look_at_features_are_refused(sampling):
    with pytest.raises(UserError, match=sampling):
        positions(whole_seconds(100.0), 6, sampling)


def test_nearest_keyframes():
    rng = np.random.default_rng(0)
    keyframes = [0.0, *np.sort(rng.uniform(0, 100, 30)).tolist()]
    times = whole_seconds(100.0)
    moved = positions(times, 20, "uniform", "keyframes", keyframes)
    exact = np.array(positions(times, 20))
    distances = np.abs(exact[:, None] - np.array(keyframes))
    assert moved == [keyframes[index] for index in distances.argmin(axis=1)]
    assert moved == sorted(moved)


def test_single_keyframe():
    assert positions(whole_seconds(9.0), 3, "uniform", "keyframes", [0.0]) == [0.0, 0.0, 0.0]
