"""The models on the mean of the frames, against the starter code's and WILLOW's."""

import numpy as np
import pytest

from tests.helpers import load_case
from tests.models.reference import load_case_weights
from yt8m_distill.errors import UserError
from yt8m_distill.models import FrameLevelLogistic, Logistic, Moe


def test_frame_level_logistic_equals_the_original():
    case = load_case("e_frame_level_logistic")
    model = FrameLevelLogistic((9,), 20)
    load_case_weights(model, case)

    for inputs in ("inputs", "inputs_garbage"):  # the original adds up the garbage, too
        outputs = model({"frames": case[inputs], "num_frames": case["num_frames"]})
        np.testing.assert_allclose(outputs["predictions"], case["predictions"], rtol=1e-5, atol=1e-6)
    frames = [video[:count].mean(axis=0) for video, count in zip(case["inputs"], case["num_frames"], strict=True)]
    np.testing.assert_allclose(outputs["representation"], frames, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "kind", "model_args"),
    [
        ("e_logistic", Logistic, {}),
        ("e_moe", Moe, {}),
        ("e_gated_moe_input", Moe, {"moe_gating": "input"}),
        ("e_gated_moe_prob", Moe, {"moe_gating": "prob"}),
        ("e_gated_moe_prob_removediag", Moe, {"moe_gating": "prob", "moe_gating_remove_diag": True}),
    ],
)
def test_video_level_models_equal_the_originals(name, kind, model_args):
    case = load_case(name)
    model = kind((10,), 12, **model_args)
    load_case_weights(model, case)

    outputs = model({"frames": case["inputs"][:, None], "num_frames": np.ones(len(case["inputs"]), np.int32)})

    np.testing.assert_allclose(outputs["predictions"], case["predictions"], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(outputs["representation"], case["inputs"])
    if "regularization_loss" in case:
        scale = float(case["hp.l2_penalty"]) / model.classifier_l2
        np.testing.assert_allclose(sum(map(float, model.losses)) * scale, case["regularization_loss"], rtol=1e-5)


def test_parameters_are_as_many_as_the_original_has():
    counts = load_case("h_param_counts")

    model = FrameLevelLogistic((1024, 128), 3862)

    assert sum(v.numpy().size for v in model.trainable_variables) == counts["frame_level_logistic.trainable"]


@pytest.mark.parametrize(
    ("kind", "model_args", "message"),
    [
        (Moe, {"moe_gating": "output"}, "Unknown moe_gating 'output'. Allowed: none, input, prob"),
        (Moe, {"moe_gating": "input", "moe_gating_remove_diag": True}, "goes with moe_gating=prob only"),
        (Moe, {"moe_gate_rank": -1}, "moe_gate_rank must be an integer of at least 0"),
        (Moe, {"classifier": "logistic"}, "Unknown classifier 'logistic'. Allowed: moe"),
        (Logistic, {"moe_gating": "prob"}, "go with classifier=moe only"),
    ],
)
def test_arguments_out_of_range_are_refused(kind, model_args, message):
    with pytest.raises(UserError, match=message):
        kind((10,), 12, **model_args)


def test_arguments_that_a_model_does_not_have_are_not_listed():
    assert Logistic.argument_defaults() == {"input_normalization": "l2"}
    of_moe = {"mixtures", "moe_gating", "moe_gating_remove_diag", "moe_gate_rank"}
    assert set(Moe.argument_defaults()) == {*of_moe, "input_normalization"}
