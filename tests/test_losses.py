"""Losses against the numbers of the original implementations, and against their definitions."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import load_case
from yt8m_distill import losses
from yt8m_distill.config.distillation import PREDICTION_DISTANCES
from yt8m_distill.config.training import LABEL_LOSSES
from yt8m_distill.errors import UserError


def value_and_gradient(function, x):
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(x)
    return value, tape.gradient(value, x)


def test_cross_entropy_agrees_with_the_starter_code():
    case = load_case("c_losses")
    value, gradient = value_and_gradient(lambda p: losses.cross_entropy(case["labels"], p), case["predictions"])
    np.testing.assert_allclose(value, case["xent_starter"], rtol=1e-5)
    np.testing.assert_allclose(gradient, case["xent_starter_grad"], rtol=1e-4)


def test_weighted_cross_entropy():
    case = load_case("c_losses")
    value, gradient = value_and_gradient(
        lambda p: losses.cross_entropy(case["labels"], p, case["label_weights"]), case["predictions"]
    )
    np.testing.assert_allclose(value, case["xent_starter_weighted"], rtol=1e-5)
    np.testing.assert_allclose(gradient, case["xent_starter_weighted_grad"], rtol=1e-4)


def test_cross_entropy_with_soft_labels():
    case = load_case("c_losses")
    value = losses.cross_entropy(case["soft_labels"], case["predictions"])
    np.testing.assert_allclose(value, case["xent_starter_soft"], rtol=1e-5)


@pytest.mark.parametrize("margin", [1, 0.5])
def test_hinge_agrees_with_the_starter_code(margin):
    case = load_case("c_losses")
    value, gradient = value_and_gradient(lambda x: losses.hinge(case["labels"], x, margin=margin), case["scores"])
    np.testing.assert_allclose(value, case[f"hinge_b{margin}"], rtol=1e-5)
    np.testing.assert_allclose(gradient, case[f"hinge_b{margin}_grad"], rtol=1e-4)


def test_softmax_agrees_with_the_starter_code():
    case = load_case("c_losses")
    value, gradient = value_and_gradient(lambda x: losses.softmax(case["labels"], x), case["scores"])
    np.testing.assert_allclose(value, case["softmax_scores"], rtol=1e-5)
    np.testing.assert_allclose(gradient, case["softmax_scores_grad"], rtol=1e-4, atol=1e-7)
    on_predictions = losses.softmax(case["labels"], case["predictions"])
    np.testing.assert_allclose(on_predictions, case["softmax_predictions"], rtol=1e-5)


@pytest.mark.parametrize("name", LABEL_LOSSES)
def test_every_label_loss_has_a_function(name):
    labels = np.array([[1.0, 0.0]], np.float32)
    good, bad = ({"predictions": np.array([p], np.float32)} for p in ([0.9, 0.2], [0.1, 0.8]))
    loss = losses.label_loss(name)
    assert float(loss(labels, good)) < float(loss(labels, bad))


def test_unknown_label_loss():
    with pytest.raises(UserError, match="known are CrossEntropyLoss"):
        losses.label_loss("MyLoss")


def test_logits_and_predictions_give_the_same_cross_entropy():
    logits = np.random.default_rng(0).normal(0, 2, (4, 6)).astype(np.float32)
    predictions = np.asarray(keras.ops.sigmoid(logits))
    labels = (np.arange(24).reshape(4, 6) % 3 == 0).astype(np.uint8)
    from_logits = losses.cross_entropy_of_outputs(labels, {"logits": logits, "predictions": predictions})
    np.testing.assert_allclose(from_logits, losses.cross_entropy(labels, predictions, epsilon=0.0), rtol=1e-5)
    np.testing.assert_allclose(
        from_logits, losses.cross_entropy_of_outputs(labels, {"predictions": predictions}), rtol=1e-5
    )


def test_a_saturated_wrong_logit_keeps_its_gradient():
    labels = np.array([[0.0]], np.float32)

    def loss(logits):
        return losses.cross_entropy_of_outputs(labels, {"logits": logits, "predictions": tf.sigmoid(logits)})

    _, gradient = value_and_gradient(loss, np.array([[40.0]], np.float32))
    np.testing.assert_allclose(gradient, [[1.0]], rtol=1e-6)


def test_representation_distance_is_the_authors_divided_by_dim():
    case = load_case("c_distillation")
    dim = case["teacher_state"].shape[1]
    value, gradient = value_and_gradient(
        lambda s: losses.representation_distance(case["teacher_state"], s), case["student_state"]
    )
    np.testing.assert_allclose(dim * value, case["l_rep"], rtol=1e-5)
    np.testing.assert_allclose(dim * gradient, case["grad_l_rep_student_state"], rtol=1e-5, atol=1e-8)


def test_categorical_kl_is_the_authors_divided_by_the_batch():
    case = load_case("c_distillation")
    batch = len(case["teacher_predictions"])
    value, gradient = value_and_gradient(
        lambda q: losses.categorical_kl({"predictions": case["teacher_predictions"]}, {"predictions": q}),
        case["student_predictions"],
    )
    np.testing.assert_allclose(batch * value, case["l_pred"], rtol=1e-5)
    np.testing.assert_allclose(batch * gradient, case["grad_l_pred_student_predictions"], rtol=1e-4, atol=1e-6)


def test_bernoulli_kl_by_its_definition():
    rng = np.random.default_rng(1)
    p, q = rng.uniform(0.01, 0.99, (2, 5, 7)).astype(np.float32)
    expected = np.mean(np.sum(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)), axis=1))
    np.testing.assert_allclose(losses.bernoulli_kl({"predictions": p}, {"predictions": q}), expected, rtol=1e-5)
    logits = np.log(q / (1 - q))
    np.testing.assert_allclose(
        losses.bernoulli_kl({"predictions": p}, {"predictions": q, "logits": logits}), expected, rtol=1e-4
    )


@pytest.mark.parametrize("name", PREDICTION_DISTANCES)
def test_prediction_distances_vanish_for_equal_predictions_only(name):
    p = np.array([[0.2, 0.7, 0.5]], np.float32)
    distance = losses.PREDICTION_DISTANCES[name]
    assert abs(float(distance({"predictions": p}, {"predictions": p}))) < 1e-6
    assert float(distance({"predictions": p}, {"predictions": p[:, ::-1].copy()})) > 0.01


@pytest.mark.parametrize("name", PREDICTION_DISTANCES)
@pytest.mark.parametrize("with_logits", [False, True])
def test_exact_zeros_and_ones_stay_finite(name, with_logits):
    teacher = {"predictions": np.array([[0.0, 1.0, 0.0, 1.0, 0.5]], np.float32)}

    def distance(logits):
        student = {"predictions": tf.sigmoid(logits), **({"logits": logits} if with_logits else {})}
        return losses.PREDICTION_DISTANCES[name](teacher, student)

    value, gradient = value_and_gradient(distance, np.array([[-200.0, 200.0, 200.0, -200.0, 0.0]], np.float32))
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("name", LABEL_LOSSES)
@pytest.mark.parametrize("with_logits", [False, True])
@pytest.mark.parametrize("labels", [[1, 0, 0, 1, 1], [0, 0, 0, 0, 0]])
def test_label_losses_of_exact_zeros_and_ones_stay_finite(name, with_logits, labels):
    def loss(logits):
        outputs = {"predictions": tf.sigmoid(logits), **({"logits": logits} if with_logits else {})}
        return losses.label_loss(name)(np.array([labels], np.uint8), outputs)

    logits = np.array([[-200.0, 200.0, -200.0, 200.0, 0.0]], np.float32)
    assert set(np.unique(tf.sigmoid(logits[:, :4]))) == {0.0, 1.0}
    value, gradient = value_and_gradient(loss, logits)
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))


def test_frame_states_distance_counts_only_the_students_frames():
    teacher, student = np.zeros((2, 3, 4), np.float32), np.zeros((2, 3, 4), np.float32)
    student[0, 1] = 2.0  # one of two frames: mean square 4 over dim, 2 over frames
    student[1, 2] = 9.0  # padding
    distance = losses.frame_states_distance(teacher, student, np.array([2, 2], np.int32))
    np.testing.assert_allclose(distance, 1.0)


@pytest.mark.parametrize("name", LABEL_LOSSES)
def test_label_weights_take_classes_out(name):
    """With the weights of a rated segment only rated classes count; softmax keeps its sum over all classes."""
    rng = np.random.default_rng(0)
    labels, predictions = (rng.uniform(size=(3, 5)) < 0.4).astype(np.float32), rng.uniform(0.1, 0.9, (3, 5))
    outputs = {"predictions": predictions.astype(np.float32)}
    loss = losses.label_loss(name)
    weights = np.zeros((3, 5), np.float32)
    assert float(loss(labels, outputs, weights)) == 0.0
    parts = [float(loss(labels, outputs, weights + (np.arange(5) == place))) for place in range(5)]
    np.testing.assert_allclose(sum(parts), float(loss(labels, outputs)), rtol=1e-5)


def test_videos_without_labels():
    labels, predictions = np.zeros((2, 3), np.float32), np.array([[0.2, 0.5, 0.9]] * 2, np.float32)
    expected = {"SoftmaxLoss": 0.0, "HingeLoss": 3 + 1.6, "CrossEntropyLoss": -np.log(0.8 * 0.5 * 0.1)}
    for name, value in expected.items():
        np.testing.assert_allclose(losses.label_loss(name)(labels, {"predictions": predictions}), value, rtol=1e-5)


def outputs_with_logits(rng, videos: int = 5, classes: int = 7) -> dict:
    logits = rng.normal(-1, 2, (videos, classes)).astype(np.float32)
    return {"logits": logits, "predictions": 1 / (1 + np.exp(-logits))}


@pytest.mark.parametrize("distance", ["kl", "squared"])
@pytest.mark.parametrize("has_logits", [True, False])
def test_temperature_by_its_definition(distance, has_logits):
    rng = np.random.default_rng(3)
    teacher, student = outputs_with_logits(rng), outputs_with_logits(rng)
    given = student if has_logits else {"predictions": student["predictions"]}
    loss = losses.PredictionLoss(distance=distance, temperature=2.5)(
        {"predictions": teacher["predictions"]}, given, None
    )
    p, q = (1 / (1 + np.exp(-outputs["logits"].astype(np.float64) / 2.5)) for outputs in (teacher, student))
    terms = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)) if distance == "kl" else (p - q) ** 2
    np.testing.assert_allclose(loss, 2.5**2 * terms.sum(axis=1).mean(), rtol=1e-4)


def test_temperature_of_saturated_predictions_is_finite():
    teacher, student = ({"predictions": np.array([p], np.float32)} for p in ([0.0, 1.0], [1.0, 0.5]))
    for loss in (losses.PredictionLoss(temperature=4.0), losses.CorrelationLoss(temperature=4.0)):
        value, gradient = value_and_gradient(
            lambda q, loss=loss: loss(teacher, {"predictions": q}, None), student["predictions"]
        )
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


def test_a_temperature_of_one_changes_nothing():
    rng = np.random.default_rng(4)
    teacher, student = outputs_with_logits(rng), outputs_with_logits(rng)
    assert losses.softened(teacher, 1.0) is teacher
    plain = losses.bernoulli_kl(teacher, student)
    assert float(losses.PredictionLoss()(teacher, student, None)) == float(plain)


@pytest.mark.parametrize("arguments", [{"temperature": 0.0}, {"temperature": 2.0, "distance": "categorical_kl"}])
def test_wrong_temperatures(arguments):
    with pytest.raises(UserError, match="temperature"):
        losses.PredictionLoss(**arguments)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_dist_by_numpys_correlations(temperature):
    rng = np.random.default_rng(5)
    teacher, student = outputs_with_logits(rng), outputs_with_logits(rng)
    p, q = (1 / (1 + np.exp(-outputs["logits"].astype(np.float64) / temperature)) for outputs in (teacher, student))
    between = np.mean([1 - np.corrcoef(*rows)[0, 1] for rows in zip(p, q, strict=True)])
    within = np.mean([1 - np.corrcoef(*columns)[0, 1] for columns in zip(p.T, q.T, strict=True)])
    loss = losses.CorrelationLoss(temperature=temperature)(teacher, student, None)
    np.testing.assert_allclose(loss, temperature**2 * (between + within), rtol=1e-4)


def test_dist_looks_at_order_and_not_at_size():
    teacher = {"predictions": np.array([[0.1, 0.5, 0.9], [0.8, 0.3, 0.2]], np.float32)}
    student = {"predictions": 0.5 * teacher["predictions"] + 0.05}
    np.testing.assert_allclose(losses.CorrelationLoss()(teacher, student, None), 0.0, atol=1e-5)


def test_where_nothing_varies_dist_has_no_gradient():
    teacher = {"predictions": np.array([[0.1, 0.5, 0.9]], np.float32)}  # one video: no correlation within classes
    value, gradient = value_and_gradient(
        lambda q: losses.CorrelationLoss()(teacher, {"predictions": q}, None), np.full((1, 3), 0.1, np.float32)
    )
    assert float(value) == 2.0
    np.testing.assert_array_equal(gradient, np.zeros((1, 3)))


def test_one_loss_by_name():
    (loss,) = losses.student_losses("rep", {"rep": 2.0})
    assert (loss.name, loss.weight) == ("rep", 2.0)


def test_shares_are_of_the_weighted_norms():
    shares = losses.GradientShares({"rep": 0.3, "pred": 0.4, "ce": 0.3})
    assert shares.by_name() == pytest.approx({"rep": 0.9, "pred": 1.2, "ce": 0.9})
    norms = np.array([0.02, 0.4, 0.6], np.float32)
    shares.add(norms)
    shares.add(np.array([np.nan, 0.4, 0.6], np.float32))  # overflowed: measures nothing
    weighted = np.array(list(shares.by_name().values())) * norms
    np.testing.assert_allclose(weighted, norms.sum() * np.array([0.3, 0.4, 0.3]), rtol=1e-5)
    shares.add(np.array([0.0, 0.4, 0.6], np.float32))
    weighted = np.array(list(shares.by_name().values())) * [0.02, 0.8, 1.2]
    np.testing.assert_allclose(weighted, 2.02 * np.array([0.3, 0.4, 0.3]), rtol=1e-5)
    assert not shares.done


def test_a_loss_without_a_gradient_has_no_weight_yet():
    shares = losses.GradientShares({"rep": 1, "ce": 1})
    shares.add(np.array([0.0, 2.0], np.float32))
    assert shares.by_name() == {"rep": 0.0, "ce": 0.5}
    with pytest.raises(UserError, match="one number above 0"):
        losses.GradientShares({"rep": 0.0, "ce": 1.0})


def test_the_loss_of_a_choice_is_the_expected_excess_of_cross_entropy():
    rng = np.random.default_rng(0)
    scores, predictions, labels = rng.normal(size=(6, 3)), rng.uniform(size=(6, 3, 4)), rng.integers(0, 2, (6, 4))
    scores[:2, 1:] = -1e9  # frames that there are not
    targets = labels[:, None]
    entropy = -np.sum(targets * np.log(predictions) + (1 - targets) * np.log(1 - predictions), axis=-1)
    chances = np.exp(scores - scores.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    excess = entropy - np.where(chances > 0, entropy, np.inf).min(axis=1, keepdims=True)
    expected = np.mean(np.sum(chances * excess, axis=1))
    arguments = (tf.constant(values, tf.float32) for values in (scores, predictions, labels))
    assert float(losses.frame_choice_loss(*arguments, epsilon=0.0)) == pytest.approx(expected, rel=1e-5)
