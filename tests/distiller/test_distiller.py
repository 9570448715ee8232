"""The training steps: what changes, what does not, and the original's numbers."""

import itertools
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import load_case
from yt8m_distill.config.distillation import PREDICTION_DISTANCES, STUDENT_LOSSES
from yt8m_distill.config.training import LABEL_LOSSES
from yt8m_distill.distiller import Distiller, LabelTrainer, student_view
from yt8m_distill.distiller.label_trainer import _clipped
from yt8m_distill.errors import UserError
from yt8m_distill.losses import LabelLoss, Loss, PredictionLoss, RepresentationLoss
from yt8m_distill.models.building import build_model
from yt8m_distill.models.starting_weights import start_from_classifier
from yt8m_distill.plugins import MODELS
from yt8m_distill.quantization import dequantize
from yt8m_distill.tf1.weights import load_reference_weights

SMALL = {
    "HierarchicalRNN": {"cells": 3, "layers": 2, "block_length": 3},
    "NetVLAD": {"clusters": 4, "hidden_size": 5},
    "NeXtVLAD": {"clusters": 4, "groups": 2, "hidden_size": 6, "gating_reduction": 2},
    "MixNeXtVLAD": {"branches": 2, "clusters": 4, "groups": 2, "hidden_size": 6, "gating_reduction": 2},
    "Dbof": {"clusters": 7, "hidden_size": 5},
    "Lstm": {"cells": 3},
}
SUBSETS = [subset for size in (1, 2, 3) for subset in itertools.combinations(STUDENT_LOSSES, size)]


def small_model(name: str, seed: int = 0, **options):
    keras.utils.set_random_seed(seed)
    return build_model(name, feature_sizes=(6, 4), num_classes=5, **SMALL.get(name, {}), **options)


def pair(name: str, mode: str):
    teacher = small_model(name)
    options = {"classifier_layer": teacher.classifier} if mode == "parallel" else {}
    return teacher, small_model(name, seed=1, **options)


