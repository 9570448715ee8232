"""NetVLAD with context gating against WILLOW's code."""

import numpy as np
import pytest

from tests.helpers import load_case
from tests.models.reference import FEATURE_SIZES, load_case_weights
from yt8m_distill.errors import UserError
from yt8m_distill.models import NetVLAD

OPTIONS = {
    "relu_gating": {},
    "relu_gating_removediag": {"gating_remove_diag": True},
    "lightvlad": {"lightvlad": True, "gating": False},
    "norelu_gating_gatedmoe": {"activation": "none", "moe_gating": "prob"},
}


def _run(case: dict[str, np.ndarray], **model_args):
    model = NetVLAD(FEATURE_SIZES, 20, classifier="moe", clusters=8, hidden_size=16, **model_args)
    load_case_weights(model, case)
    # The original pools the frames it has sampled, all of them.
    frames = case["sampled_inputs"]
    return model({"frames": frames, "num_frames": np.full(5, frames.shape[1])}, return_intermediates=True)


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-values))


@pytest.mark.parametrize("name", OPTIONS)
def test_forward_equals_the_original(name):
    case = load_case(f"e_willow_netvlad_{name}")

    outputs = _run(case, **OPTIONS[name])

    np.testing.assert_allclose(outputs["representation"], case["hidden"], rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(outputs["predictions"], case["predictions"], rtol=1e-4, atol=2e-5)
    assert ("gates" in outputs) == ("gates_pre_sigmoid" in case)
    if "gates" in outputs:
        np.testing.assert_allclose(outputs["gates"], _sigmoid(case["gates_pre_sigmoid"]), rtol=1e-4, atol=2e-5)


def test_without_batch_normalization_there_are_biases():
    model = NetVLAD(FEATURE_SIZES, 20, clusters=4, hidden_size=6, batch_norm=False)
    frames = np.random.default_rng(0).normal(size=(2, 3, 40)).astype(np.float32)
    names = {"/".join(variable.path.split("/")[1:]) for variable in model.trainable_variables}

    outputs = model({"frames": frames, "num_frames": np.array([3, 0])}, training=True)

    assert not [name for name in names if "_bn" in name]
    biased = {"hidden1_weights", "gating/gating_weights", "vlad_0/cluster_weights", "vlad_1/cluster_weights"}
    assert {f"{name}/bias" for name in biased} <= names
    assert 0 <= np.min(outputs["representation"]) <= np.max(outputs["representation"]) <= 6


def test_without_gating_the_hidden_layer_is_the_representation():
    model = NetVLAD(FEATURE_SIZES, 20, clusters=4, hidden_size=6, gating=False)
    frames = np.random.default_rng(0).normal(size=(2, 3, 40)).astype(np.float32)

    outputs = model({"frames": frames, "num_frames": np.array([3, 2])}, return_intermediates=True)

    assert "gates" not in outputs
    assert not hasattr(model, "gating")
    assert outputs["representation"].shape == (2, 6)
    assert np.min(outputs["representation"]) >= 0


def test_assignment_of_real_frames_sums_to_one():
    model = NetVLAD(FEATURE_SIZES, 20, clusters=4, hidden_size=6)
    frames = np.random.default_rng(0).normal(size=(2, 3, 40)).astype(np.float32)

    outputs = model({"frames": frames, "num_frames": np.array([3, 1])}, return_intermediates=True)

    for stream, clusters in enumerate((4, 2)):
        assignment = outputs[f"assignment_{stream}"]
        assert assignment.shape == (2, 3, clusters)
        np.testing.assert_allclose(np.sum(assignment, axis=-1), [[1, 1, 1], [1, 0, 0]], rtol=1e-5)


@pytest.mark.parametrize(
    ("model_args", "message"),
    [
        ({"activation": "tanh"}, "Unknown activation 'tanh'. Allowed: relu6, none"),
        ({"gating": "yes"}, "gating must be True or False"),
        ({"gating": False, "gating_remove_diag": True}, "does nothing without gating"),
        ({"sample_random_frames": False}, "does nothing without iterations"),
        ({"hidden_size": -1}, "hidden_size must be an integer of at least 1"),
        ({"dropout": -0.1}, "dropout must be a number"),
    ],
)
def test_arguments_out_of_range_are_refused(model_args, message):
    with pytest.raises(UserError, match=message):
        NetVLAD((32, 8), 20, **model_args)
