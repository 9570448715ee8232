"""The state of a training: its position, when it is stored, and how it is restored."""

import dataclasses
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import keras
import numpy as np

from yt8m_distill.config.json import from_values
from yt8m_distill.config.training import Checkpointing
from yt8m_distill.data.batches import Batch, videos_in
from yt8m_distill.data.reading_order import BEGINNING, position_after
from yt8m_distill.data.video_files import VideoFiles
from yt8m_distill.devices.cluster import Devices
from yt8m_distill.distiller import LabelTrainer
from yt8m_distill.errors import UserError
from yt8m_distill.runs import checkpoints, weights
from yt8m_distill.runs.checkpoints import Checkpoint
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.training import optimizers
from yt8m_distill.training.logs import TrainingLogs

log = logging.getLogger(__name__)

MOST_STEPS = 2**62  # TensorBoard counts with 64 bits
_NOT_AVERAGED = "not_averaged_"  # of weights in a checkpoint, where evaluation takes their moving averages


@dataclass
class Progress:
    """The position in a training; stored with every checkpoint.

    Attributes:
        stage: index of the stage.
        epoch: whole epochs done in this stage.
        batch: batches done in the current epoch.
        position: where in the epoch's order of records the next batch begins.
        examples: videos seen in the current epoch.
        step: steps done, over all stages; the axis of all TensorBoard curves.
        epoch_examples: videos of one epoch; None until the first one has ended.
        best: metrics of the best epoch so far.
        train_files: name and size of every training file.
        stage_start: steps of the stages before this one; None where an earlier version has not stored it.
        stopped: whether the training was stopped here, where it would not have stored its state otherwise.
        callbacks: their state, see `TrainingCallbacks.state`.
    """

    stage: int = 0
    epoch: int = 0
    batch: int = 0
    position: tuple[int, ...] = dataclasses.astuple(BEGINNING)
    examples: int = 0
    step: int = 0
    epoch_examples: int | None = None
    best: dict[str, int | float] | None = None
    train_files: list[list[str | int]] | None = None
    stage_start: int | None = None
    stopped: bool = False
    callbacks: str | None = field(default=None, compare=False)

    def __post_init__(self):
        counts = (self.stage, self.epoch, self.batch, self.examples, self.step, self.epoch_examples or 0)
        if len(self.position) != 3 or not all(0 <= count < MOST_STEPS for count in (*counts, *self.position)):
            raise UserError("it is not a position in a training.")

    def count(self, batch: Batch):
        """Moves on by a step."""
        self.position = dataclasses.astuple(position_after(batch))
        self.batch += 1
        self.step += 1
        self.examples += videos_in(batch)

    @property
    def steps_in_stage(self) -> int | None:
        """Steps done in this stage; None where they are not known."""
        start = 0 if self.stage == 0 else self.stage_start
        return None if start is None else self.step - start

    def next_epoch(self, **changes) -> "Progress":
        """At the beginning of an epoch."""
        return dataclasses.replace(self, batch=0, position=dataclasses.astuple(BEGINNING), examples=0, **changes)


def names_and_sizes(videos: VideoFiles) -> list[list[str | int]]:
    """Name and size of every training file, compared when a run is resumed."""
    return [[os.path.basename(path), videos.size_of(path)] for path in videos.files]


def position_of(checkpoint: Checkpoint) -> Progress:
    """The position in the training at which a checkpoint was written.

    Raises:
        UserError: it holds none.
    """
    return from_values(Progress, checkpoint.progress(), str(checkpoint.path / "progress.json"))


