"""Callbacks: how they are made, what they are told, and their state."""

import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training.recorder import calls
from yt8m_distill.distiller import LabelTrainer
from yt8m_distill.errors import UserError
from yt8m_distill.models import FrameLevelLogistic
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.training.callbacks import TrainingCallbacks, makers
from yt8m_distill.training.epoch_means import EpochMeans

RECORDER = "tests.training.recorder:Recorder"


def trainer() -> LabelTrainer:
    step_model = LabelTrainer(FrameLevelLogistic((6, 2), 4))
    step_model.compile(optimizer=keras.optimizers.Adam(0.5))
    return step_model


def count(step_model: LabelTrainer, loss: float, videos: int = 2):
    """A step with this loss."""
    terms = dict.fromkeys(step_model.means(), tf.constant(loss))
    step_model.track(terms, tf.constant(videos))


def callbacks_of(*texts, folder=".") -> TrainingCallbacks:
    return TrainingCallbacks(makers(texts), RunDir(folder))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no.such.module:C", "module of the callback 'no.such.module' cannot be imported: ModuleNotFoundError"),
        ("keras.callbacks:EarlyStoping", "'keras.callbacks' has no class or function 'EarlyStoping'"),
        ("keras.callbacks:CSVLogger", "CSVLogger cannot be made: TypeError"),
        ("builtins:dict(x=1)", "is not a keras.callbacks.Callback, but of the type dict"),
    ],
)
def test_what_is_no_callback(text, message):
    with pytest.raises(UserError, match=message):
        callbacks_of(text)


def test_arguments_may_name_the_run_directory(tmp_path):
    (make,) = makers([RECORDER + "(path={train_dir}/calls.json,stop_at=3)"])
    made = make(RunDir(tmp_path))
    assert (made.path, made.stop_at) == (f"{tmp_path}/calls.json", 3)
    own = keras.callbacks.TerminateOnNaN()
    assert makers([own])[0](RunDir(tmp_path)) is own


def test_means_of_an_epoch_go_over_windows_and_interruptions():
    step_model = trainer()
    count(step_model, 100.0)  # of the epoch before
    means = EpochMeans(step_model)
    assert means.result() == {}
    count(step_model, 1.0, videos=2)
    means.keep()
    step_model.reset_metrics()
    count(step_model, 4.0, videos=4)
    assert means.result()["loss"] == pytest.approx(3.0)
    resumed = EpochMeans(step_model)
    resumed.restore(json.loads(json.dumps(means.state())))
    count(step_model, 0.0, videos=6)
    assert resumed.result()["loss"] == means.result()["loss"] == pytest.approx(1.5)


def test_calls_and_the_names_of_logs(tmp_path):
    called = callbacks_of(RECORDER + "(path={train_dir}/calls.json)", folder=tmp_path)
    step_model = trainer()
    called.begin_stage(step_model, "Fine-tuning", 7, None)
    called.begin_epoch(0, resumed=False)
    for batch, loss in enumerate([1.0, 2.0]):
        called.begin_batch(batch)
        count(step_model, loss)
        called.end_batch(batch)
    called.end_epoch(0, {"student": {"GAP@20": 0.25, "examples": 3}, "teacher": {"mAP": 0.5}}, "student")
    called.agree()
    called.end_stage()
    logs = {"loss": 1.5, "ce": 1.5, "regularization": 1.5, "learning_rate": 0.5, "val_GAP@20": 0.25}
    logs["val_teacher_mAP"] = 0.5
    begin, epoch, first, second, end_of_epoch, end = calls(tmp_path / "calls.json")
    assert (begin, epoch) == (["begin", "Fine-tuning", 7], ["epoch", 0])
    assert first == ["batch", 0, 1, {"loss": 1.0, "ce": 1.0, "regularization": 1.0}]
    assert second[3]["loss"] == 1.5
    assert end_of_epoch == ["epoch end", 0, logs]
    assert end == ["end", logs]
    assert not called.stopped


def test_a_stop_holds_for_its_stage(tmp_path):
    called = callbacks_of(f"{RECORDER}(path={tmp_path}/calls.json,stop_at=0)")
    step_model = trainer()
    called.begin_stage(step_model, "first", 7, None)
    called.begin_epoch(0, resumed=False)
    called.end_batch(0)
    assert called.stopped
    state = called.state()
    called.end_stage()
    called.begin_stage(trainer(), "second", 7, None)
    assert not called.stopped
    again = callbacks_of(f"{RECORDER}(path={tmp_path}/calls.json)")
    again.begin_stage(step_model, "first", 7, state)
    assert again.stopped


def test_the_state_of_early_stopping_is_kept():
    texts = ["keras.callbacks:EarlyStopping(monitor=val_loss,patience=3)", "keras.callbacks:TerminateOnNaN"]
    step_model = trainer()

    def epochs(called: TrainingCallbacks, losses, begin: int):
        for epoch, loss in enumerate(losses, begin):
            called.begin_epoch(epoch, resumed=False)
            called.end_epoch(epoch, {"teacher": {"loss": np.float64(loss)}}, "teacher")
            called.agree()

    first = callbacks_of(*texts)
    first.begin_stage(step_model, "s", 9, None)
    epochs(first, [1.0, 2.0, 2.0], 0)
    assert not first.stopped
    second = callbacks_of(texts[1], texts[0].replace("3", "4"))  # in another order, with more patience
    second.begin_stage(step_model, "s", 9, first.state())
    epochs(second, [2.0], 3)
    assert not second.stopped
    epochs(second, [2.0], 4)
    assert second.stopped
    assert math.isclose(json.loads(second.state())["callbacks"][1]["attributes"]["best"], 1.0)


def test_without_callbacks_nothing_is_stored_or_read(monkeypatch):
    monkeypatch.setattr(LabelTrainer, "sums", None)
    called = TrainingCallbacks((), RunDir("."))
    called.begin_stage(trainer(), "s", 1, '{"of": "another command"}')
    called.begin_epoch(0, resumed=False)
    called.begin_batch(0)
    called.end_batch(0)
    called.before_reset()
    called.end_epoch(0, {}, "student")
    called.agree()
    called.end_stage()
    assert called.state() is None
