"""Logs of a training: means of steps, and a loss that is not finite."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.end_to_end.commands import scalars
from yt8m_distill.errors import UserError
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.training.logs import StepLog, TrainingLogs
from yt8m_distill.training.step import StepResult


class StepModel:
    """The part of a step model that logs read."""

    shares = None

    class optimizer:
        learning_rate = 0.25

    def __init__(self, loss: float):
        self.loss, self.resets = loss, 0

    def means(self):
        return {"loss": tf.constant(self.loss), "ce": tf.constant(1.0)}

    def reset_metrics(self):
        self.resets += 1


def batch(name: str) -> dict:
    labels = np.array([[1, 0], [0, 1]], np.uint8)
    return {"video_id": [name.encode()], "num_frames": np.ones(2, np.int32), "labels": labels}


def result(loss: float) -> StepResult:
    return StepResult(tf.constant(loss), (tf.constant([[0.9, 0.8], [0.3, 0.2]]),))


@pytest.mark.parametrize(("label_loss", "tag"), [("CrossEntropyLoss", "loss/ce"), ("HingeLoss", "loss/hinge")])
def test_means_are_written_and_restarted(tmp_path, label_loss, tag):
    log, step_model = StepLog(RunDir(tmp_path), label_loss), StepModel(0.5)
    logs = TrainingLogs(tmp_path / "logs", ("train",))
    with logs.writer("train").as_default():
        log.add(10, result(0.5), batch("a"))
        assert log.write(10, step_model) == {"loss": 0.5, "GAP@20": 0.75, "Hit@1": 0.5}
    logs.close()
    curves = scalars(tmp_path / "logs" / "train")
    assert curves.pop("train/videos_per_second")[0][1] > 0
    assert 0 <= curves.pop("train/share_of_time_waiting_for_input")[0][1] < 1
    rest = {"train/learning_rate": 0.25, "metrics/GAP@20": 0.75, "metrics/Hit@1": 0.5}
    assert curves == {name: [(10, value)] for name, value in {"loss/total": 0.5, tag: 1.0, **rest}.items()}
    assert step_model.resets == 1


def test_a_loss_that_is_not_finite_names_its_first_step_and_videos(tmp_path):
    log = StepLog(RunDir(tmp_path))
    for step, loss in enumerate((1.0, math.nan, math.nan), start=4):
        log.add(step, result(loss), batch(f"video{step}"))
    with pytest.raises(
        UserError, match=r"loss is nan at step 5, whose batch has the videos video5 \(not finite: loss\)"
    ):
        log.finite_means(6, StepModel(math.nan))


def test_event_files_are_cut_back(tmp_path):
    logs = TrainingLogs(tmp_path, ("train",))
    with logs.writer("train").as_default():
        tf.summary.scalar("loss", 1.0, step=1)
        sizes = logs.sizes()
        tf.summary.scalar("loss", 2.0, step=2)
    logs.close()
    logs = TrainingLogs(tmp_path, ("train",))
    logs.cut_back(sizes)
    assert scalars(tmp_path / "train")["loss"] == [(1, 1.0)]
    logs.cut_back({})
    assert not list((tmp_path / "train").iterdir())


def test_curves_that_cannot_be_written(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "train").write_text("a file")
    with pytest.raises(UserError, match=r"the curves in '.*train' cannot be written: "):
        TrainingLogs(tmp_path / "logs", ("train",)).writer("train")