def batch(videos: int = 6, frames: int = 8, k: int = 3):
    rng = np.random.default_rng(0)
    num_frames = np.array([8, 7, 5, 4, 3, 2][:videos], np.int32)
    indices = np.stack([np.minimum(np.arange(k) * n // k, n - 1) for n in num_frames]).astype(np.int32)
    inputs = {
        "frames": rng.integers(0, 256, (videos, frames, 10), dtype=np.uint8),
        "num_frames": num_frames,
        "student_indices": indices,
        "student_num_frames": np.minimum(num_frames, k).astype(np.int32),
    }
    labels = (rng.uniform(size=(videos, 5)) < 0.3).astype(np.uint8)
    return {name: tf.constant(value) for name, value in inputs.items()}, tf.constant(labels)


def compiled(trainer, rate: float = 0.05):
    trainer.compile(optimizer=keras.optimizers.SGD(rate))
    return trainer


def weights(model) -> dict[str, np.ndarray]:
    return {f"{i} {v.path}": v.numpy().copy() for i, v in enumerate(model.weights)}


def changed(before: dict, after: dict) -> set[str]:
    return {name for name in before if not np.array_equal(before[name], after[name])}


# Every family with all losses, and every subset of the losses with one family.
CASES = [(name, STUDENT_LOSSES) for name in MODELS.names()] + [("NetVLAD", subset) for subset in SUBSETS[:-1]]


def classifier_changes(model, before: dict) -> bool:
    names = {f"{i} {v.path}" for i, v in enumerate(model.weights) if any(v is c for c in model.classifier.weights)}
    return bool(names & changed(before, weights(model)))


@pytest.mark.parametrize(("name", "losses"), CASES)
def test_serial_step_changes_the_student_and_nothing_of_the_teacher(name, losses):
    teacher, student = pair(name, "serial")
    distiller = compiled(Distiller(teacher, student, mode="serial", losses=losses))
    before = weights(teacher), weights(student)
    logs = distiller.train_step(batch())
    assert set(logs) == {"loss", "regularization", *losses}
    assert all(np.isfinite(float(value)) for value in logs.values())
    assert changed(before[0], weights(teacher)) == set()
    assert changed(before[1], weights(student))
    assert classifier_changes(student, before[1]) == (losses != ("rep",))


def test_a_teacher_that_no_loss_reads_does_not_run(monkeypatch):
    teacher, student = pair("NetVLAD", "serial")
    monkeypatch.setattr(type(teacher), "__call__", mock.Mock(side_effect=AssertionError), raising=True)
    with pytest.raises(AssertionError):
        Distiller(teacher, student).constant_outputs(batch()[0])
    assert Distiller(teacher, student, losses=("ce",)).constant_outputs(batch()[0]) == {}


@pytest.mark.parametrize(("name", "losses"), CASES)
def test_parallel_step_changes_both_and_the_one_classifier(name, losses):
    teacher, student = pair(name, "parallel")
    distiller = compiled(Distiller(teacher, student, mode="parallel", losses=losses))
    before = weights(teacher), weights(student)
    logs = distiller.train_step(batch())
    assert set(logs) == {"loss", "regularization", "teacher_ce", *losses}
    assert changed(before[0], weights(teacher))
    assert changed(before[1], weights(student))
    assert student.classifier is teacher.classifier


@pytest.mark.parametrize("name", MODELS.names())
def test_rep_alone_trains_the_encoder_where_there_is_one(name):
    teacher, student = pair(name, "serial")
    if not student.encoder_variables:
        with pytest.raises(UserError, match="rep alone trains nothing of"):
            Distiller(teacher, student, losses=("rep",))
        return
    before = weights(student)
    compiled(Distiller(teacher, student, losses=("rep",))).train_step(batch())
    assert changed(before, weights(student))
    assert not classifier_changes(student, before)


@pytest.mark.parametrize("losses", [("rep",), ("pred",), ("rep", "pred", "ce")])
def test_the_student_losses_send_no_gradient_into_the_teacher(losses):
    """The teacher's encoder moves exactly as if it learned from the labels alone."""
    inputs, labels = batch()
    teacher, student = pair("NetVLAD", "parallel")
    alone = small_model("NetVLAD")
    compiled(Distiller(teacher, student, mode="parallel", losses=losses)).train_step((inputs, labels))
    compiled(LabelTrainer(alone)).train_step((inputs, labels))
    for ours, expected in zip(teacher.encoder_variables, alone.encoder_variables, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-7)


def test_the_total_is_the_weighted_sum_of_the_terms():
    teacher, student = pair("NetVLAD", "serial")
    weighting = {"rep": 3.0, "pred": 0.5, "ce": 2.0}
    logs = compiled(Distiller(teacher, student, loss_weights=weighting)).train_step(batch())
    expected = sum(weighting[name] * float(logs[name]) for name in weighting) + float(logs["regularization"])
    np.testing.assert_allclose(float(logs["loss"]), expected, rtol=1e-6)


@pytest.mark.parametrize("mode", ["serial", "parallel"])
def test_each_model_runs_once_a_step(mode, monkeypatch):
    teacher, student = pair("NetVLAD", mode)
    calls = []
    for role, model in (("teacher", teacher), ("student", student)):
        original = model.encode
        monkeypatch.setattr(
            model, "encode", lambda *a, role=role, original=original: (calls.append(role), original(*a))[1]
        )
    compiled(Distiller(teacher, student, mode=mode)).train_step(batch())
    assert sorted(calls) == ["student", "teacher"]


def test_a_shared_classifier_is_regularized_once():
    teacher, student = pair("NetVLAD", "parallel")
    logs = compiled(Distiller(teacher, student, mode="parallel", regularization_penalty=2.0)).train_step(batch())
    kernel = [v for v in small_model("NetVLAD").classifier.trainable_variables if v.regularizer is not None]
    expected = 2.0 * sum(1e-8 * float(np.sum(np.square(v.numpy()))) / 2 for v in kernel)
    np.testing.assert_allclose(float(logs["regularization"]), expected, rtol=1e-5)


def test_student_view_gathers_the_students_frames():
    inputs, _ = batch()
    view = student_view(inputs)
    expected = [inputs["frames"].numpy()[i][inputs["student_indices"].numpy()[i]] for i in range(6)]
    np.testing.assert_array_equal(view["frames"], np.stack(expected))


def test_intermediate_matching_compares_states_at_the_same_frames():
    teacher, student = pair("HierarchicalRNN", "serial")
    inputs, labels = batch(k=8)
    inputs["student_indices"] = tf.tile(tf.range(8)[None], [6, 1])
    inputs["student_num_frames"] = inputs["num_frames"]
    student.set_weights(teacher.get_weights())
    options = {"losses": ("rep",), "representation_matching": "intermediate"}
    logs = compiled(Distiller(teacher, student, **options)).train_step((inputs, labels))
    assert float(logs["rep"]) == pytest.approx(0.0, abs=1e-10)
    other = small_model("HierarchicalRNN", seed=5)
    logs = compiled(Distiller(teacher, other, **options)).train_step((inputs, labels))
    assert float(logs["rep"]) > 1e-6


def test_intermediate_matching_needs_states_of_one_size():
    sizes = {"feature_sizes": (6, 4), "num_classes": 5}
    one, other = (
        build_model("HierarchicalRNN", cells=cells, layers=layers, **sizes) for cells, layers in ((4, 1), (2, 2))
    )
    vlad = build_model("NetVLAD", clusters=2, hidden_size=8, **sizes)
    for teacher, student, message in (
        (one, vlad, "NetVLAD has none"),
        (vlad, one, "NetVLAD has none"),
        (one, other, "the teacher's have 4 values, the student's 2"),
    ):
        assert teacher.representation_size == student.representation_size
        with pytest.raises(UserError, match=message):
            Distiller(teacher, student, representation_matching="intermediate")


def test_objects_and_names_are_the_same_losses():
    options = {"loss_weights": {"rep": 2.0, "ce": 0.5}, "prediction_distance": "squared", "label_loss": "HingeLoss"}
    objects = [LabelLoss(0.5, "HingeLoss"), PredictionLoss(distance="squared"), RepresentationLoss(2.0)]
    logs = []
    for settings in (options, {"losses": objects}):
        distiller = compiled(Distiller(*pair("NetVLAD", "serial"), **settings))
        assert [loss.name for loss in distiller.student_losses] == ["rep", "pred", "ce"]
        logs.append({name: float(value) for name, value in distiller.train_step(batch()).items()})
    assert logs[0] == logs[1]


class GatesLoss(Loss):
    """Reads an intermediate of both models, and nothing of the classifiers."""

    teacher_outputs = ("gates",)
    reaches_classifier = False

    def __call__(self, teacher, student, batch):
        assert batch.inputs["student_indices"].shape == (6, 3)
        assert batch.label_weights is None
        return tf.reduce_mean(tf.square(teacher["gates"] - student["gates"]))


def test_a_loss_of_ones_own():
    teacher, student = pair("NetVLAD", "serial")
    distiller = compiled(Distiller(teacher, student, losses=[GatesLoss(weight=3.0)]))
    before = weights(teacher), weights(student)
    inputs, labels = batch()
    logs = distiller.train_step((inputs, labels))
    assert set(logs) == {"loss", "GatesLoss", "regularization"}
    np.testing.assert_allclose(float(logs["loss"]), 3.0 * float(logs["GatesLoss"]) + float(logs["regularization"]))
    assert changed(before[0], weights(teacher)) == set()
    assert changed(before[1], weights(student))
    assert not classifier_changes(student, before[1])


@pytest.mark.parametrize(
    "loss", [RepresentationLoss(2.0, "intermediate"), PredictionLoss(distance="squared"), LabelLoss(0.5, "HingeLoss")]
)
def test_losses_survive_serialization(loss):
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(copy) is type(loss)
    assert copy.get_config() == loss.get_config()


def test_representations_of_two_sizes_are_refused_before_the_first_step():
    teacher = small_model("NetVLAD")
    student = build_model("NetVLAD", feature_sizes=(6, 4), num_classes=5, clusters=4, hidden_size=4)
    with pytest.raises(UserError, match="the teacher's has 5 and the student's 4 values"):
        Distiller(teacher, student, losses=["rep"])
    Distiller(teacher, student, losses=["pred", "ce"])


def test_start_from_classifier():
    teacher, student = pair("NeXtVLAD", "serial")
    start_from_classifier(student, teacher)
    for ours, expected in zip(student.classifier.weights, teacher.classifier.weights, strict=True):
        np.testing.assert_array_equal(ours, expected)
    smaller = build_model("NeXtVLAD", feature_sizes=(6, 4), num_classes=5, **{**SMALL["NeXtVLAD"], "hidden_size": 4})
    with pytest.raises(UserError, match="same classifier"):
        start_from_classifier(smaller, teacher)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "both"}, "known are serial, parallel"),
        ({"mode": "parallel"}, "classifier_layer"),
        ({"losses": ()}, "one or more"),
        ({"losses": ("rep", "kd")}, "Unknown loss 'kd'. Known: rep, pred, dist, ce"),
        ({"losses": ("rep",), "loss_weights": {"ce": 1.0}}, "not a name in losses"),
        ({"losses": [LabelLoss()], "loss_weights": {"ce": 1.0}}, "not a name in losses"),
        ({"losses": ["ce", LabelLoss()]}, "'ce' of a loss is taken"),
        ({"losses": [LabelLoss(name="loss")]}, "'loss' of a loss is taken"),
        ({"losses": [LabelLoss(weight=0.0)]}, "at least one loss with a weight above 0"),
        ({"losses": ["rep", len]}, "names or Loss objects, not <built-in function len>"),
        ({"loss_weights": {"ce": -1.0}}, "0 or more"),
        ({"prediction_distance": "l3"}, "known are kl"),
        ({"representation_matching": "every"}, "known are final"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(UserError, match=message):
        Distiller(*pair("NetVLAD", "serial"), **options)


def saturate(model, inputs):
    """Makes the model's predictions exactly 0 and 1, in turns over the classes; a mixture's 1 may be a step less."""
    certain = np.where(np.arange(5) % 2, 200.0, -200.0).astype(np.float32)
    if model.classifier.kind == "moe":
        gates, experts, biases = model.classifier.variables
        # The gates of both experts are open, the third one, for "no", is shut.
        gates.assign(np.broadcast_to(np.tile([1e6, 1e6, 0.0], 5), gates.shape))
        experts.assign(np.zeros(experts.shape))
        biases.assign(np.repeat(certain, 2))
    else:
        kernel, biases = model.classifier.variables
        kernel.assign(np.zeros(kernel.shape))
        biases.assign(certain)
    video = {name: inputs[name] for name in ("frames", "num_frames")}
    outputs = {name: value.numpy() for name, value in model(video).items()}
    predictions = outputs["predictions"][outputs["representation"].any(axis=1)]  # zeros leave a mixture undecided
    assert len(predictions) > 3
    np.testing.assert_array_equal(predictions[:, ::2], 0.0)
    np.testing.assert_allclose(predictions[:, 1::2], 1.0, rtol=1e-7 if model.classifier.kind == "moe" else 0)


@pytest.mark.parametrize("mode", ["serial", "parallel"])
@pytest.mark.parametrize("classifier", ["logistic", "moe"])
@pytest.mark.parametrize(("distance", "label_loss"), list(zip(PREDICTION_DISTANCES, LABEL_LOSSES, strict=True)))
def test_a_teacher_that_is_certain_gives_finite_steps(mode, classifier, distance, label_loss):
    teacher = small_model("NetVLAD", classifier=classifier)
    shared = {"classifier_layer": teacher.classifier} if mode == "parallel" else {"classifier": classifier}
    student = small_model("NetVLAD", seed=1, **shared)
    inputs, labels = batch()
    saturate(teacher, inputs)
    if mode == "serial":
        start_from_classifier(student, teacher)  # so that the student is as certain
    before = weights(student)
    options = {"prediction_distance": distance, "label_loss": label_loss}
    distiller = compiled(Distiller(teacher, student, mode=mode, **options))
    for _ in range(2):
        logs = distiller.train_step((inputs, labels))
        assert all(np.isfinite(float(value)) for value in logs.values())
    for model in (teacher, student):
        assert all(np.isfinite(value).all() for value in model.get_weights())
    assert changed(before, weights(student))


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS.names())
def test_fit_works_and_evaluates(name):
    teacher, student = pair(name, "serial")
    distiller = compiled(Distiller(teacher, student), 0.01)
    distiller.run_eagerly = name != "NetVLAD"  # compiling takes longer than all steps; the commands' tests do it
    inputs, labels = batch()
    dataset = tf.data.Dataset.from_tensors((inputs, labels)).repeat(3)
    history = distiller.fit(dataset, epochs=2, verbose=0)
    assert len(history.history["loss"]) == 2
    assert history.history["loss"][1] < history.history["loss"][0]
    assert np.isfinite(distiller.evaluate(dataset, verbose=0))


def test_label_weights_leave_out_classes():
    model = small_model("NetVLAD")
    inputs, labels = batch()
    video = {name: inputs[name] for name in ("frames", "num_frames")}
    logs = compiled(LabelTrainer(model)).train_step((video, labels, tf.zeros(labels.shape)))
    assert float(logs["ce"]) == 0.0


def test_gradients_are_clipped_by_each_variables_own_norm():
    case = load_case("c_gradient_clip")
    trainer = LabelTrainer(small_model("NetVLAD"), clip_gradient_norm=1.0)
    for i in range(3):
        gradient = tf.constant(case[f"grad{i}"])
        for scale in (1.0, 2.0**40):
            clipped = _clipped(gradient * scale, trainer.clip_gradient_norm, tf.constant(scale)) / scale
            np.testing.assert_allclose(clipped, case[f"clipped{i}"], rtol=1e-6)
        # A loss's scale in float16 grows for as long as nothing overflows.
        overflown = _clipped(gradient * 2.0**100, trainer.clip_gradient_norm, tf.constant(2.0**100))
        assert np.isnan(overflown).all()
    before = [v.numpy().copy() for v in trainer.model.trainable_variables]
    compiled(trainer, 1.0).train_step(batch())
    for variable, old in zip(trainer.model.trainable_variables, before, strict=True):
        assert np.linalg.norm(variable.numpy() - old) <= 1.0 + 1e-5


def authors_pair():
    """Teacher and student of the case with the complete original training step."""
    case = load_case("f_hlstm_distillation_train")
    sizes = {"feature_sizes": (5,), "num_classes": case["labels"].shape[1]}
    args = {"cells": 4, "layers": 2, "classifier": "moe", "mixtures": 2, "dropout": 0.0}
    arrays = {name[2:]: value for name, value in case.items() if name.startswith("w.")}
    models = []
    for scope, block_length in (("model", 15), ("model_student", 6)):
        model = build_model("HierarchicalRNN", **sizes, **args, block_length=block_length)
        load_reference_weights(model, {n: v for n, v in arrays.items() if n.startswith(f"{scope}.")})
        models.append(model)
    return case, *models


def test_the_authors_complete_training_step():
    """Losses and gradients of one batch; their total has rep summed over dim, twice, and pred summed over the batch."""
    case, teacher, student = authors_pair()
    frames = dequantize(tf.constant(case["input_bytes"])).numpy()
    frames *= (np.arange(300)[None] < case["num_frames"][:, None])[..., None]
    frames /= np.sqrt(np.maximum(np.sum(frames**2, axis=2, keepdims=True), 1e-12))
    inputs = {
        "frames": tf.constant(frames),
        "num_frames": tf.constant(case["num_frames"]),
        "student_indices": tf.tile(tf.constant(case["student_frame_index"])[None], [6, 1]),
        "student_num_frames": tf.constant(case["student_num_frames"].astype(np.int32)),
    }
    distiller = Distiller(teacher, student, mode="serial", prediction_distance="categorical_kl")
    outputs = teacher({"frames": inputs["frames"], "num_frames": inputs["num_frames"]})
    np.testing.assert_allclose(outputs["representation"], case["teacher_state"], rtol=1e-4, atol=1e-5)
    with tf.GradientTape() as tape:
        student_outputs = student(student_view(inputs))
        terms = distiller.student_terms(outputs, student_outputs, inputs, tf.constant(case["labels"]))
        total = 2 * 16 * terms["rep"] + 6 * terms["pred"] + terms["ce"]
        total += 2 * tf.add_n([v.regularizer(v) for v in student.trainable_variables if v.regularizer is not None])
    np.testing.assert_allclose(student_outputs["representation"], case["student_state"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(16 * terms["rep"], case["l_rep"], rtol=1e-5)
    np.testing.assert_allclose(6 * terms["pred"], case["l_pred"], rtol=1e-5)
    # The original's epsilon of 1e-5 inside the logarithms is left out in training.
    np.testing.assert_allclose(terms["ce"], case["student_label_loss"], rtol=1e-4)
    np.testing.assert_allclose(total, case["total_student_loss"], rtol=1e-4)
    gradients = tape.gradient(total, [v.value for v in student.classifier.trainable_variables])
    norms = sorted(float(np.linalg.norm(gradient)) for gradient in gradients)
    expected = sorted(
        float(case[f"gradnorm.model_student.classifier.{name}"])
        for name in ("gates.weights", "experts.weights", "experts.biases")
    )
    np.testing.assert_allclose(norms, expected, rtol=1e-3)
