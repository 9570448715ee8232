"""Dbof against the starter code's."""

import keras
import numpy as np
import pytest

from tests.helpers import load_case
from tests.models.reference import load_case_weights
from yt8m_distill.errors import UserError
from yt8m_distill.models import Dbof
from yt8m_distill.models.cost import parameter_count

OPTIONS = {
    "e_dbof_bn_random_sigmoid_max": {},
    "e_dbof_nobn_sequence_relu6_average": {
        "classifier": "logistic",
        "activation": "relu6",
        "pooling": "average",
        "batch_norm": False,
    },
}


@pytest.mark.parametrize("name", OPTIONS)
def test_forward_equals_the_original(name):
    case = load_case(name)
    model = Dbof((9,), 20, clusters=11, hidden_size=8, **OPTIONS[name])
    load_case_weights(model, case)
    # The original pools the frames it has sampled, all of them.
    frames = case["sampled_inputs"]

    outputs = model({"frames": frames, "num_frames": np.full(5, frames.shape[1])})

    np.testing.assert_allclose(outputs["representation"], case["hidden"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs["predictions"], case["predictions"], rtol=1e-5, atol=1e-6)


def test_parameters_are_as_many_as_the_original_has():
    with keras.StatelessScope():
        model = Dbof((1024, 128), 3862)
        count = parameter_count(model)

    assert count == load_case("h_param_counts")["dbof_8192_1024_moe2.trainable"]


@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("activation", ["relu6", "sigmoid"])
def test_padding_changes_nothing_with_any_option(pooling, activation):
    model = Dbof((8,), 3, clusters=5, hidden_size=4, pooling=pooling, activation=activation, batch_norm=False)
    frames = np.random.default_rng(0).normal(size=(3, 4, 8)).astype(np.float32)
    num_frames = np.array([4, 2, 0])

    together = model({"frames": frames, "num_frames": num_frames})["predictions"]

    for video, count in enumerate(num_frames):
        alone = model({"frames": frames[video : video + 1, :count], "num_frames": num_frames[video : video + 1]})
        np.testing.assert_allclose(alone["predictions"][0], together[video], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("model_args", "message"),
    [
        ({"activation": "tanh"}, "Unknown activation 'tanh'. Allowed: sigmoid, relu6"),
        ({"pooling": "none"}, "Unknown pooling 'none'. Allowed: max, average"),
        ({"batch_norm": 1}, "batch_norm must be True or False"),
        ({"iterations": -1}, "iterations must be an integer of at least 0"),
        ({"sample_random_frames": False}, "does nothing without iterations"),
    ],
)
def test_arguments_out_of_range_are_refused(model_args, message):
    with pytest.raises(UserError, match=message):
        Dbof((8,), 3, **model_args)
