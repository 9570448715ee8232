"""Frame selection: every sampling against its definition, alone and in a batch."""

import json
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import load_case
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.json import from_values, to_values
from yt8m_distill.data.frame_selection import (
    frame_formula,
    frame_indices,
    is_formula,
    needs_all_frames,
    selected_counts,
    selected_indices,
)
from yt8m_distill.errors import UserError
from yt8m_distill.plugins import FRAME_SAMPLINGS, register_frame_sampling

# Those that look at features are in tests/choosing.
SAMPLINGS = [name for name in FRAME_SAMPLINGS.names() if not needs_all_frames(FrameSelection(1, sampling=name))]

EXAMPLES = {
    "uniform": [1, 3, 6, 8],
    "first": [0, 1, 2, 3],
    "last": [6, 7, 8, 9],
    "middle": [3, 4, 5, 6],
    "first_middle_last": [0, 1, 4, 9],
}


@pytest.mark.parametrize(("sampling", "expected"), EXAMPLES.items())
def test_four_of_ten_frames(sampling, expected):
    assert frame_indices(10, k=4, sampling=sampling) == expected


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 40), st.integers(1, 45), st.sampled_from(SAMPLINGS))
def test_indices_are_ascending_distinct_real_frames(num_frames, k, sampling):
    indices = frame_indices(num_frames, k=k, sampling=sampling)
    assert len(indices) == min(k, num_frames)
    assert indices == sorted(set(indices))
    assert all(0 <= index < num_frames for index in indices)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_shorter_video_keeps_all_its_frames_once(sampling):
    assert frame_indices(3, k=30, sampling=sampling) == [0, 1, 2]


def test_uniform_takes_the_middle_of_equal_parts():
    assert frame_indices(300, k=30) == [((2 * i + 1) * 300) // 60 for i in range(30)]


def test_parts_of_first_middle_last():
    for k in range(1, 12):
        indices = frame_indices(100, k=k, sampling="first_middle_last")
        first = math.ceil(k / 3)
        last = math.ceil((k - first) / 2)
        assert indices[:first] == list(range(first))
        assert indices[k - last :] == list(range(100 - last, 100))
        assert all(40 < index < 60 for index in indices[first : k - last])


@pytest.mark.parametrize("stride", [1, 2, 3, 7, 10, 30, 60])
def test_stride_agrees_with_the_authors_code(stride):
    expected = load_case("g_frame_selection")[f"index_every{stride}"]
    assert frame_indices(300, stride=stride) == expected.tolist()


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 5, 6, 7, 10, 12, 15, 20, 25, 30, 50, 60])
def test_frames_are_counted_as_by_the_authors(stride):
    """Of videos of 0 to 300 frames; also by a TensorFlow graph, as exported models do."""
    expected = load_case("g_frame_selection")[f"student_num_frames_every{stride}"]
    selection = FrameSelection(stride=stride, counting="authors", longest_video=300)
    num_frames = np.arange(301)
    indices, counts = selected_indices(selection, num_frames, [b""] * 301, seed=0)
    np.testing.assert_array_equal(counts, expected)
    assert [selection.frames(n) for n in num_frames] == expected.tolist()
    for row, count in zip(indices, counts, strict=True):
        assert row[:count].tolist() == list(range(0, count * stride, stride))
    in_graph = tf.function(lambda frames: selected_counts(selection, frames, arrays=tf))
    np.testing.assert_array_equal(in_graph(tf.range(301, dtype=tf.int64)), expected)
    longer, _ = selected_indices(selection, np.array([450]), [b""], seed=0)
    assert longer.shape == (1, 300 // stride)  # what is longer is cut


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"counting": "floor"}, "counting must be one of ceil, authors, not floor"),
        ({"counting": "authors"}, "goes with stride and longest_video"),
        ({"counting": "authors", "longest_video": 10**9}, "longest_video must be at least 1 and at most 86400"),
        ({"counting": "authors", "longest_video": 300, "stride": None, "k": 3}, "goes with stride"),
        ({"longest_video": 300}, "goes with counting=authors only"),
    ],
)
def test_countings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        FrameSelection(**{"stride": 5, **changes})


def test_counting_is_in_json_where_it_is_not_the_default():
    """So that files stay as those of versions that had none."""
    assert to_values(FrameSelection(stride=5)) == {"k": None, "stride": 5, "sampling": "uniform", "drawn_from": ()}
    authors = FrameSelection(stride=5, counting="authors", longest_video=300)
    assert from_values(FrameSelection, json.loads(json.dumps(to_values(authors))), "x") == authors
    assert authors.describe() == "every5-authors"


@pytest.fixture
def own_samplings():
    """Samplings that a user has registered."""

    @register_frame_sampling("odd_ones")
    @frame_formula
    def odd_ones(steps, num_frames, k, arrays):
        return arrays.minimum(2 * steps + 1, num_frames - k + steps)

    @register_frame_sampling("two_halves")
    def two_halves(num_frames, k, generator):
        return sorted(generator.permutation(num_frames)[:k])

    @register_frame_sampling("broken")
    def broken(num_frames, k, generator):
        return [0] * k

    yield
    for name in ("odd_ones", "two_halves", "broken"):
        FRAME_SAMPLINGS._entries.pop(name)


