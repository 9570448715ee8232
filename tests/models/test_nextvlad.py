"""NeXtVLAD against the authors' code: forward pass and one training step."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import load_case
from tests.models.reference import FEATURE_SIZES, cross_entropy, load_case_weights, originals_of_variables
from yt8m_distill.errors import UserError
from yt8m_distill.models import NeXtVLAD
from yt8m_distill.training.fused_adam import FusedAdam

SIZES = {"clusters": 8, "groups": 4, "hidden_size": 16, "expansion": 2, "gating_reduction": 4}


def _model(case: dict[str, np.ndarray], **model_args) -> NeXtVLAD:
    model = NeXtVLAD(FEATURE_SIZES, 20, **SIZES, **model_args)
    load_case_weights(model, case)
    return model


@pytest.mark.parametrize("classifier", ["logistic", "moe"])
@pytest.mark.parametrize("inputs", ["inputs", "inputs_garbage"])
def test_forward_equals_the_original(classifier, inputs):
    case = load_case(f"e_nextvlad_{classifier}")
    model = _model(case, classifier=classifier)

    outputs = model({"frames": case[inputs], "num_frames": case["num_frames"]}, return_intermediates=True)

    np.testing.assert_allclose(outputs["representation"], case["hidden"], rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(outputs["predictions"], case["predictions"], rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(outputs["gates"], case["gates"], rtol=1e-4, atol=2e-5)
    assert ("logits" in outputs) == (classifier == "logistic")
    if classifier == "logistic":
        np.testing.assert_allclose(outputs["logits"], case["logits"], rtol=1e-4, atol=2e-5)
    # Each group's assignment sums to its attention.
    attention = np.reshape(case["video_attention"], (5, 12, 4))
    np.testing.assert_allclose(np.sum(outputs["assignment_0"], axis=-1), attention, rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(sum(map(float, model.losses)), case["regularization_loss"], rtol=1e-5)


@pytest.fixture(scope="module")
def training_step():
    """One step as in the case: the originals by name, the loss and its gradients, and the model after Adam."""
    case = load_case("f_nextvlad_train")
    model = _model(case, dropout=0.0)
    for pooling in model.poolings:
        pooling.mask_statistics = False
    by_name = originals_of_variables(model, case)
    with tf.GradientTape() as tape:
        outputs = model({"frames": case["inputs"], "num_frames": case["num_frames"]}, training=True)
        label_loss = cross_entropy(outputs["predictions"], case["labels"], 1e-8)
        loss = label_loss + tf.add_n(model.losses)
    gradients = dict(zip(by_name, tape.gradient(loss, list(by_name.values())), strict=True))
    optimizer = FusedAdam(float(case["hp.learning_rate"]), epsilon=1e-8, clipnorm=1.0)
    # Keras's `clipnorm` clips each variable by its own norm, as the original does.
    variables = {id(variable.value): variable for variable in model.trainable_variables}
    optimizer.apply(list(gradients.values()), [variables[id(value)] for value in by_name.values()])
    return case, model, by_name, outputs, label_loss, loss, gradients


def test_training_loss_equals_the_original(training_step):
    case, _, _, outputs, label_loss, loss, _ = training_step

    np.testing.assert_allclose(outputs["predictions"], case["predictions"], rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(label_loss, case["label_loss"], rtol=1e-5)
    np.testing.assert_allclose(loss, case["final_loss"], rtol=1e-5)


def test_gradients_equal_the_original(training_step):
    case, *_, gradients = training_step

    assert set(gradients) == {key.removeprefix("grad.") for key in case if key.startswith("grad.")}
    for name, gradient in gradients.items():
        if name.endswith("vlad_bn.beta"):
            # The next batch normalization takes any shift away again: what is left is rounding.
            np.testing.assert_allclose(gradient, case[f"grad.{name}"], rtol=0, atol=1e-5)
            continue
        np.testing.assert_allclose(gradient, case[f"grad.{name}"], rtol=2e-3, atol=2e-6, err_msg=name)
        np.testing.assert_allclose(np.linalg.norm(gradient), case[f"gradnorm.{name}"], rtol=1e-3, err_msg=name)


def test_moving_statistics_equal_the_original(training_step):
    case, model, *_ = training_step
    layers = {
        "video_VLAD.cluster_bn": model.poolings[0].cluster_bn,
        "video_VLAD.vlad_bn": model.poolings[0].vlad_bn,
        "audio_VLAD.cluster_bn": model.poolings[1].cluster_bn,
        "audio_VLAD.vlad_bn": model.poolings[1].vlad_bn,
        "hidden1_bn": model.hidden_bn,
        "gating_bn": model.gating.batch_norm,
    }

    for name, layer in layers.items():
        for part in ("moving_mean", "moving_variance"):
            expected = case[f"after_update_ops.{name}.{part}"]
            np.testing.assert_allclose(getattr(layer, part), expected, rtol=1e-5, atol=1e-6, err_msg=f"{name}.{part}")


def test_adam_step_equals_the_original(training_step):
    case, _, by_name, *_ = training_step

    for name, value in by_name.items():
        if name.endswith("vlad_bn.beta"):
            continue
        expected, large = case[f"after_adam_step.{name}"], np.abs(case[f"grad.{name}"]) > 1e-4
        np.testing.assert_allclose(value.numpy()[large], expected[large], rtol=0, atol=2e-6, err_msg=name)
        np.testing.assert_allclose(value, expected, rtol=0, atol=4.1e-4, err_msg=name)


def test_further_features_have_half_the_clusters_and_groups():
    model = NeXtVLAD((8, 8, 4), 3, clusters=5, groups=1, hidden_size=8)

    assert [pooling.clusters for pooling in model.poolings] == [5, 2, 2]
    assert [pooling.groups for pooling in model.poolings] == [1, 1, 1]


@pytest.mark.parametrize(
    ("model_args", "message"),
    [
        ({"groups": 3}, "groups of feature 0 do not divide"),
        ({"groups": 32}, "16 groups of feature 1 do not divide"),
        ({"clusters": 0}, "clusters must be an integer of at least 1, not 0"),
        ({"expansion": 1.5}, "expansion must be an integer"),
        ({"dropout": 1.0}, "dropout must be a number of at least 0 and below 1"),
        ({"hidden_size": 4, "gating_reduction": 8}, "gating_reduction must be at most hidden_size"),
    ],
)
def test_arguments_out_of_range_are_refused(model_args, message):
    with pytest.raises(UserError, match=message):
        NeXtVLAD((32, 4), 20, **model_args)