class Checkpointer:
    """Stores and restores the state of a training, so that a resumed one continues as if it had never stopped.

    Args:
        run: where.
        settings: when, and how many are kept.
        models: that are trained, by role.
        logs: whose curves are cut back to the checkpoint on resume.
        devices: that the models were built for.
    """

    def __init__(
        self,
        run: RunDir,
        settings: Checkpointing,
        models: Mapping[str, keras.Model],
        logs: TrainingLogs,
        devices: Devices,
    ):
        self._run = run
        self._settings = settings
        self._models = models
        self._logs = logs
        self._devices = devices
        self._saved_at = time.monotonic()

    def latest(self) -> Checkpoint | None:
        """The last checkpoint that the chief sees.

        Raises:
            UserError: this worker does not see it.
        """
        if self._devices.is_chief:
            checkpoints.prune(self._run, self._settings.keep)  # what a kill has left
        by_step = {checkpoint.step: checkpoint for checkpoint in checkpoints.states(self._run)}
        step = self._devices.from_chief(max(by_step, default=-1))
        if step >= 0 and step not in by_step:
            raise UserError(
                f"this worker does not see the checkpoint of step {step} in '{self._run.checkpoints}', from which "
                "the first one resumes: --train_dir must be on a disk that all machines share."
            )
        return by_step.get(step)

    def progress_at(self, checkpoint: Checkpoint, start: Progress) -> Progress:
        """The position of a checkpoint.

        Args:
            checkpoint: to resume from.
            start: the position of a new run, with the training files.

        Raises:
            UserError: the run was started with other training files; or no position is stored.
        """
        checkpoint.check()
        progress = position_of(checkpoint)
        if progress.train_files != start.train_files:
            raise UserError(
                f"the training files are not those that the run in '{self._run.path}' was started with: names or sizes "
                "differ. Put them back, or give --start_new_model."
            )
        log.info("Resuming %s after step %d", self._run.path, progress.step)
        return dataclasses.replace(progress, stopped=False)

    def is_due(self, step: int) -> bool:
        """Whether a checkpoint is to be written after this step, by number or by time."""
        by_steps = self._settings.every_steps is not None and step % self._settings.every_steps == 0
        return by_steps or time.monotonic() - self._saved_at > 60 * self._settings.every_minutes

    def check_finite(self, step: int, step_model: LabelTrainer):
        """Checks what a training would save: the loss before the last update says nothing of the weights after it.

        Raises:
            UserError: weights, or the state of the optimizer, are NaN or infinite.
        """
        named = {f"weights of the {role}": model.variables for role, model in self._models.items()}
        for name, variables in {**named, "values of the optimizer": step_model.optimizer.variables}.items():
            if bad := weights.first_not_finite(variables):
                raise UserError(
                    f"after step {step} the {name} are not finite (the first: '{bad}'); nothing of this is saved. "
                    f"{checkpoints.describe_last(self._run)}; a lower --base_learning_rate may help, with "
                    "--start_new_model."
                )

    def save(self, progress: Progress, step_model: LabelTrainer):
        """Writes a checkpoint: weights, state of the optimizer, running means, position, sizes of the event files.

        Raises:
            UserError: the disk has not enough space.
        """
        arrays, position = self._arrays(step_model), dataclasses.asdict(progress)
        keep, sizes = self._settings.keep, self._logs.sizes()
        checkpoints.save_checkpoint(self._run, progress.step, arrays, keep, progress=position, log_sizes=sizes)
        self._saved_at = time.monotonic()

    def save_stage_end(self, progress: Progress, step_model: LabelTrainer):
        """Writes what a longer training of this stage goes on from.

        Raises:
            UserError: the disk has not enough space.
        """
        arrays, position = self._arrays(step_model), dataclasses.asdict(progress)
        sizes = self._logs.sizes()
        checkpoints.save_stage_end(self._run, progress.stage, arrays, progress=position, log_sizes=sizes)

    def _arrays(self, step_model: LabelTrainer) -> dict[str, np.ndarray]:
        optimizer, arrays = step_model.optimizer, {}
        if optimizers.averages(optimizer):
            for role, model in self._models.items():
                arrays |= weights.model_arrays(model, f"{_NOT_AVERAGED}{role}")
        with optimizers.averaged(optimizer, step_model.trained_variables()):  # what evaluation takes from a checkpoint
            for role, model in self._models.items():
                arrays |= weights.model_arrays(model, role)
        arrays |= {f"optimizer.{i:04d}": variable.numpy() for i, variable in enumerate(optimizer.variables)}
        arrays |= {f"metrics.{i:04d}": variable.numpy() for i, variable in enumerate(_metric_variables(step_model))}
        return arrays | {f"shares.{i:04d}": variable.numpy() for i, variable in enumerate(_share_variables(step_model))}

    def restore(self, checkpoint: Checkpoint, step_model: LabelTrainer):
        """Sets models, optimizer and running means to their state at a checkpoint.

        Raises:
            UserError: it is of other models.
        """
        optimizer = step_model.optimizer
        weights.assign(optimizer.variables, checkpoint.arrays("optimizer."), checkpoint)
        # The optimizer comes first: by its steps it is known whether there are averages beside the weights.
        prefix = _NOT_AVERAGED if optimizers.averages(optimizer) else ""
        for role, model in self._models.items():
            weights.load_arrays(model, checkpoint, f"{prefix}{role}")
            self._devices.separate_random_states(model.variables)
        weights.assign(_metric_variables(step_model), checkpoint.arrays("metrics."), checkpoint)
        weights.assign(_share_variables(step_model), checkpoint.arrays("shares."), checkpoint)


def _metric_variables(step_model: LabelTrainer) -> list:
    return [variable for metric in step_model.metrics for variable in metric.variables]


def _share_variables(step_model: LabelTrainer) -> list:
    return [] if step_model.shares is None else step_model.shares.variables
