"""Fewer bits, XLA and copies ahead: the same training and predictions, near enough, and what cannot work is refused."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import TINY_FLAGS, learnable_videos, write_records
from yt8m_distill import distiller
from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.run import RunConfig
from yt8m_distill.config.training import Distillation, Learning
from yt8m_distill.data.batches import View
from yt8m_distill.data.reading import read_video
from yt8m_distill.errors import UserError
from yt8m_distill.eval import main as eval_main
from yt8m_distill.files.untrusted import read_json
from yt8m_distill.models import building, xla
from yt8m_distill.models.xla import SteadyShapes, check_xla
from yt8m_distill.prediction.predict import prediction_function
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.train import main as train_main
from yt8m_distill.training import optimizers
from yt8m_distill.training.stages import stages, step_model_of
from yt8m_distill.training.step import compiled_step

SPEC = DatasetSpec("own features", "id", ("rgb", "audio"), (6, 2), 10, 12)
SMALL = {"clusters": 4, "groups": 2, "hidden_size": 8, "gating_reduction": 2, "dropout": 0.0}
FULL_SCHEDULE = {"base_learning_rate": 0.01, "learning_rate_decay": 1.0, "learning_rate_decay_examples": 1000}


def videos(count: int) -> list:
    return [read_video(video.SerializeToString(), SPEC) for video in learnable_videos(count)]


def losses_of_training(steps: int = 6, **learning) -> list[float]:
    """Of teacher and student in parallel, on one batch."""
    settings = Learning(batch_size=32, regularization_penalty=1.0, **FULL_SCHEDULE, **learning)
    config = RunConfig(
        "NeXtVLAD", "parallel", model_args=SMALL, selection=FrameSelection(3), distillation=Distillation(), data=SPEC,
        learning=settings,
    )  # fmt: skip
    keras.utils.set_random_seed(0)
    (stage,) = stages(config, building.build_models(config))
    step_model = step_model_of(stage, config)
    assert all(variable.dtype == "float32" for variable in step_model.trained_variables())
    step, found = compiled_step(step_model, stage.view, SPEC, config.learning.xla), []
    batch = stage.view.batch(videos(32), SPEC, 0)
    for _ in range(steps):
        found.append(float(step(batch).loss))
        step_model.reset_metrics()
    assert int(step_model.optimizer.iterations) == steps  # in float16 no step was left out
    return found


@pytest.fixture(scope="module")
def expected() -> list[float]:
    return losses_of_training()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        ({"precision": "bfloat16"}, 5e-3),
        ({"precision": "float16"}, 1e-3),
        pytest.param({"xla": True}, 1e-4, marks=pytest.mark.long),
    ],
)
def test_training_takes_the_same_course(expected, settings, tolerance):
    assert expected[-1] < 0.95 * expected[0]
    found = losses_of_training(**settings)
    assert found == pytest.approx(expected, rel=tolerance)
    if "precision" in settings:
        assert found != expected


def test_scaled_losses_give_the_same_steps_and_overflow_none():
    """Clipping sees the gradients as they are; 0.01 clips every one of them."""
    frames = np.random.default_rng(0).integers(0, 256, (6, 4, 8), np.uint8)
    inputs = {"frames": frames, "num_frames": np.full(6, 4, np.int32)}
    labels = np.eye(10, dtype=np.uint8)[:6]
    config = RunConfig("FrameLevelLogistic", "teacher", data=SPEC)
    weights = {}
    for scale in (None, 2.0**12, np.inf):
        keras.utils.set_random_seed(0)
        model = building.build_models(config)["teacher"]
        optimizer = keras.optimizers.SGD(1.0)
        if scale is not None:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=scale)
        trainer = distiller.LabelTrainer(model, clip_gradient_norm=0.01)
        trainer.compile(optimizer=optimizer)
        optimizers.build(optimizer, trainer.trained_variables())
        before = model.get_weights()
        for _ in range(3):
            trainer.train_step((tf.nest.map_structure(tf.constant, inputs), tf.constant(labels)))
        weights[scale] = model.get_weights()
    for plain, scaled, overflown, first in zip(*weights.values(), before, strict=True):
        assert 0 < np.linalg.norm(plain - first) < 0.0301
        np.testing.assert_allclose(scaled, plain, atol=1e-6)
        np.testing.assert_array_equal(overflown, first)


def test_what_xla_predicts():
    config = RunConfig("NeXtVLAD", "teacher", model_args=SMALL, data=SPEC)
    model = building.build_models(config)["teacher"]
    plain, compiled = prediction_function(model), prediction_function(model, xla=True)
    for count in (9, 4):  # the second is padded to the first
        batch = View().batch(videos(count), SPEC, 0)
        np.testing.assert_allclose(compiled(batch), plain(batch), atol=1e-5)


def test_shapes_change_seldom():
    shapes = SteadyShapes({"frames": (0, 1), "num_frames": (0,)})
    sizes = [(4, 7), (6, 5), (2, 7), (6, 7)]
    padded = [
        shapes.padded({"frames": np.ones((*size, 3), np.uint8), "num_frames": np.ones(size[0]), "video_id": size})
        for size in sizes
    ]
    assert [each["frames"].shape for each in padded] == [(4, 7, 3), (6, 7, 3), (6, 7, 3), (6, 7, 3)]
    assert [each["frames"].sum() for each in padded] == [3 * videos * frames for videos, frames in sizes]
    assert padded[2]["num_frames"].tolist() == [1, 1, 0, 0, 0, 0]
    assert padded[2]["video_id"] == (2, 7)


def test_students_frames_are_the_same_on_a_gpu(monkeypatch):
    frames = tf.constant(np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8))
    indices = tf.constant([[0, 2], [6, 6], [1, 3], [5, 0], [4, 2]])
    expected = distiller.student_view({"frames": frames, "student_indices": indices, "student_num_frames": None})
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    found = distiller.student_view({"frames": frames, "student_indices": indices, "student_num_frames": None})
    assert found["frames"].dtype == tf.uint8
    np.testing.assert_array_equal(found["frames"], expected["frames"])


def test_an_lstm_of_cudnn_is_refused(monkeypatch):
    config = RunConfig("HierarchicalRNN", "teacher", model_args={"cells": 4, "block_length": 2}, data=SPEC)
    model = building.build_models(config)["teacher"]
    check_xla([model])  # on a CPU it is no LSTM of cuDNN's
    monkeypatch.setattr(xla.tf.config, "list_physical_devices", lambda kind: [kind])
    with pytest.raises(UserError, match="XLA cannot compile HierarchicalRNN on a GPU"):
        check_xla([model])


@pytest.mark.parametrize(
    ("learning", "told"), [({"xla": True}, "xla goes with one device"), ({"precision": "float16"}, "bfloat16")]
)
def test_what_several_devices_do_not_do_is_refused(learning, told):
    with pytest.raises(UserError, match=told):
        RunConfig("NeXtVLAD", "teacher", data=SPEC, distribution="mirrored", learning=Learning(**learning))


@pytest.mark.long
@pytest.mark.slow
def test_a_run_keeps_its_format_and_is_evaluated_in_any(tmp_path, capsys):
    for name, count, seed in (("train", 40, 0), ("test", 20, 100)):
        write_records(tmp_path / f"{name}.tfrecord", learnable_videos(count, seed=seed))
    command = [
        "train.py", "--model=FrameLevelLogistic", "--student_losses=pred,ce", "--student_frames=3", "--num_classes=10",
        f"--train_data_pattern={tmp_path}/train.tfrecord", f"--eval_data_pattern={tmp_path}/test.tfrecord",
        *TINY_FLAGS, "--batch_size=16", "--num_epochs=2", "--base_learning_rate=0.1", f"--train_dir={tmp_path}/run",
    ]  # fmt: skip
    assert train_main([*command, "--precision=float16", "--xla"]) == 0
    for config in (RunDir(tmp_path / "run").read_config(), RunDir(tmp_path / "run" / "teacher").read_config()):
        assert (config.learning.precision, config.learning.xla) == ("float16", True)
    assert eval_main(["eval.py", f"--train_dir={tmp_path}/run"]) == 0
    plain = read_json(tmp_path / "run" / "eval" / "metrics.json")
    output = f"--output_file={tmp_path}/half.json"
    assert eval_main(["eval.py", f"--train_dir={tmp_path}/run", "--precision=float16", "--xla", output]) == 0
    half = json.loads((tmp_path / "half.json").read_text())
    assert (plain["precision"], half["precision"]) == ("float32", "float16")
    assert half["GAP@20"] == pytest.approx(plain["GAP@20"], abs=1e-2)
    assert train_main(command) == 2
    assert "learning.precision: float16 in the run, float32 now" in capsys.readouterr().err
    assert train_main([*command, "--xla", "--deterministic"]) == 2
    assert "--deterministic does not go with --xla" in capsys.readouterr().err
