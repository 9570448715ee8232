"""Lstm against the starter code's."""

import keras
import numpy as np
import pytest

from tests.helpers import load_case
from tests.models.reference import load_case_weights
from yt8m_distill.errors import UserError
from yt8m_distill.models import Lstm
from yt8m_distill.models.cost import parameter_count


@pytest.mark.parametrize("without_frames", [False, True])
def test_forward_equals_the_original(without_frames):
    case = load_case("e_lstm")
    model = Lstm((9,), 20, cells=6)
    load_case_weights(model, case)

    inputs = {"frames": case["inputs"], "num_frames": case["num_frames"]}
    outputs = model(inputs, return_intermediates=not without_frames)

    np.testing.assert_allclose(outputs["representation"], case["hidden"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs["predictions"], case["predictions"], rtol=1e-5, atol=1e-6)
    if not without_frames:
        np.testing.assert_allclose(outputs["frame_states"], case["rnn_outputs"], rtol=1e-5, atol=1e-6)


def test_all_states_end_with_the_output():
    frames = np.random.default_rng(0).normal(size=(2, 5, 8)).astype(np.float32)
    model = Lstm((8,), 3, cells=4, layers=2, final_state="all")

    outputs = model({"frames": frames, "num_frames": np.array([5, 3])}, return_intermediates=True)

    assert outputs["representation"].shape == (2, 16)
    last = np.stack([outputs["frame_states"][0, 4], outputs["frame_states"][1, 2]])
    np.testing.assert_allclose(outputs["representation"][:, 12:], last, rtol=1e-6)


def test_parameters_are_as_many_as_the_original_has():
    with keras.StatelessScope():
        count = parameter_count(Lstm((1024, 128), 3862))

    assert count == load_case("h_param_counts")["lstm_1024x2_moe2.trainable"]


def test_unknown_final_state_is_refused():
    with pytest.raises(UserError, match=r"Unknown final_state 'last'. Allowed: output, all"):
        Lstm((8,), 3, final_state="last")
