"""Frames drawn at random, against the starter code's for the same random numbers."""

import keras
import numpy as np
import pytest

from tests.helpers import load_case
from yt8m_distill.layers import RandomFrames
from yt8m_distill.layers.random_frames import frame_indices, sequence_indices
from yt8m_distill.models import NetVLAD


def test_indices_equal_the_original():
    case = load_case("g_random_sampling")
    num_frames, count = case["num_frames"].astype(np.int32), int(case["num_samples"])

    frames = frame_indices(case["uniform_frames"], num_frames)
    sequences = sequence_indices(case["uniform_sequence"], num_frames, count)

    np.testing.assert_array_equal(frames, case["frames_index"])
    np.testing.assert_array_equal(sequences, case["sequence_index"])


def _numbered(videos: int, frames: int) -> np.ndarray:
    """Frames that are their own number, in every feature."""
    return np.broadcast_to(np.arange(frames, dtype=np.uint8)[None, :, None], (videos, frames, 3)).copy()


@pytest.mark.parametrize("contiguous", [False, True])
def test_only_real_frames_are_drawn(contiguous):
    layer = RandomFrames(40, contiguous)
    num_frames = np.array([0, 1, 5, 60, 100])

    drawn, count = layer(_numbered(5, 60), num_frames)

    assert drawn.shape == (5, 40, 3)
    np.testing.assert_array_equal(count, [0, 40, 40, 40, 40])
    drawn = np.array(drawn)
    assert drawn.dtype == np.uint8
    for video, most in ((1, 0), (2, 4), (3, 59), (4, 59)):
        assert drawn[video].max() <= most
    assert set(drawn[2, :, 0]) == set(range(5))  # 40 draws of 5 miss one with probability 7e-4; a run has them all
    steps = np.diff(drawn[3, :, 0].astype(int))
    assert np.all(steps == 1) == contiguous


def test_batches_without_frames():
    drawn, count = RandomFrames(2)(np.zeros((3, 0, 4), np.float32), np.zeros(3, np.int32))

    assert drawn.shape == (3, 2, 4)
    np.testing.assert_array_equal(count, 0)


def test_a_model_draws_in_training_only_and_differently_each_time():
    keras.utils.set_random_seed(1)
    model = NetVLAD((6,), 3, clusters=2, hidden_size=4, iterations=2)
    frames = np.random.default_rng(0).integers(0, 256, (4, 50, 6), np.uint8)
    inputs = {"frames": frames, "num_frames": np.array([50, 50, 50, 0])}

    drawn = [model(inputs, training=True, return_intermediates=True)["assignment_0"] for _ in range(2)]
    predicted = [np.array(model(inputs)["predictions"]) for _ in range(2)]

    assert drawn[0].shape == (4, 2, 2)
    assert not np.array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(predicted[0], predicted[1])


def test_the_state_of_the_draw_is_a_variable_of_the_model():
    model, plain = (NetVLAD((6,), 3, clusters=2, hidden_size=4, iterations=count) for count in (2, 0))

    states = [v for v in model.variables if "seed_generator" in v.path]

    assert len(states) == 1
    assert len(model.variables) == len(plain.variables) + 1
    assert len(model.weights) == len(plain.weights)
