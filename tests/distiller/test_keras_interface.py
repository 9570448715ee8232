"""Training steps in Keras's `compile`, `fit` and `evaluate`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.distiller.test_distiller import batch, small_model
from yt8m_distill.distiller import Distiller, LabelTrainer
from yt8m_distill.errors import UserError
from yt8m_distill.metrics import EvaluationMetrics, GlobalAveragePrecision, MeanAveragePrecision


def distiller(**options) -> Distiller:
    return Distiller(small_model("FrameLevelLogistic"), small_model("FrameLevelLogistic", seed=1), **options)


def without_indices(data):
    inputs, labels = data
    return {name: inputs[name] for name in ("frames", "num_frames")}, labels


def test_metrics_of_compile_are_those_of_the_students_predictions():
    trainer = distiller(losses=("pred", "ce"))
    metrics = [GlobalAveragePrecision(top_k=3), MeanAveragePrecision(top_k=3), "binary_accuracy"]
    trainer.compile(optimizer=keras.optimizers.SGD(0.05), metrics=metrics)
    inputs, labels = batch()
    dataset = tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(4)
    history = trainer.fit(dataset, epochs=2, verbose=0, validation_data=dataset).history
    terms = {"loss", "pred", "ce", "regularization"}
    measured = {"GAP@3", "mAP", "binary_accuracy"}
    assert history.keys() == terms | measured | {f"val_{name}" for name in {"loss", *measured}}
    results = trainer.evaluate(dataset, verbose=0, return_dict=True)
    expected = EvaluationMetrics(5, 3)
    expected.update(trainer(inputs)["predictions"], labels)
    assert results["GAP@3"] == history["val_GAP@3"][-1] == pytest.approx(expected.result()["GAP@3"])
    assert results["mAP"] == pytest.approx(expected.result()["mAP"])
    assert results.keys() == {"loss", *measured}


def test_classes_that_are_not_rated_are_predicted_0():
    model = small_model("FrameLevelLogistic")
    trainer = LabelTrainer(model)
    trainer.compile(metrics=[GlobalAveragePrecision()], run_eagerly=True)
    inputs, _ = without_indices(batch())
    rng = np.random.default_rng(1)
    scores, rated = rng.uniform(size=(6, 5)).astype(np.float32), rng.integers(0, 2, (6, 5)).astype(np.float32)
    results = trainer.test_step((inputs, tf.constant(scores * rated), tf.constant(rated)))
    expected = EvaluationMetrics(5)
    expected.update(model(inputs)["predictions"].numpy() * rated, scores * rated > 0)
    assert float(results["GAP@20"]) == pytest.approx(expected.result()["GAP@20"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "binary_crossentropy"}, "has its losses from its constructor"),
        ({"loss_weights": {"ce": 2.0}}, "has its losses from its constructor"),
        ({"weighted_metrics": ["mse"]}, "every video counts alike"),
    ],
)
def test_what_compile_would_ignore_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        distiller().compile(optimizer="sgd", **options)


@pytest.mark.parametrize("missing", [("student_indices",), ("student_num_frames",), ()])
def test_fit_refuses_a_student_that_would_see_all_frames(missing):
    trainer = distiller()
    trainer.compile(optimizer="sgd")
    inputs, labels = batch()
    data = without_indices((inputs, labels))
    if missing:
        data = {name: value for name, value in inputs.items() if name not in missing}, labels
    with pytest.raises(UserError, match="the student would see all frames, as its teacher does"):
        trainer.fit(tf.data.Dataset.from_tensors(data), verbose=0)


def test_after_a_refused_batch_fit_takes_a_right_one():
    trainer = distiller()
    trainer.compile(optimizer="adam", metrics=[GlobalAveragePrecision()])
    with pytest.raises(UserError, match="the student would see all frames"):
        trainer.fit(tf.data.Dataset.from_tensors(without_indices(batch())), verbose=0)
    history = trainer.fit(tf.data.Dataset.from_tensors(batch()), verbose=0).history
    assert {"pred", "GAP@20"} <= history.keys()


def test_a_student_on_labels_alone_or_with_stored_outputs_needs_no_indices():
    inputs, labels = without_indices(batch())
    alone = distiller(losses=["ce"])
    alone.compile(optimizer="sgd")
    assert np.isfinite(float(alone.train_step((inputs, labels))["ce"]))
    stored = distiller(losses=["pred"])
    stored.compile(optimizer="sgd")
    assert np.isfinite(
        float(stored.train_step(({**inputs, "teacher_predictions": tf.fill([6, 5], 0.2)}, labels))["pred"])
    )
