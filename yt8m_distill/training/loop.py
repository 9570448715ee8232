"""The one loop that drives every training step."""

import contextlib
import dataclasses
import logging
import math
import os
import pathlib
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf
from tqdm import tqdm

from yt8m_distill.config.json import from_values
from yt8m_distill.config.run import RunConfig
from yt8m_distill.data.batches import Batch, StoredOutputs, View, videos_in
from yt8m_distill.data.prefetch import copied_ahead
from yt8m_distill.data.reading_order import BEGINNING, Position, position_after
from yt8m_distill.data.video_files import VideoFiles
from yt8m_distill.devices.cluster import ONE_DEVICE, Devices
from yt8m_distill.distiller import (
    LabelTrainer,
    student_view,
)
from yt8m_distill.errors import Interrupted, UserError
from yt8m_distill.evaluation.evaluate import evaluate
from yt8m_distill.evaluation.results import write_scalars
from yt8m_distill.files import atomic
from yt8m_distill.metrics import EvaluationMetrics
from yt8m_distill.prediction.predict import prediction_function
from yt8m_distill.runs import checkpoints, directory, weights
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.training import optimizers
from yt8m_distill.training.logs import TrainingLogs
from yt8m_distill.training.stages import Stage, stages
from yt8m_distill.training.step import compiled_step, compiled_step_on_all

log = logging.getLogger(__name__)

LOG_EVERY_STEPS = 10
EVALUATION_BATCH_SIZE = 128
HISTOGRAM_VIDEOS = 16
_NOT_AVERAGED = "not_averaged_"  # of weights in a checkpoint, where evaluation takes their moving averages
MOST_STEPS = 2**62  # TensorBoard counts with 64 bits


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

    def __post_init__(self):
        counts = (self.stage, self.epoch, self.batch, self.examples, self.step, self.epoch_examples or 0)
        if len(self.position) != 3 or not all(0 <= count < MOST_STEPS for count in (*counts, *self.position)):
            raise UserError("it is no position in a training.")

    def next_epoch(self, **changes) -> "Progress":
        """At the beginning of an epoch."""
        return dataclasses.replace(self, batch=0, position=dataclasses.astuple(BEGINNING), examples=0, **changes)


@dataclass(frozen=True)
class DoneStep:
    """A step whose result has not been looked at: that would wait for the device.

    Attributes:
        number: of the step.
        loss: mean since the last look, as a tensor.
        video_ids: of its batch.
    """

    number: int
    loss: tf.Tensor
    video_ids: Sequence[bytes]


