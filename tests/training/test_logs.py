"""Logs of a training: means of steps, and a loss that is not finite."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.end_to_end.commands import scalars
from yt8m_distill.errors import UserError
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.training.logs import StepLog, TrainingLogs


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
    return {"video_id": [name.encode()], "num_frames": np.ones(5, np.int32)}


def test_means_are_written_and_restarted(tmp_path):
    log, step_model = StepLog(RunDir(tmp_path)), StepModel(0.5)
    logs = TrainingLogs(tmp_path / "logs", ("train",))
    with logs.writer("train").as_default():
        log.add(10, tf.constant(0.5), batch("a"))
        assert log.write(10, step_model) == 0.5
    logs.close()
    curves = scalars(tmp_path / "logs" / "train")
    assert (curves["loss"], curves["ce"], curves["learning_rate"]) == ([(10, 0.5)], [(10, 1.0)], [(10, 0.25)])
    assert curves["videos_per_second"][0][1] > 0
    assert step_model.resets == 1


def test_a_loss_that_is_not_finite_names_its_first_step_and_videos(tmp_path):
    log = StepLog(RunDir(tmp_path))
    for step, loss in enumerate((1.0, math.nan, math.nan), start=4):
        log.add(step, tf.constant(loss), batch(f"video{step}"))
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
