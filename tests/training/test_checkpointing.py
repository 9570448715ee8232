"""Positions in a training, and when checkpoints are due."""

import dataclasses
import time

import keras
import numpy as np
import pytest

from yt8m_distill.config.training import Checkpointing, Learning
from yt8m_distill.data.video_files import VideoFiles
from yt8m_distill.devices.cluster import ONE_DEVICE
from yt8m_distill.distiller import LabelTrainer
from yt8m_distill.errors import UserError
from yt8m_distill.models import FrameLevelLogistic
from yt8m_distill.runs.checkpoints import checkpoints
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.training import checkpointing, optimizers
from yt8m_distill.training.checkpointing import Checkpointer, Progress, names_and_sizes
from yt8m_distill.training.logs import TrainingLogs

LEARNING = Learning(
    batch_size=4, base_learning_rate=0.1, learning_rate_decay=0.5, learning_rate_decay_examples=8, ema_momentum=0.9
)


def batch(videos: int) -> dict[str, np.ndarray]:
    position = np.array([[0, 2, place] for place in range(1, videos + 1)])
    return {"num_frames": np.ones(videos, np.int32), "position": position}


def test_progress_counts_steps_and_videos():
    progress = Progress(train_files=[["a", 3]])
    progress.count(batch(4))
    progress.count(batch(3))
    assert (progress.step, progress.batch, progress.examples, progress.position) == (2, 2, 7, (0, 2, 3))
    following = progress.next_epoch(epoch=1)
    assert (following.step, following.epoch, following.batch, following.examples) == (2, 1, 0, 0)
    assert following.position == Progress().position
    assert following.train_files == [["a", 3]]


@pytest.mark.parametrize("changes", [{"step": -1}, {"position": (0, 0)}, {"epoch": 2**62}])
def test_invalid_positions_are_refused(changes):
    with pytest.raises(UserError, match="not a position in a training"):
        Progress(**changes)


def test_names_and_sizes(tmp_path):
    (tmp_path / "a.tfrecord").write_bytes(b"123")
    assert names_and_sizes(VideoFiles((str(tmp_path / "a.tfrecord"),), None)) == [["a.tfrecord", 3]]


@dataclasses.dataclass
class Training:
    """A model with its step model and checkpointer."""

    model: keras.Model
    step_model: LabelTrainer
    checkpointer: Checkpointer

    def train(self, steps: int):
        rng = np.random.default_rng(int(self.step_model.optimizer.iterations.numpy()))
        for _ in range(steps):
            frames = rng.integers(0, 256, (4, 3, 6), np.uint8)
            inputs = {"frames": frames, "num_frames": np.full(4, 3, np.int32)}
            self.step_model.train_step((inputs, np.eye(4, 5, dtype=np.uint8), None))

    def values(self) -> list[np.ndarray]:
        metrics = [variable for metric in self.step_model.metrics for variable in metric.variables]
        return [v.numpy() for v in (*self.model.variables, *self.step_model.optimizer.variables, *metrics)]


def training(run: RunDir, **settings) -> Training:
    model = FrameLevelLogistic((6,), 5)
    step_model = LabelTrainer(model)
    optimizer = optimizers.make_optimizer(LEARNING)
    optimizers.build(optimizer, step_model.trained_variables())
    step_model.compile(optimizer=optimizer)
    logs = TrainingLogs(run.logs, ("train",))
    return Training(
        model, step_model, Checkpointer(run, Checkpointing(**settings), {"student": model}, logs, ONE_DEVICE)
    )


def test_a_restored_training_continues_with_the_same_numbers(tmp_path):
    run = RunDir(tmp_path / "run")
    first = training(run)
    first.train(3)
    first.checkpointer.save(Progress(step=3, batch=3, train_files=[]), first.step_model)
    first.train(2)
    second = training(run)
    checkpoint = second.checkpointer.latest()
    assert second.checkpointer.progress_at(checkpoint, Progress(train_files=[])).step == 3
    second.checkpointer.restore(checkpoint, second.step_model)
    second.train(2)
    for ours, theirs in zip(second.values(), first.values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_evaluation_gets_the_averages_of_a_checkpoint(tmp_path):
    run = RunDir(tmp_path / "run")
    trained = training(run)
    trained.train(3)
    trained.checkpointer.save(Progress(step=3, train_files=[]), trained.step_model)
    (checkpoint,) = checkpoints(run)
    averages, weights = (list(checkpoint.arrays(prefix).values()) for prefix in ("student.", "not_averaged_student."))
    assert len(averages) == len(weights) > 0
    np.testing.assert_array_equal(weights[0], trained.model.variables[0].numpy())  # as they were before it was saved
    assert not np.array_equal(averages[0], weights[0])


def test_other_training_files_are_refused(tmp_path):
    trained = training(RunDir(tmp_path / "run"))
    trained.checkpointer.save(Progress(step=1, train_files=[["a", 3]]), trained.step_model)
    with pytest.raises(UserError, match="the training files are not those that the run"):
        trained.checkpointer.progress_at(trained.checkpointer.latest(), Progress(train_files=[["a", 4]]))


def test_checkpoints_are_due_by_steps_and_by_time(tmp_path, monkeypatch):
    by_steps = training(RunDir(tmp_path / "run"), every_steps=3).checkpointer
    assert [step for step in range(1, 8) if by_steps.is_due(step)] == [3, 6]
    trained = training(RunDir(tmp_path / "run"), every_minutes=2.0)
    assert not trained.checkpointer.is_due(3)
    now = time.monotonic()
    monkeypatch.setattr(checkpointing.time, "monotonic", lambda: now + 125)
    assert trained.checkpointer.is_due(3)
    trained.checkpointer.save(Progress(step=3), trained.step_model)
    assert not trained.checkpointer.is_due(4)


def test_a_stopped_training_keeps_what_one_never_stopped_keeps(tmp_path):
    run = RunDir(tmp_path)
    kept = []
    for step, stopped in ((4, False), (8, False), (9, True), (12, False)):
        progress = {"step": step, "stopped": stopped}
        checkpointing.checkpoints.save_checkpoint(run, step, {}, 2, progress=progress, log_sizes={})
        kept.append([checkpoint.step for checkpoint in checkpoints(run)])
    assert kept == [[4], [4, 8], [4, 8, 9], [8, 12]]
