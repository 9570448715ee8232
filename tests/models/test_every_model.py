"""What every model of the registry must do; a new model is tested here as soon as it is registered."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.reference import cross_entropy
from yt8m_distill.models.building import build_model
from yt8m_distill.models.video_model import VideoModel
from yt8m_distill.plugins import MODELS

FEATURE_SIZES, CLASSES, FRAMES = (12, 4), 7, 8
NUM_FRAMES = np.array([8, 5, 1, 0, 3], np.int32)
TINY = {
    "HierarchicalRNN": {"cells": 4, "block_length": 3},
    "NetVLAD": {"clusters": 4, "hidden_size": 6},
    "NeXtVLAD": {"clusters": 4, "groups": 2, "hidden_size": 8, "gating_reduction": 2},
    "MixNeXtVLAD": {"branches": 2, "clusters": 4, "groups": 2, "hidden_size": 6, "gating_reduction": 2},
    "FrameLevelLogistic": {},
    "Dbof": {"clusters": 6, "hidden_size": 5},
    "Lstm": {"cells": 4},
    "Logistic": {},
    "Moe": {},
}


@pytest.fixture(params=MODELS.names())
def name(request) -> str:
    return request.param


def without_dropout(name: str) -> dict[str, float]:
    """The argument that switches dropout off, where the model has it."""
    return {"dropout": 0.0} if "dropout" in MODELS.get(name).argument_defaults() else {}


def _build(name: str, **model_args) -> VideoModel:
    """A tiny model whose batch normalization has seen a batch, as a fresh one hides mistakes."""
    model = build_model(name, feature_sizes=FEATURE_SIZES, num_classes=CLASSES, **TINY[name], **model_args)
    model(_inputs(seed=9), training=True)
    return model


def _inputs(seed: int = 0) -> dict[str, np.ndarray]:
    frames = np.random.default_rng(seed).integers(0, 256, (len(NUM_FRAMES), FRAMES, sum(FEATURE_SIZES)), np.uint8)
    return {"frames": frames, "num_frames": NUM_FRAMES}


def _float_inputs() -> dict[str, np.ndarray]:
    inputs = _inputs()
    return {**inputs, "frames": inputs["frames"].astype(np.float32) / 128 - 1}


def _assert_equal(ours: dict, theirs: dict, rows: slice = slice(None), atol: float = 2e-6) -> None:
    for key in ("representation", "predictions"):
        np.testing.assert_allclose(ours[key], np.array(theirs[key])[rows], rtol=1e-5, atol=atol, err_msg=key)


def test_outputs_keep_the_contract(name):
    outputs = _build(name)(_inputs())

    videos = len(NUM_FRAMES)
    assert outputs["predictions"].shape == (videos, CLASSES)
    assert ("logits" in outputs) == (MODELS.get(name).classifiers[0] == "logistic")
    assert outputs["representation"].shape[0] == videos
    assert {value.dtype for value in outputs.values()} == {tf.float32}
    assert np.min(outputs["predictions"]) >= 0
    assert np.max(outputs["predictions"]) <= 1


@pytest.mark.slow
def test_one_training_step_changes_every_variable(name):
    model, labels = _build(name, **without_dropout(name)), np.eye(CLASSES)[: len(NUM_FRAMES)].astype(np.float32)
    before = [variable.numpy() for variable in model.trainable_variables]
    optimizer = keras.optimizers.Adam(0.01)

    def step(inputs):  # not compiled, which would take longer than all steps
        with tf.GradientTape() as tape:
            loss = cross_entropy(model(inputs, training=True)["predictions"], labels, 1e-5) + tf.add_n(model.losses)
        gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    inputs = tf.nest.map_structure(tf.constant, _inputs())
    first = float(step(inputs))
    after = [variable.numpy() for variable in model.trainable_variables]
    last = [float(step(inputs)) for _ in range(15)][-1]

    for variable, old, new in zip(model.trainable_variables, before, after, strict=True):
        assert np.abs(new - old).max() > 0, variable.path
    assert last < 0.9 * first


def _with_classifier(name: str, classifier: str) -> dict:
    """The arguments for it; skips the test where the model has no such classifier."""
    known = MODELS.get(name).classifiers
    if classifier not in known:
        pytest.skip(f"{name} has no classifier {classifier}")
    moe = {"mixtures": 3, "moe_gating": "prob", "moe_gate_rank": 2} if classifier == "moe" else {}
    return {**({"classifier": classifier} if len(known) > 1 else {}), **moe}


@pytest.mark.parametrize("classifier", ["logistic", "moe"])
def test_saved_file_gives_equal_predictions(name, classifier, tmp_path):
    model = _build(name, **_with_classifier(name, classifier))
    model.save(tmp_path / "model.keras")

    loaded = keras.models.load_model(tmp_path / "model.keras")

    np.testing.assert_array_equal(loaded(_inputs())["predictions"], model(_inputs())["predictions"])
    assert type(loaded) is type(model)
    assert loaded.model_args == model.model_args
    assert loaded.classifier.get_config() == model.classifier.get_config()


def test_a_tensorflow_checkpoint_holds_every_weight(name, tmp_path):
    model = _build(name)
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "checkpoint"))
    fresh = build_model(name, feature_sizes=FEATURE_SIZES, num_classes=CLASSES, **TINY[name])

    tf.train.Checkpoint(model=fresh).read(path).assert_consumed()

    for variable, copy in zip(model.variables, fresh.variables, strict=True):
        # Keras leaves the state of random numbers out of checkpoints.
        if "seed_generator" not in variable.path:
            np.testing.assert_array_equal(copy.numpy(), variable.numpy(), err_msg=variable.path)


def test_padding_and_garbage_in_it_change_nothing(name):
    model, clean = _build(name), _float_inputs()
    padding = np.arange(FRAMES)[None, :] >= NUM_FRAMES[:, None]
    expected = model(clean)

    for garbage in (1e6, np.nan, np.inf):
        frames = np.where(padding[..., None], np.float32(garbage), clean["frames"])
        _assert_equal(model({**clean, "frames": frames}), expected)
    longer = np.pad(clean["frames"], ((0, 0), (0, 7), (0, 0)), constant_values=5.0)
    _assert_equal(model({**clean, "frames": longer}), expected)


def _train(model: VideoModel, inputs: dict) -> tuple[dict, list[np.ndarray]]:
    """Outputs of one call in training mode and the weights after it, from a copy of the model."""
    twin = type(model).from_config(model.get_config())
    twin.set_weights(model.get_weights())
    return twin(inputs, training=True), twin.get_weights()


@pytest.mark.parametrize("case", ["garbage", "longer padding", "without the empty video"])
def test_padding_changes_nothing_in_training(name, case):
    inputs, rows = _float_inputs(), np.flatnonzero(NUM_FRAMES)
    model = _build(name, **without_dropout(name))
    padding = np.arange(FRAMES)[None, :] >= NUM_FRAMES[:, None]
    changed = {
        "garbage": {**inputs, "frames": np.where(padding[..., None], np.float32(1e6), inputs["frames"])},
        "longer padding": {**inputs, "frames": np.pad(inputs["frames"], ((0, 0), (0, 7), (0, 0)))},
        "without the empty video": {key: value[rows] for key, value in inputs.items()},
    }[case]

    expected, expected_weights = _train(model, inputs)
    outputs, weights = _train(model, changed)

    other_rows = slice(None) if case == "without the empty video" else rows
    for key in ("representation", "predictions"):
        ours, theirs = np.array(outputs[key])[other_rows], np.array(expected[key])[rows]
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5, err_msg=key)
    for ours, theirs in zip(weights, expected_weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_gradients_reach_real_frames_only(name):
    model, inputs = _build(name, **without_dropout(name)), _float_inputs()
    frames = tf.constant(inputs["frames"])
    real = np.arange(FRAMES)[None, :] < NUM_FRAMES[:, None]

    with tf.GradientTape() as tape:
        tape.watch(frames)
        # An odd weight for each class: a plain sum can be constant behind batch normalization.
        predictions = model({**inputs, "frames": frames}, training=True)["predictions"]
        loss = tf.reduce_sum(predictions * np.random.default_rng(0).normal(size=predictions.shape))
    gradient = np.abs(tape.gradient(loss, frames)).max(axis=-1)

    assert np.all(gradient[~real] == 0)
    assert np.all(gradient[real] > 0)


def test_neighbours_in_the_batch_change_nothing(name):
    model, inputs = _build(name), _inputs()
    together = model(inputs)

    for video in range(len(NUM_FRAMES)):
        rows = slice(video, video + 1)
        _assert_equal(model({key: value[rows] for key, value in inputs.items()}), together, rows)


def test_a_video_without_frames_has_representation_zero(name):
    model = _build(name)

    for training in (False, True):
        outputs = model(_inputs(), training=training)
        np.testing.assert_array_equal(outputs["representation"][3], 0.0)
        assert np.isfinite(outputs["predictions"]).all()


@pytest.mark.parametrize("frames", [0, 1])
def test_batches_of_empty_videos_and_of_one_frame(name, frames):
    model = _build(name)
    inputs = {"frames": _inputs()["frames"][:, :frames], "num_frames": np.zeros(len(NUM_FRAMES), np.int32)}

    for training in (False, True):
        outputs = model(inputs, training=training)
        np.testing.assert_array_equal(outputs["representation"], 0.0)
        assert np.isfinite(outputs["predictions"]).all()
    assert all(np.isfinite(weights).all() for weights in model.get_weights())


def test_bytes_equal_floats_prepared_in_the_same_way(name):
    model, inputs = _build(name), _inputs()
    values = inputs["frames"].astype(np.float32) * (4 / 255) + (4 / 512 - 2)
    if model.input_normalization == "l2":
        values /= np.linalg.norm(values, axis=-1, keepdims=True)

    _assert_equal(model({**inputs, "frames": values}), model(inputs))


def test_more_frames_claimed_than_given_are_all_frames(name):
    model, inputs = _build(name), _inputs()

    claimed = model({**inputs, "num_frames": np.full(5, 300)})

    _assert_equal(claimed, model({**inputs, "num_frames": np.full(5, FRAMES)}), atol=0)


def test_a_graph_of_unknown_sizes_computes_the_same(name):
    model, inputs = _build(name), _inputs()
    signature = {
        "frames": tf.TensorSpec((None, None, sum(FEATURE_SIZES)), tf.uint8),
        "num_frames": tf.TensorSpec((None,), tf.int32),
    }

    traced = tf.function(lambda inputs: model(inputs, return_intermediates=True), input_signature=[signature])

    outputs, expected = traced(inputs), model(inputs, return_intermediates=True)
    assert set(outputs) == set(expected)
    for key, value in expected.items():
        np.testing.assert_allclose(outputs[key], value, rtol=1e-5, atol=2e-6, err_msg=key)


def test_a_shared_classifier_is_one_layer(name):
    teacher = _build(name)
    kernel = teacher.classifier.variables[0]

    student = build_model(
        name, feature_sizes=FEATURE_SIZES, num_classes=CLASSES, classifier_layer=teacher.classifier, **TINY[name]
    )

    assert student.classifier is teacher.classifier
    assert student.classifier.variables[0] is kernel
    shared = {id(variable) for variable in teacher.variables} & {id(variable) for variable in student.variables}
    assert shared == {id(variable) for variable in teacher.classifier.variables}


def test_encoder_variables_are_all_but_the_classifier(name):
    model = _build(name)

    encoder = {id(variable) for variable in model.encoder_variables}
    classifier = {id(variable) for variable in model.classifier.trainable_variables}

    assert encoder.isdisjoint(classifier)
    assert encoder | classifier == {id(variable) for variable in model.trainable_variables}


def test_one_feature_is_enough(name):
    model = build_model(name, feature_sizes=(16,), num_classes=CLASSES, **TINY[name])

    outputs = model(_inputs())

    assert outputs["predictions"].shape == (5, CLASSES)
    assert len(getattr(model, "poolings", [None])) == 1


def test_mixed_precision_gives_float32_outputs_near_the_full_ones(name):
    full = _build(name, **without_dropout(name))
    mixed = MODELS.get(name)(FEATURE_SIZES, CLASSES, dtype="mixed_bfloat16", **without_dropout(name), **TINY[name])
    mixed.set_weights(full.get_weights())

    outputs, expected = mixed(_inputs()), full(_inputs())

    assert mixed.compute_dtype == "bfloat16"
    assert {value.dtype for value in outputs.values()} == {tf.float32}
    np.testing.assert_allclose(outputs["predictions"], expected["predictions"], atol=0.05)
    assert np.isfinite(mixed(_inputs(), training=True)["predictions"]).all()


def test_regularization_is_that_of_the_classifier(name):
    model = _build(name)
    for variable in model.classifier.trainable_variables:
        variable.assign(variable + 1)
    weights = {variable.path: variable.numpy() for variable in model.classifier.trainable_variables}

    squares = sum(
        np.sum(value**2)
        for path, value in weights.items()
        if not path.endswith("bias") or model.regularize_classifier_bias
    )

    np.testing.assert_allclose(sum(map(float, model.losses)), model.classifier_l2 * squares / 2, rtol=1e-5)


def test_weights_files_do_not_depend_on_earlier_models(name, tmp_path):
    """A resumed training has made other models before than one that was never stopped, and writes the same bytes."""
    contents = []
    for number in range(2):
        keras.utils.set_random_seed(2)
        model = _build(name)
        model.save_weights(tmp_path / f"{number}.weights.h5")
        contents.append((tmp_path / f"{number}.weights.h5").read_bytes())
        for _ in range(11):  # "dense_11" has another length than "dense_1"
            keras.layers.Dense(1)
            _build(name)
    assert contents[0] == contents[1]
    assert [variable.path for variable in _build(name).variables] == [variable.path for variable in model.variables]


def test_names_of_others_go_on():
    before, _, after = keras.layers.Dense(1), _build("Logistic"), keras.layers.Dense(1)
    assert before.name != after.name
