"""The training loop: the life of a batch, from the files to a checkpoint."""

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping

import keras

from yt8m_distill.config.run import RunConfig
from yt8m_distill.data.batches import Batch, StoredOutputs, videos_in
from yt8m_distill.data.device_copies import copied_ahead
from yt8m_distill.data.reading_order import Position
from yt8m_distill.data.video_files import VideoFiles
from yt8m_distill.devices.cluster import ONE_DEVICE, Devices
from yt8m_distill.distiller import LabelTrainer
from yt8m_distill.errors import Interrupted
from yt8m_distill.files.progress_bar import ProgressBar
from yt8m_distill.prediction.predict import prediction_function
from yt8m_distill.runs import checkpoints, weights
from yt8m_distill.runs.checkpoints import Checkpoint
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.training import optimizers
from yt8m_distill.training.callbacks import TrainingCallbacks
from yt8m_distill.training.checkpointing import Checkpointer, Progress, names_and_sizes, position_of
from yt8m_distill.training.gradient_shares import measured_first
from yt8m_distill.training.hparams import write_settings
from yt8m_distill.training.logs import StepLog, TrainingLogs, log_histograms
from yt8m_distill.training.stages import Stage, stages, step_model_of, steps_of_stages
from yt8m_distill.training.step import StepResult, compiled_step, compiled_step_on_all
from yt8m_distill.training.stopping import StopRequests
from yt8m_distill.training.validation import is_best, validate

log = logging.getLogger(__name__)

LOG_EVERY_STEPS = 10