class TrainingLoop:
    """Drives the stages' training steps: order of the data, checkpoints, validation, logs.

    Args:
        config: resolved.
        run: where everything is written.
        models: by role; the teacher of serial training is only read.
        files: "train" and, where given, "validation".
        stored: outputs of the teacher of serial training; None: it runs in every step.
        devices: that the models were built for.
    """

    def __init__(
        self,
        config: RunConfig,
        run: RunDir,
        models: Mapping[str, keras.Model],
        files: Mapping[str, VideoFiles],
        stored: StoredOutputs | None = None,
        devices: Devices = ONE_DEVICE,
    ):
        self.config = config
        self.run_dir = run
        self.models = dict(models)
        self.files = files
        self.stored = stored
        self.devices = devices
        self.trained_roles = config.trained_roles
        xla = config.learning.xla
        self.predict = {role: prediction_function(models[role], xla) for role in self.trained_roles}
        self.logs = TrainingLogs(run.logs, ("train", "validation", "validation_teacher"), silent=not devices.is_chief)
        self.progress = Progress(train_files=names_and_sizes(files["train"]))
        self.steps_since_log: list[DoneStep] = []
        self.interrupted = False  # this process; where there are several, they agree by votes
        self.votes: deque[tf.Tensor] = deque(maxlen=2)
        self.last_checkpoint_time = time.monotonic()
        for role in self.trained_roles:
            devices.separate_random_states(models[role].variables)

    def run(self):
        """Trains all stages, from the latest checkpoint if there is one."""
        all_stages = stages(self.config, self.models, self.stored)
        stored = self._latest_checkpoint()
        self.logs.cut_back(stored.log_sizes() if stored else {})
        if stored:
            self._go_on_from(stored)
        with _signals_noted(self), self.logs.writer("train").as_default():
            for index in range(self.progress.stage, len(all_stages)):
                self._train_stage(all_stages[index], stored)
                stored = None
                self.progress = self.progress.next_epoch(stage=index + 1, epoch=0)
        self.logs.close()

    def _latest_checkpoint(self) -> checkpoints.Checkpoint | None:
        """The last one that the chief sees."""
        found = {each.step: each for each in checkpoints.checkpoints(self.run_dir)}
        step = self.devices.from_chief(max(found, default=-1))
        if step >= 0 and step not in found:
            raise UserError(
                f"this worker does not see the checkpoint of step {step} in '{self.run_dir.checkpoints}', from which "
                "the first one goes on: --train_dir must be on a disk that all machines share."
            )
        return found.get(step)

    def _go_on_from(self, stored: checkpoints.Checkpoint):
        progress = from_values(Progress, stored.progress(), str(stored.path / "progress.json"))
        if progress.train_files != self.progress.train_files:
            raise UserError(
                f"the training files are not those that the run in '{self.run_dir.path}' began with: names or sizes "
                "differ. Put them back, or give --start_new_model."
            )
        self.progress = progress
        log.info("Continuing %s after step %d", self.run_dir.path, self.progress.step)

    def _validation_writer(self, role: str) -> tf.summary.SummaryWriter:
        both = len(self.trained_roles) > 1
        return self.logs.writer("validation_teacher" if both and role == "teacher" else "validation")

    def _train_stage(self, stage: Stage, stored: checkpoints.Checkpoint | None):
        step_model, optimizer = self._step_model(stage)
        if stored is not None:
            self._restore(stored, step_model, optimizer)
        step = self._step_of(stage, step_model)
        # A run stopped in the middle of an epoch goes on to its end even when that has no more steps.
        while self.progress.epoch < stage.epochs and not (self._enough_steps(optimizer) and self.progress.batch == 0):
            self._train_epoch(stage, step, step_model, optimizer)
            self._end_epoch(stage, step_model, optimizer)
        if stage.followed:
            optimizers.take_over_averages(optimizer, step_model.trained_variables())
            if self.devices.is_chief:
                self._save_weights(self.run_dir.finished_stages / str(self.progress.stage + 1), {})

    def _step_model(self, stage: Stage) -> tuple[LabelTrainer, keras.optimizers.Optimizer]:
        step_model = stage.build()
        with self.devices.scope():
            optimizer = optimizers.make_optimizer(self.config)
            optimizers.build(optimizer, step_model.trained_variables())
        step_model.compile(optimizer=optimizer)
        return step_model, optimizer

    def _step_of(self, stage: Stage, step_model: LabelTrainer) -> Callable[[Batch], tf.Tensor]:
        if self.devices.replicas == 1:
            return compiled_step(step_model, stage.view, self.config.data, self.config.learning.xla)
        step = compiled_step_on_all(step_model, stage.view, self.config.data, self.devices)

        def voting(batch: Batch) -> tf.Tensor:
            loss, votes = step(batch, self.interrupted)
            self.votes.append(votes)
            return loss

        return voting

    def _batches(self, stage: Stage) -> Iterator[Batch]:
        batches = self.files["train"].training_batches(
            stage.view,
            self.config.learning.batch_size,
            seed=self.config.learning.seed,
            epoch=self.progress.epoch + 1000 * self.progress.stage,
            start=Position(*self.progress.position),
            shard=self.devices.shard,
        )
        return copied_ahead(batches) if self.devices.replicas == 1 else batches

    def _enough_steps(self, optimizer: keras.optimizers.Optimizer) -> bool:
        limit = self.config.learning.max_steps
        return limit is not None and optimizers.steps_done(optimizer) >= limit

    def _train_epoch(self, stage: Stage, step: Callable, step_model: LabelTrainer, optimizer):
        """One epoch, or the rest of one."""
        clock = _Clock()
        with self._progress_bar(stage, optimizer) as bar, contextlib.closing(self._batches(stage)) as batches:
            while not self._enough_steps(optimizer):
                with clock.waiting():
                    batch = next(batches, None)
                if batch is None:
                    break
                loss = step(batch)
                self._count(batch, bar)
                clock.videos += videos_in(batch)
                self.steps_since_log.append(DoneStep(self.progress.step, loss, batch["video_id"]))
                if self.progress.step % LOG_EVERY_STEPS == 0:
                    self._log_step(step_model, optimizer, bar, clock)
                    clock = _Clock()
                self._checkpoint_if_due(step_model, optimizer)

    def _progress_bar(self, stage: Stage, optimizer: keras.optimizers.Optimizer) -> tqdm:
        total = self.progress.epoch_examples or self.files["train"].estimated_videos()
        limit = self.config.learning.max_steps
        if limit is not None:
            steps_left = max(0, limit - optimizers.steps_done(optimizer))
            total = min(total, self.progress.examples + steps_left * self.config.learning.batch_size)
        return tqdm(
            total=max(total, self.progress.examples),
            initial=self.progress.examples,
            desc=f"{stage.name}, epoch {self.progress.epoch + 1}/{stage.epochs}",
            unit=" videos",
            mininterval=1.0,
            disable=not self.devices.is_chief,
        )

    def _count(self, batch: Batch, bar: tqdm):
        videos = videos_in(batch)
        self.progress.position = dataclasses.astuple(position_after(batch))
        self.progress.batch += 1
        self.progress.step += 1
        self.progress.examples += videos
        bar.update(videos)

    def _log_step(self, step_model: LabelTrainer, optimizer, bar: tqdm, clock: "_Clock"):
        """Means since the last call, to TensorBoard and the progress bar; the loop's only look at device values."""
        terms = self._finite_means(step_model)
        for name, value in terms.items():
            tf.summary.scalar(name, value, step=self.progress.step)
        tf.summary.scalar("learning_rate", optimizer.learning_rate, step=self.progress.step)
        tf.summary.scalar("videos_per_second", clock.videos / clock.seconds(), step=self.progress.step)
        tf.summary.scalar("share_of_time_waiting_for_input", clock.waited / clock.seconds(), step=self.progress.step)
        bar.set_postfix(loss=f"{terms['loss']:.4g}", refresh=False)
        step_model.reset_metrics()

    def _finite_means(self, step_model: LabelTrainer) -> dict[str, float]:
        """The means of all loss terms; a NaN or infinite one stops the training before it reaches a checkpoint."""
        terms = {name: float(value) for name, value in step_model.means().items()}
        if not math.isfinite(terms["loss"]):
            first = next((done for done in self.steps_since_log if not math.isfinite(float(done.loss))), None)
            raise UserError(self._describe_bad_loss(terms, first))
        self.steps_since_log.clear()
        return terms

    def _describe_bad_loss(self, terms: Mapping[str, float], first: DoneStep | None) -> str:
        stored = checkpoints.checkpoints(self.run_dir)
        state = f"The last good state is {stored[-1].path}" if stored else "No checkpoint was written before"
        bad = ", ".join(name for name, value in terms.items() if not math.isfinite(value))
        where = f"at step {self.progress.step}"
        if first is not None:
            ids = " ".join(video_id.decode(errors="replace") for video_id in first.video_ids)
            where = f"at step {first.number}, whose batch has the videos {ids}"
        return (
            f"the loss is {terms['loss']} {where} (not finite: {bad}). {state}; "
            "a lower --base_learning_rate may help, with --start_new_model."
        )

    def _checkpoint_if_due(self, step_model: LabelTrainer, optimizer):
        settings = self.config.checkpointing
        by_steps = settings.every_steps and self.progress.step % settings.every_steps == 0
        by_time = time.monotonic() - self.last_checkpoint_time > 60 * settings.every_minutes
        stopping = self._asked_to_stop()
        if by_steps or by_time or stopping:
            self._save(step_model, optimizer)
        self._stop(stopping)

    def _asked_to_stop(self, at_end: bool = False) -> bool:
        """Whether the run ends after this step; all processes find the same.

        They look at the votes of the step before, for which nobody has to wait, unless `at_end` of an epoch.
        """
        if self.devices.workers == 1:
            return self.interrupted
        known = list(self.votes) if at_end else list(self.votes)[:-1]
        return any(int(votes) > 0 for votes in known)

    def _stop(self, stopping: bool):
        """Ends a run that was asked to stop; its state has just been saved."""
        if stopping:
            self.devices.wait()  # until it is
            raise Interrupted(
                f"Stopped at step {self.progress.step}; the state is saved in {self.run_dir.checkpoints}. "
                "The same command continues."
            )

    def _save(self, step_model: LabelTrainer, optimizer):
        if not self.devices.is_chief:
            return
        self._finite_means(step_model)
        arrays = {}
        if optimizers.averages(optimizer):
            for role in self.trained_roles:
                arrays |= weights.model_arrays(self.models[role], f"{_NOT_AVERAGED}{role}")
        with optimizers.averaged(optimizer, step_model.trained_variables()):  # what evaluation takes from a checkpoint
            for role in self.trained_roles:
                arrays |= weights.model_arrays(self.models[role], role)
        arrays |= {f"optimizer.{i:04d}": variable.numpy() for i, variable in enumerate(optimizer.variables)}
        arrays |= {f"metrics.{i:04d}": variable.numpy() for i, variable in enumerate(metric_variables(step_model))}
        checkpoints.save_checkpoint(
            self.run_dir,
            self.progress.step,
            arrays,
            self.config.checkpointing.keep,
            progress=dataclasses.asdict(self.progress),
            log_sizes=self.logs.sizes(),
        )
        self.last_checkpoint_time = time.monotonic()

    def _restore(self, stored: checkpoints.Checkpoint, step_model: LabelTrainer, optimizer):
        weights.assign(optimizer.variables, stored.arrays("optimizer."), stored)
        prefix = _NOT_AVERAGED if optimizers.averages(optimizer) else ""
        for role in self.trained_roles:
            weights.load_arrays(self.models[role], stored, f"{prefix}{role}")
            self.devices.separate_random_states(self.models[role].variables)
        weights.assign(metric_variables(step_model), stored.arrays("metrics."), stored)

    def _end_epoch(self, stage: Stage, step_model: LabelTrainer, optimizer):
        """Histograms, validation, the best weights, and a checkpoint at the beginning of the next epoch."""
        self._finite_means(step_model)
        self.progress.epoch_examples = self.progress.examples
        self.progress = self.progress.next_epoch(epoch=self.progress.epoch + 1)
        if self.devices.is_chief:
            with optimizers.averaged(optimizer, step_model.trained_variables()):
                self._evaluate_epoch(stage)
        self._save(step_model, optimizer)
        self._stop(self._asked_to_stop(at_end=True))

    def _evaluate_epoch(self, stage: Stage):
        self._log_histograms(stage.view)
        metrics = self._validate() if "validation" in self.files else None
        best = self.progress.best
        if metrics is None or best is None or metrics["GAP@20"] > best.get("GAP@20", -1.0):
            self.progress.best = {"stage": self.progress.stage, "epoch": self.progress.epoch, **(metrics or {})}
            self._save_weights(self.run_dir.best, {"step": self.progress.step, **self.progress.best})

    def _validate(self) -> dict[str, float]:
        """Metrics of the student (or the one model) on the validation videos, written beside the training's curves."""
        results = {}
        for role in self.trained_roles:
            results[role] = evaluate(
                self.predict[role],
                self.files["validation"],
                self.config.selection_of(role).for_evaluation(),
                EvaluationMetrics(self.config.data.num_classes),
                batch_size=EVALUATION_BATCH_SIZE,
                seed=self.config.learning.seed,
                description=f"Validating the {role}",
            )
            with self._validation_writer(role).as_default(self.progress.step):
                write_scalars(results[role])
            found = ", ".join(f"{name} {value:.4f}" for name, value in results[role].items() if name != "examples")
            log.info("Epoch %d, validation of the %s: %s", self.progress.epoch, role, found)
        return results.get("student", results.get("teacher"))

    def _save_weights(self, path: pathlib.Path, description: Mapping[str, Any]):
        atomic.make_directory(path.parent)
        with atomic.directory_written_beside(path) as folder:
            for role in self.trained_roles:
                directory.save_weights(self.models[role], folder, role)
            if description:
                atomic.write_json(folder / "best.json", description)

    def _log_histograms(self, view: View):
        """Gates and cluster assignments of the first few training videos, where the model has them."""
        first = contextlib.closing(self.files["train"].ordered_batches(view, HISTOGRAM_VIDEOS))
        with first as batches:
            few = next(batches, None)
        for role in self.trained_roles if few else ():
            frames = few if role == "teacher" else student_view(few)
            inputs = {"frames": frames["frames"], "num_frames": frames["num_frames"]}
            outputs = self.models[role](inputs, return_intermediates=True)
            real = tf.sequence_mask(inputs["num_frames"], inputs["frames"].shape[1])
            for name, value in outputs.items():
                if name.startswith(("gates", "assignment")):
                    by_frame = name.startswith("assignment")
                    shown = tf.boolean_mask(value, real) if by_frame else value
                    tf.summary.histogram(f"{role}/{name}", shown, step=self.progress.step)


@dataclass
class _Clock:
    """Where the time goes between two looks at the loss."""

    videos: int = 0
    waited: float = 0.0
    started: float = field(default_factory=time.monotonic)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts as waiting for input."""
        asked = time.monotonic()
        yield
        self.waited += time.monotonic() - asked

    def seconds(self) -> float:
        """Since the last look."""
        return time.monotonic() - self.started


def names_and_sizes(videos: VideoFiles) -> list[list[str | int]]:
    return [[os.path.basename(path), os.path.getsize(path)] for path in videos.files]


def metric_variables(step_model: LabelTrainer) -> list:
    return [variable for metric in step_model.metrics for variable in metric.variables]


class _signals_noted:
    """While it lasts, SIGTERM and Ctrl-C let the loop save its state before it ends."""

    def __init__(self, loop: TrainingLoop):
        self.loop = loop
        self.former = {}

    def __enter__(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self.former[number] = signal.signal(number, self._note)
            except ValueError:  # not the main thread
                return

    def _note(self, number, frame):
        log.info("Signal %s: saving the state after this step", signal.Signals(number).name)
        self.loop.interrupted = True

    def __exit__(self, *error):
        for number, handler in self.former.items():
            signal.signal(number, handler)