def test_samplings_of_ones_own(own_samplings):
    assert frame_indices(10, k=3, sampling="odd_ones") == [1, 3, 5]
    assert frame_indices(4, k=3, sampling="odd_ones") == [1, 2, 3]
    drawn = frame_indices(10, k=3, sampling="two_halves", seed=4)
    assert drawn == frame_indices(10, k=3, sampling="two_halves", seed=4)
    assert len({tuple(frame_indices(10, k=3, sampling="two_halves", seed=seed)) for seed in range(5)}) > 1
    for name in ("odd_ones", "two_halves", "broken"):
        assert frame_indices(2, k=3, sampling=name) == [0, 1]  # it is not asked about videos that keep all
    selection = FrameSelection(3, sampling="odd_ones", drawn_from=(1, 3))
    _, counts = selected_indices(selection, np.full(50, 9), [b"%d" % n for n in range(50)], seed=0)
    assert set(counts.tolist()) == {1, 3}


def test_a_sampling_that_gives_other_than_k_frames_is_refused(own_samplings):
    with pytest.raises(UserError, match=r"'broken' must return 3 different ascending indices in \[0, 10\)"):
        frame_indices(10, k=3, sampling="broken")


def test_exported_models_compute_formulas(own_samplings):
    assert is_formula(FrameSelection(3, sampling="odd_ones"))
    assert is_formula(FrameSelection(stride=3))
    assert not is_formula(FrameSelection(3, sampling="two_halves"))


def test_stride_counts_only_real_frames():
    assert frame_indices(10, stride=3) == [0, 3, 6, 9]
    assert frame_indices(0, stride=3) == []


def test_jittered_draws_one_frame_of_each_part():
    draws = np.array([frame_indices(100, k=10, sampling="jittered", seed=seed) for seed in range(200)])
    assert ((draws // 10) == np.arange(10)).all()
    assert {value % 10 for value in draws[:, 3]} == set(range(10))
    assert frame_indices(7, k=7, sampling="jittered") == list(range(7))


def test_jittered_parts_differ_by_one_where_they_are_not_equal():
    draws = np.array([frame_indices(8, k=3, sampling="jittered", seed=seed) for seed in range(100)])
    assert [sorted(set(column)) for column in draws.T.tolist()] == [[0, 1], [2, 3, 4], [5, 6, 7]]


def test_several_ks_are_drawn_for_each_video():
    selection = FrameSelection(10, drawn_from=(2, 5, 10))
    ids = [f"v{i}".encode() for i in range(300)]
    indices, counts = selected_indices(selection, np.full(300, 40), ids, seed=1)
    assert sorted(set(counts.tolist())) == [2, 5, 10]
    assert min(np.bincount(counts)[[2, 5, 10]]) > 60
    for row, count in zip(indices, counts, strict=True):
        assert row[:count].tolist() == frame_indices(40, k=int(count))
        assert not row[count:].any()
    again, _ = selected_indices(selection, np.full(1, 40), ids[7:8], seed=1)
    assert again[0].tolist() == indices[7, : again.shape[1]].tolist()


def test_evaluation_draws_nothing_that_is_for_training():
    jittered = FrameSelection(10, sampling="jittered", drawn_from=(5, 10))
    assert jittered.for_evaluation() == FrameSelection(10)
    assert FrameSelection(10, sampling="random").for_evaluation() == FrameSelection(10, sampling="random")
    assert jittered.describe() == "jittered5-10"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 5, "drawn_from": (5, 5)}, "different"),
        ({"k": 5, "drawn_from": (0, 5)}, "at least 1"),
        ({"k": 5, "drawn_from": (5, 9)}, "largest"),
        ({"k": 9, "drawn_from": (5, 9), "sampling": "first_middle_last"}, "first_middle_last"),
        ({"stride": 2, "drawn_from": (5, 9)}, "stride"),
    ],
)
def test_wrong_lists_of_k_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        FrameSelection(**arguments)


def test_random_follows_the_seed():
    draws = {seed: tuple(frame_indices(100, k=10, sampling="random", seed=seed)) for seed in range(5)}
    assert draws[3] == tuple(frame_indices(100, k=10, sampling="random", seed=3))
    assert len(set(draws.values())) == 5


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_batch_as_each_video_alone(sampling):
    selection = FrameSelection(4, sampling=sampling)
    indices, counts = selected_indices(selection, np.arange(12), [b""] * 12, seed=7)
    for n in range(12):
        alone = frame_indices(n, k=4, sampling=sampling, seed=7)
        assert indices[n].tolist() == alone + [0] * (4 - len(alone))
        assert counts[n] == len(alone)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "at least 1"),
        ({"stride": 0}, "at least 1"),
        ({"k": 2, "stride": 2}, "not both"),
        ({}, "not neither"),
        ({"k": 2, "sampling": "best"}, "must be one of uniform, random"),
        ({"stride": 2, "sampling": "random"}, "uniform only"),
    ],
)
def test_wrong_selections_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        frame_indices(10, **arguments)


def test_negative_frame_counts_are_refused():
    with pytest.raises(UserError, match="0 or more"):
        frame_indices(-1, k=3)


@pytest.mark.parametrize(
    ("selection", "frames"), [(FrameSelection(30), 30), (FrameSelection(30), 10), (FrameSelection(None, 7), 43)]
)
def test_frames_of_the_longest_video(selection, frames):
    longest = 10 if frames == 10 else 300
    assert selection.frames(longest) == frames
