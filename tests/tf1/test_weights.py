"""Original weights: every array finds its place or is named. The models' own tests compare what they then compute."""

import numpy as np
import pytest

from tests.helpers import case_weights, load_case
from yt8m_distill.errors import UserError
from yt8m_distill.models import HierarchicalRNN, NetVLAD, NeXtVLAD
from yt8m_distill.tf1.weights import load_reference_weights


@pytest.fixture
def nextvlad() -> NeXtVLAD:
    return NeXtVLAD((32, 8), 20, clusters=8, groups=4, hidden_size=16, gating_reduction=4)


@pytest.fixture
def weights() -> dict[str, np.ndarray]:
    return case_weights(load_case("e_nextvlad_logistic"))


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name.replace(".", "/") + ":0",
        lambda name: f"tower/{name}",
        lambda name: f"tower.model.{name}",
        lambda name: (
            name.replace("fully_connected.", "classifier.fully_connected.")
            if name.startswith("fully_connected.")
            else name
        ),
    ],
)
def test_separators_and_scopes_do_not_matter(nextvlad, weights, rename):
    load_reference_weights(nextvlad, {rename(name): value for name, value in weights.items()})

    np.testing.assert_array_equal(nextvlad.hidden.kernel.numpy(), weights["hidden1_weights"])
    np.testing.assert_array_equal(nextvlad.classifier.dense.kernel.numpy(), weights["fully_connected.weights"])
    expand = nextvlad.poolings[1].expand.kernel.numpy()
    np.testing.assert_array_equal(expand, weights["audio_VLAD.fully_connected.weights"])


def test_every_variable_is_loaded(nextvlad, weights):
    for variable in nextvlad.trainable_variables:
        variable.assign(np.full(variable.shape, np.nan))

    load_reference_weights(nextvlad, weights)

    assert all(np.isfinite(variable.numpy()).all() for variable in nextvlad.variables)


def test_loaded_averages_are_not_washed_out_by_the_warm_up(nextvlad, weights):
    load_reference_weights(nextvlad, weights)

    nextvlad({"frames": np.zeros((4, 3, 40), np.float32), "num_frames": np.full(4, 3)}, training=True)

    before = weights["hidden1_bn.moving_variance"]
    np.testing.assert_allclose(nextvlad.hidden_bn.moving_variance.numpy(), before, rtol=0.01)


def test_one_feature_takes_the_video_stream():
    case = load_case("e_nextvlad_logistic")
    weights = {name: value for name, value in case_weights(case).items() if not name.startswith("audio_VLAD")}
    weights["hidden1_weights"] = weights["hidden1_weights"][:128]
    model = NeXtVLAD((32,), 20, clusters=8, groups=4, hidden_size=16, gating_reduction=4)

    load_reference_weights(model, weights)

    np.testing.assert_array_equal(model.poolings[0].centers.numpy(), weights["video_VLAD.cluster_weights2"])


def test_teacher_and_student_are_told_apart_by_scope():
    case = load_case("e_hlstm")
    model = HierarchicalRNN((6,), 10, classifier="moe", cells=6)

    for scope in ("model", "model_student", "/model/"):
        load_reference_weights(model, case_weights(case), scope=scope)
        expected = case[f"w.{scope.strip('/')}.classifier.gates.weights"]
        np.testing.assert_array_equal(model.classifier.gates.kernel.numpy(), expected)


def test_several_scopes_need_a_choice():
    model = HierarchicalRNN((6,), 10, classifier="moe", cells=6)

    with pytest.raises(UserError, match="several scopes: 'model', 'model_student'"):
        load_reference_weights(model, case_weights(load_case("e_hlstm")))


def test_misfits_are_named_and_change_nothing(nextvlad, weights):
    before = nextvlad.get_weights()
    weights["extra_weights"] = np.zeros(3)
    del weights["video_VLAD.cluster_bn.gamma"]
    weights["hidden1_weights"] = weights["hidden1_weights"].T

    with pytest.raises(UserError) as error:
        load_reference_weights(nextvlad, weights)

    assert "no place in the model for extra_weights" in str(error.value)
    assert "no array for the model's video_VLAD.cluster_bn.gamma" in str(error.value)
    assert "hidden1_weights has shape (16, 160), the model needs (160, 16)" in str(error.value)
    for old, new in zip(before, nextvlad.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


def test_the_same_name_twice_is_refused(nextvlad, weights):
    weights["hidden1_bn/beta"] = weights["hidden1_bn.beta"]

    with pytest.raises(UserError, match="differ only in their separators"):
        load_reference_weights(nextvlad, weights)


def test_lstm_gates_change_their_order_and_the_forget_bias_its_place():
    model = HierarchicalRNN((6,), 10, classifier="moe", cells=6)
    case = load_case("e_hlstm")

    load_reference_weights(model, case_weights(case), scope="model")

    original = case["w.model.RNN_L1.rnn.multi_rnn_cell.cell_0.basic_lstm_cell.bias"]
    bias = model.lower.lstms[0].cell.bias.numpy()
    np.testing.assert_array_equal(bias[:6], original[:6])
    np.testing.assert_array_equal(bias[6:12], original[12:18] + 1)
    np.testing.assert_array_equal(bias[12:18], original[6:12])
    np.testing.assert_array_equal(bias[18:], original[18:])


def test_models_with_other_features_than_the_originals_are_refused():
    model = NetVLAD((8, 8, 8), 20, clusters=4, hidden_size=4)

    with pytest.raises(UserError, match="at most two features; this model has 3"):
        load_reference_weights(model, {})