class TrainingLoop:
    """Runs the training steps of all stages, and what happens between them: logs, checkpoints, validation.

    Args:
        config: of the run.
        run: where everything is written.
        models: by role; the teacher of serial training is only read.
        files: "train" and, where given, "validation".
        stored: outputs of the teacher of serial training; None: it runs in every step.
        devices: that the models were built for.
        callbacks: of the run.
    """

    def __init__(
        self,
        config: RunConfig,
        run: RunDir,
        models: Mapping[str, keras.Model],
        files: Mapping[str, VideoFiles],
        stored: StoredOutputs | None = None,
        devices: Devices = ONE_DEVICE,
        callbacks: TrainingCallbacks | None = None,
    ):
        self.callbacks = callbacks or TrainingCallbacks((), run, devices)
        self.config = config
        self.run_dir = run
        self.files = files
        self.devices = devices
        self.stages = stages(config, models, stored)
        self.total_steps = steps_of_stages(self.stages, config, files["train"])
        self.models = {role: models[role] for role in config.trained_roles}
        self.predict = {role: prediction_function(model, config.learning.xla) for role, model in self.models.items()}
        self.logs = TrainingLogs(run.logs, ("train", "validation", "validation_teacher"), silent=not devices.is_chief)
        self.step_log = StepLog(run, config.learning.label_loss)
        self.checkpointer = Checkpointer(run, config.checkpointing, self.models, self.logs, devices)
        self.stop_requests = StopRequests(devices.workers)
        self.progress = Progress(train_files=names_and_sizes(files["train"]), stage_start=0)
        for model in self.models.values():
            devices.separate_random_states(model.variables)

    def run(self):
        """Trains all stages, from the latest checkpoint if there is one."""
        checkpoint = self.checkpointer.latest()
        self.logs.cut_back(checkpoint.log_sizes() if checkpoint else {})
        if checkpoint is not None:
            self.progress = self.checkpointer.progress_at(checkpoint, self.progress)
            if self.devices.is_chief:
                self._take_back_best()
        if self.devices.is_chief:
            write_settings(self.config, self.run_dir.logs)
        with self.stop_requests.noted(), self.logs.writer("train").as_default():
            for index in range(self.progress.stage, len(self.stages)):
                self._train_stage(self.stages[index], checkpoint)
                checkpoint = None
                self.progress = self.progress.next_epoch(stage=index + 1, epoch=0, stage_start=self.progress.step)
        self.logs.close()

    def _train_stage(self, stage: Stage, checkpoint: Checkpoint | None):
        step_model = step_model_of(stage, self.config, self.devices, self.total_steps[self.progress.stage])
        if checkpoint is not None:
            self.checkpointer.restore(checkpoint, step_model)
        step = self._compiled(stage, step_model)
        state = None if checkpoint is None else self.progress.callbacks
        self.callbacks.begin_stage(step_model, stage.name, stage.epochs, state)
        # A run that was stopped within an epoch completes it, even where the epoch has no more steps.
        while self.progress.epoch < stage.epochs and not (self._is_over(step_model) and self.progress.batch == 0):
            self._train_epoch(stage, step, step_model)
            self._check_finite(step_model)
            if self._enough_steps(step_model) and self.devices.is_chief:  # a longer training completes the epoch
                self.progress.callbacks = self.callbacks.state()
                self.checkpointer.save_stage_end(self.progress, step_model)
            self._end_epoch(stage, step_model)
        self.callbacks.end_stage()
        if self.devices.is_chief and not self._enough_steps(step_model):
            self._note_end(stage, step_model)
        if stage.followed:
            optimizers.take_over_averages(step_model.optimizer, step_model.trained_variables())
            if self.devices.is_chief:
                weights.save_all(self.models, self.run_dir.finished_stages / str(self.progress.stage + 1))

    def _note_end(self, stage: Stage, step_model: LabelTrainer):
        """Stores the end of a stage at the end of an epoch, where the next stage will replace the last checkpoints."""
        if stage.followed:
            self.checkpointer.save_stage_end(self.progress, step_model)
        elif end := checkpoints.stage_end(self.run_dir, self.progress.stage):  # of a shorter training
            end.remove()

    def _take_back_best(self):
        """At the end of a stage, from which a longer training goes on: the best weights are those until then."""
        end = checkpoints.stage_end(self.run_dir, self.progress.stage)
        if end is not None and position_of(end) == self.progress:
            checkpoints.take_back_best(self.run_dir, end)

    def _train_epoch(self, stage: Stage, step: Callable[[Batch], StepResult], step_model: LabelTrainer):
        """One epoch, or the rest of one."""
        self.step_log.start()
        self.callbacks.begin_epoch(self.progress.epoch, resumed=self.progress.batch > 0)
        with self._progress_bar(stage, step_model) as bar, contextlib.closing(self._batches(stage)) as batches:
            while not self._is_over(step_model):
                # 1. A thread has read the batch meanwhile; waiting for it is measured.
                with self.step_log.waiting():
                    batch = next(batches, None)
                if batch is None:
                    break
                # 2. The step is only handed to the device: nothing below looks at the result but 4, 5 and callbacks.
                self.callbacks.begin_batch(self.progress.batch)
                result = step(batch)
                # 3. The position comes before everything that is stored: a checkpoint is at the next batch.
                self._count(batch, bar)
                self.step_log.add(self.progress.step, result, batch)
                self.callbacks.end_batch(self.progress.batch - 1)
                # 4. Now and then, the means since the last time; a loss that is not finite ends the training here.
                if self.progress.step % LOG_EVERY_STEPS == 0:
                    self.callbacks.before_reset()
                    shown = self.step_log.write(self.progress.step, step_model)
                    bar.set_postfix({name: f"{value:.4g}" for name, value in shown.items()}, refresh=False)
                # 5. The curves before the checkpoint, which notes their sizes; the means are checked before it, too.
                stopping, due = self.stop_requests.pending(), self.checkpointer.is_due(self.progress.step)
                if stopping or due:
                    self._check_finite(step_model)
                    self._save(step_model, stopped=not due)
                # 6. A request to stop ends the training with its state saved.
                self._end_if(stopping)

    def _end_epoch(self, stage: Stage, step_model: LabelTrainer):
        """Histograms, validation, the best weights, and a checkpoint at the start of the next epoch."""
        self.progress = self.progress.next_epoch(epoch=self.progress.epoch + 1, epoch_examples=self.progress.examples)
        if self.devices.is_chief:
            with optimizers.averaged(step_model.optimizer, step_model.trained_variables()):
                log_histograms(self.models, self.files["train"], stage.view, self.progress.step)
                metrics = self._validate()
                self.callbacks.end_epoch(self.progress.epoch - 1, metrics, self.config.main_role)
        self.callbacks.agree()
        self._save(step_model)
        self._end_if(self.stop_requests.pending(at_end=True))

    def _validate(self) -> dict[str, dict[str, float]]:
        """Validates the models, and keeps their weights where they are the best so far; the metrics by role."""
        results = {}
        if "validation" in self.files:
            results = validate(self.config, self.predict, self.files["validation"], self.logs, self.progress)
        metrics = results.get(self.config.main_role)
        if is_best(metrics, self.progress.best):
            self.progress.best = {"stage": self.progress.stage, "epoch": self.progress.epoch, **(metrics or {})}
            weights.save_all(self.models, self.run_dir.best, {"step": self.progress.step, **self.progress.best})
        return results

    def _check_finite(self, step_model: LabelTrainer):
        """Ends the training, before anything is stored, where the loss or what the last update made is not finite."""
        self.step_log.finite_means(self.progress.step, step_model)
        if self.devices.is_chief:
            self.checkpointer.check_finite(self.progress.step, step_model)

    def _save(self, step_model: LabelTrainer, stopped: bool = False):
        """Writes a checkpoint; only the chief does."""
        if self.devices.is_chief:
            self.progress.callbacks = self.callbacks.state()
            self.checkpointer.save(dataclasses.replace(self.progress, stopped=stopped), step_model)

    def _end_if(self, stopping: bool):
        """Ends a run that was asked to stop; its state has just been saved."""
        if stopping:
            self.devices.wait()  # until it is
            raise Interrupted(
                f"Stopped at step {self.progress.step}; the state is saved in {self.run_dir.checkpoints}. "
                "The same command continues."
            )

    def _compiled(self, stage: Stage, step_model: LabelTrainer) -> Callable[[Batch], StepResult]:
        """The step as a function of a batch, in the first steps after a measurement where weights are to follow."""
        step = self._compiled_step(stage, step_model)
        if step_model.shares is None:
            return step
        return measured_first(step, step_model, stage.view, self.config.data, self.devices)

    def _compiled_step(self, stage: Stage, step_model: LabelTrainer) -> Callable[[Batch], StepResult]:
        """The step alone; on several devices it also collects the requests to stop."""
        if self.devices.replicas == 1:
            return compiled_step(step_model, stage.view, self.config.data, self.config.learning.xla)
        step = compiled_step_on_all(step_model, stage.view, self.config.data, self.devices)

        def voting(batch: Batch) -> StepResult:
            result, votes = step(batch, self.stop_requests.here)
            self.stop_requests.add_votes(votes)
            return result

        return voting

    def _batches(self, stage: Stage) -> Iterator[Batch]:
        """The rest of the epoch, in an order that follows from seed, stage and epoch."""
        batches = self.files["train"].training_batches(
            stage.view,
            self.config.learning.batch_size,
            seed=self.config.learning.seed,
            epoch=self.progress.epoch + 1000 * self.progress.stage,
            start=Position(*self.progress.position),
            shard=self.devices.shard,
        )
        return copied_ahead(batches) if self.devices.replicas == 1 else batches

    def _is_over(self, step_model: LabelTrainer) -> bool:
        """Whether the stage ends before its epochs do."""
        return self.callbacks.stopped or self._enough_steps(step_model)

    def _enough_steps(self, step_model: LabelTrainer) -> bool:
        limit = self.config.learning.max_steps
        return limit is not None and optimizers.steps_done(step_model.optimizer) >= limit

    def _count(self, batch: Batch, bar: ProgressBar):
        self.progress.count(batch)
        bar.update(videos_in(batch))

    def _progress_bar(self, stage: Stage, step_model: LabelTrainer) -> ProgressBar:
        total = self.progress.epoch_examples or self.files["train"].estimated_videos()
        limit = self.config.learning.max_steps
        if limit is not None:
            steps_left = max(0, limit - optimizers.steps_done(step_model.optimizer))
            total = min(total, self.progress.examples + steps_left * self.config.learning.batch_size)
        return ProgressBar(
            max(total, self.progress.examples),
            f"{stage.name}, epoch {self.progress.epoch + 1}/{stage.epochs}",
            " videos",
            is_estimate=not self.progress.epoch_examples,
            initial=self.progress.examples,
            disable=not self.devices.is_chief,
        )
