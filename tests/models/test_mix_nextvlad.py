"""MixNeXtVLAD against the authors' code: forward pass, the loss of its training and its gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import load_case
from tests.models.reference import FEATURE_SIZES, cross_entropy, load_case_weights, originals_of_variables
from yt8m_distill import losses
from yt8m_distill.errors import UserError
from yt8m_distill.models import MixNeXtVLAD, mix_nextvlad
from yt8m_distill.models.cost import parameter_count

SIZES = {"branches": 3, "clusters": 8, "groups": 4, "hidden_size": 16, "gating_reduction": 4, "dropout": 0.0}


@pytest.fixture(scope="module")
def case() -> dict[str, np.ndarray]:
    return load_case("e_mix_nextvlad")


@pytest.fixture
def model(case, monkeypatch) -> MixNeXtVLAD:
    """The case's model, which takes padded frames into the mean frame as the original does."""
    monkeypatch.setattr(mix_nextvlad, "mean_over_frames", lambda frames, mask: tf.reduce_mean(frames, axis=1))
    model = MixNeXtVLAD(FEATURE_SIZES, 20, **SIZES)
    load_case_weights(model, case)
    for branch in model.branches:
        for pooling in branch.poolings:
            pooling.mask_statistics = False
    return model


def _inputs(case) -> dict:
    return {"frames": case["inputs"], "num_frames": case["num_frames"]}


def _assert_outputs(outputs, case, prefix: str):
    for name, key in (("predictions", "predictions"), ("logits", "mix_logits"), ("branch_logits", "branch_logits")):
        np.testing.assert_allclose(outputs[name], case[f"{prefix}{key}"], rtol=1e-4, atol=2e-5, err_msg=name)
    hidden = np.reshape(case[f"{prefix}branch_hidden"], (5, 3 * 16))
    np.testing.assert_allclose(outputs["representation"][:, :48], hidden, rtol=1e-4, atol=2e-5)
    weights = tf.nn.softmax(outputs["representation"][:, 48:])
    np.testing.assert_allclose(weights, case[f"{prefix}mix_weights"], rtol=1e-4, atol=2e-5)


def test_forward_equals_the_original(model, case):
    _assert_outputs(model(_inputs(case)), case, "")


def test_a_branch_is_a_model_by_itself(model, case):
    for index in range(3):
        outputs = model.branch_model(index)(_inputs(case))
        np.testing.assert_allclose(outputs["predictions"], case["branch_predictions"][:, index], rtol=1e-4, atol=2e-5)
    with pytest.raises(UserError, match="branch=3: the model has the branches 0 to 2"):
        model.branch_model(3)


def test_padded_frames_enter_no_mean_frame(case):
    model = MixNeXtVLAD(FEATURE_SIZES, 20, **SIZES)
    load_case_weights(model, case)

    outputs = model(_inputs(case))

    full = case["num_frames"] == case["inputs"].shape[1]
    assert 0 < full.sum() < len(full)
    np.testing.assert_allclose(outputs["predictions"][full], case["predictions"][full], rtol=1e-4, atol=2e-5)
    assert np.abs(outputs["predictions"] - case["predictions"])[~full].max() > 1e-4


def test_training_loss_and_gradients_equal_the_original(model, case):
    by_name = originals_of_variables(model, case)

    def original_loss(labels, outputs, label_weights):
        assert label_weights is None
        return cross_entropy(outputs["predictions"], labels, 1e-8)

    with tf.GradientTape() as tape:
        outputs = model(_inputs(case), training=True)
        loss = model.label_loss(original_loss, case["labels"], outputs)
        total = loss + tf.add_n(model.losses)
    gradients = dict(zip(by_name, tape.gradient(total, list(by_name.values())), strict=True))

    _assert_outputs(outputs, case, "train.")
    expected = case["train.label_loss_with_aux"] + case["train.regularization_loss_kl"]
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(total, case["train.final_loss"], rtol=1e-5)
    for name, gradient in gradients.items():
        norm = case[f"train.gradnorm.{name}"]
        # The next batch normalization takes any shift away again: what is left is rounding.
        rounding = {"rtol": 0, "atol": 1e-4} if name.endswith("vlad_bn.beta") else {"rtol": 2e-3}
        np.testing.assert_allclose(np.linalg.norm(gradient), norm, err_msg=name, **rounding)


@pytest.mark.parametrize(("temperature", "kl_weight"), [(3.0, 1.0), (2.0, 0.25), (1.0, 0.0)])
def test_the_divergence_of_the_branches_by_hand(temperature, kl_weight):
    rng = np.random.default_rng(0)
    model = MixNeXtVLAD((8,), 4, **{**SIZES, "branches": 2, "groups": 2}, temperature=temperature, kl_weight=kl_weight)
    mixed, branches = rng.normal(size=(3, 4)).astype(np.float32), rng.normal(size=(3, 2, 4)).astype(np.float32)
    outputs = {"logits": mixed, "predictions": tf.sigmoid(mixed), "branch_logits": branches}
    labels = (rng.uniform(size=(3, 4)) < 0.5).astype(np.float32)

    loss = model.label_loss(losses.label_loss("CrossEntropyLoss"), labels, outputs)

    def softmax(logits):
        exponentials = np.exp(logits / temperature)
        return exponentials / exponentials.sum(axis=-1, keepdims=True)

    def entropy(logits):
        p = 1 / (1 + np.exp(-logits))
        return -np.mean(np.sum(labels * np.log(p) + (1 - labels) * np.log(1 - p), axis=1))

    p, q = softmax(mixed)[:, None], softmax(branches)
    divergence = np.mean(np.sum(p * np.log(p / q), axis=(1, 2)))
    expected = entropy(mixed) + entropy(branches[:, 0]) + entropy(branches[:, 1])
    np.testing.assert_allclose(loss, expected + kl_weight * temperature**2 * divergence, rtol=1e-5)


@pytest.mark.slow
def test_parameters_are_as_many_as_the_original_has():
    with keras.StatelessScope():
        count = parameter_count(MixNeXtVLAD((1024, 128), 3862))

    assert count == load_case("h_param_counts")["mix3_nextvlad_8g_112k_2048h_logistic_r16.trainable"]


@pytest.mark.parametrize(
    ("model_args", "message"),
    [
        ({"branches": 0}, "branches must be an integer of at least 1"),
        ({"temperature": 0}, "temperature must be a number of at least 0.01"),
        ({"kl_weight": -1}, "kl_weight must be a number of at least 0"),
        ({"groups": 3}, "groups of feature 0 do not divide"),
        ({"classifier": "moe"}, "Unknown classifier 'moe'. Allowed: logistic"),
    ],
)
def test_arguments_out_of_range_are_refused(model_args, message):
    with pytest.raises(UserError, match=message):
        MixNeXtVLAD((32, 8), 20, **model_args)


def test_a_classifier_of_other_branches_is_refused():
    other = MixNeXtVLAD((8,), 3, **{**SIZES, "branches": 2})

    with pytest.raises(UserError, match="must be that of a MixNeXtVLAD with 3 branches"):
        MixNeXtVLAD((8,), 3, classifier_layer=other.classifier, **SIZES)
