"""Trains teachers, baselines and students: `run_training`, and the one loop that drives every training step."""

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
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from yt8m_distill import distribution, optimizers, replicas, run_dir, teacher_cache, trained_model
from yt8m_distill.accelerators import SteadyShapes, check_xla, copied_ahead
from yt8m_distill.config import TrainConfig, from_values
from yt8m_distill.data.bad_records import report_skipped
from yt8m_distill.data.dataset import (
    BEGINNING,
    Batch,
    Position,
    StoredOutputs,
    VideoFiles,
    View,
    estimated_videos,
    position_after,
    videos_in,
)
from yt8m_distill.dataset_spec import SEGMENT, DatasetSpec
from yt8m_distill.distiller import (
    Distiller,
    LabelTrainer,
    check_classifiers,
    check_frame_states,
    check_has_encoder,
    check_same_weights,
    have_same_classifier,
    start_from_classifier,
    start_from_teacher,
    student_view,
)
from yt8m_distill.distribution import ONE_DEVICE, Devices
from yt8m_distill.errors import Interrupted, UserError
from yt8m_distill.evaluation import evaluate, prediction_function, write_scalars
from yt8m_distill.metrics import EvaluationMetrics
from yt8m_distill.precision import warn_where_slow
from yt8m_distill.quantization import read_eigenvalues
from yt8m_distill.report import Report, make_report
from yt8m_distill.run_dir import RunDir
from yt8m_distill.run_setup import open_run, resolve
from yt8m_distill.training_logs import TrainingLogs

log = logging.getLogger(__name__)

LOG_EVERY_STEPS = 10
EVALUATION_BATCH_SIZE = 128
HISTOGRAM_VIDEOS = 16
_NOT_AVERAGED = "not_averaged_"  # of weights in a checkpoint, where evaluation takes their moving averages
MOST_STEPS = 2**62  # TensorBoard counts with 64 bits


def run_training(config: TrainConfig, start_new_model: bool = False, devices: Devices | None = None) -> Report | None:
    """Trains what `config` describes, or goes on with it, and reports on it.

    Args:
        config: as from the flags; None and empty fields take their defaults.
        start_new_model: move an existing run aside first.
        devices: to train on, where they are already open; None: those of `config.distribution`.

    Returns:
        The table of the finished run, also of one that had finished before; None where another worker has written it.

    Raises:
        UserError: wrong settings or input, or a run in the same directory with other settings.
        LostWorker: another process of the same training has gone.
        TooManyBadRecords: at the end, more of the input than allowed was skipped.
    """
    devices = devices or distribution.open_devices(config.distribution)
    with distribution.loss_of_workers_named(devices):
        if not devices.is_chief:
            devices.wait()  # the chief writes the sample data, where that is what there is to train on
        config, files = resolve(config)
        if devices.is_chief:
            devices.wait()
        report = _train(config, files, start_new_model, devices)
    report_skipped((videos.bad_records for videos in files.values()), config.bad_records.max_bad_fraction)
    return report


def _train(
    config: TrainConfig, files: Mapping[str, VideoFiles], start_new_model: bool, devices: Devices
) -> Report | None:
    distribution.check_batch_size(config, devices)
    devices.check_same(distribution.described(config, _names_and_sizes(files["train"])))
    check_buildable(config)
    eigenvalues = None
    if config.eigenvalues is not None:
        eigenvalues = read_eigenvalues(config.eigenvalues, config.data.feature_sizes[0])
    run = open_run(config, start_new_model) if devices.is_chief else RunDir(config.train_dir)
    report = _finished_report(run) if devices.is_chief else None
    finished = devices.from_chief(report is not None)
    if finished:
        if devices.from_chief(report is not None and report.eval_data_pattern == config.eval_data_pattern):
            log.info("The run in %s has finished.", run.path)
            return report
        log.info("The run in %s has finished; evaluating it on other videos.", run.path)
    warn_where_slow(config.learning.precision)
    if config.learning.deterministic:
        tf.config.experimental.enable_op_determinism()
    teachers = _finished_teachers(config, run, devices) if config.training_mode == "serial" else []
    keras.utils.set_random_seed(config.learning.seed)
    with devices.scope():
        models = trained_model.build_models(config)
    if eigenvalues is not None:
        for model in models.values():
            model.set_eigenvalues(eigenvalues)
    teacher = _teacher_of(models["student"], teachers, config, run) if teachers else None
    if teacher is not None:
        models = {**models, "teacher": teacher.model}
    if config.learning.xla:
        check_xla(models.values())
    if not finished:
        stored = _stored_outputs(config, teacher, files["train"], devices)
        TrainingLoop(config, run, models, files, stored, devices).run()
    if devices.is_chief:
        report = make_report(config, run, files, teacher)
        run_dir.write_json(run.report_file, dataclasses.asdict(report))
    devices.wait()  # for what the chief writes; and no worker ends before it, which would look like its loss
    return report


def _finished_report(run: RunDir) -> Report | None:
    return Report.read(run.report_file) if run.report_file.exists() else None


def _stored_outputs(
    config: TrainConfig, teacher: trained_model.TrainedModel | None, videos: VideoFiles, devices: Devices
) -> StoredOutputs | None:
    """The teacher's outputs; where they are not stored yet, the chief does that, and the others wait."""
    if config.teacher_cache is None:
        return None
    if not devices.is_chief:
        devices.wait()
    stored = teacher_cache.open_cache(config, teacher, videos)
    if devices.is_chief:
        devices.wait()
    return stored


def check_buildable(config: TrainConfig):
    """Finds wrong model arguments, or a student that does not fit its teacher, before anything is trained or written.

    Raises:
        UserError: see there.
    """
    optimizers.make_optimizer(config)
    try:
        with keras.StatelessScope():
            models = trained_model.build_models(config, with_teacher=not config.teacher_dir)
    except tf.errors.ResourceExhaustedError as error:
        raise UserError(f"{config.model} does not fit into memory; give smaller sizes by --model_args.") from error
    if config.distillation is None:
        return
    student = models["student"]
    teacher = models.get("teacher", student)  # that of --teacher_dir is looked at when it is there
    check_has_encoder(student, config.distillation.losses)
    if config.training_mode == "serial":
        check_classifiers(student, teacher)
        if config.distillation.student_init == "teacher":
            check_same_weights(student, teacher)
    if config.distillation.representation_matching == "intermediate":
        check_frame_states(student, teacher)


def _finished_teachers(config: TrainConfig, run: RunDir, devices: Devices) -> list[trained_model.TrainedModel]:
    """Those of `--teacher_dir`, or one that is trained now in `<train_dir>/teacher`."""
    precision = config.learning.precision
    for folder in config.teacher_dirs:
        if not RunDir(folder).report_file.exists():
            raise UserError(f"--teacher_dir={folder} holds no finished run (no report.json in it).")
    if not config.teacher_dirs:
        log.info("Training the teacher on all frames in %s", run.teacher.path)
        teachers_config, files = resolve(config.of_teacher(str(run.teacher.path)))
        _train(teachers_config, files, start_new_model=False, devices=devices)
    with devices.scope():
        if not config.teacher_dirs:
            return [trained_model.load(str(run.teacher.path), "teacher", precision=precision)]
        return [trained_model.load_member(folder, precision) for folder in config.teacher_dirs]


def _teacher_of(
    student: keras.Model, teachers: Sequence[trained_model.TrainedModel], config: TrainConfig, run: RunDir
) -> trained_model.TrainedModel:
    """The teacher, or several as one; the student starts from the weights that it takes over."""
    for each in teachers:
        _check_teacher(each, config)
    matched = _matched(student, teachers, config)
    if matched is not None:
        _check_same_input(student, matched)
        start = start_from_teacher if config.distillation.student_init == "teacher" else start_from_classifier
        start(student, matched.model)
    else:
        log.info("No teacher has the student's representation: its classifier starts with weights of its own.")
    return teachers[0] if len(teachers) == 1 else trained_model.join(teachers, run, matched)


def _check_same_input(student: keras.Model, teacher: trained_model.TrainedModel):
    if type(teacher.model) is not type(student):
        return
    ours, theirs = student.input_normalization, teacher.model.input_normalization
    if ours != theirs:
        raise UserError(
            f"the teacher in '{teacher.run_path}' was trained with --input_normalization={theirs}, the student is to "
            f"have {ours}; give both the same."
        )
    if ours == "unwhiten" and not np.array_equal(student.eigenvalues, teacher.model.eigenvalues):
        raise UserError(f"the teacher in '{teacher.run_path}' was trained with other --eigenvalues than the student's.")


def _matched(
    student: keras.Model, teachers: Sequence[trained_model.TrainedModel], config: TrainConfig
) -> trained_model.TrainedModel | None:
    """The teacher whose classifier, and with the loss rep whose representation, the student takes; None: no one's."""
    if len(teachers) > 1:
        return _of_own_family(student, teachers, config)
    settings = config.distillation
    needed = "rep" in settings.losses or settings.student_init == "teacher"
    return teachers[0] if needed or have_same_classifier(student, teachers[0].model) else None


def _of_own_family(
    student: keras.Model, teachers: Sequence[trained_model.TrainedModel], config: TrainConfig
) -> trained_model.TrainedModel | None:
    """The one teacher with the student's class, representation size and classifier; None where it is not needed."""
    size = student.representation_size
    fitting = [
        each
        for each in teachers
        if type(each.model) is type(student)
        and each.model.representation_size == size
        and have_same_classifier(student, each.model)
    ]
    if len(fitting) == 1:
        return fitting[0]
    settings = config.distillation
    wishes = {"--student_losses with rep": "rep" in settings.losses}
    wishes["--student_init=teacher"] = settings.student_init == "teacher"
    for wish in (name for name, given in wishes.items() if given):
        raise UserError(
            f"{wish} needs exactly one teacher in --teacher_dir that is a {config.model} with a representation of "
            f"{size} values and a classifier as the student; there are {len(fitting)}. Give "
            "--student_losses=pred,ce and --student_init=classifier, or other teachers."
        )
    return None


def _check_teacher(teacher: trained_model.TrainedModel, config: TrainConfig):
    theirs, ours = teacher.config.data, config.data
    if trained_model.data_format(theirs) != trained_model.data_format(ours):
        raise UserError(
            f"the teacher in '{teacher.run_path}' was trained on {theirs.level}-level features "
            f"{', '.join(theirs.feature_names)} of sizes {theirs.feature_sizes} and {theirs.num_classes} classes; "
            f"this data has {ours.level}-level {', '.join(ours.feature_names)}, {ours.feature_sizes} and "
            f"{ours.num_classes}."
        )


@dataclass(frozen=True)
class Stage:
    """One part of a training: a step model, what it reads, and for how many epochs.

    Attributes:
        name: for log and progress bar.
        epochs: passes over the training files.
        view: the frames its batches hold.
        build: makes the step model.
        followed: by another stage.
    """

    name: str
    epochs: int
    view: View
    build: Callable[[], LabelTrainer]
    followed: bool = False


def stages(config: TrainConfig, models: Mapping[str, keras.Model], stored: StoredOutputs | None = None) -> list[Stage]:
    """What is trained, in order. Serial training with the loss rep alone is followed by fine-tuning on the labels.

    Args:
        config: resolved.
        models: by role.
        stored: outputs of the teacher of serial training, which then does not run.

    Source: Bhardwaj et al. section 4, the variants of serial training.
    """
    learning = config.learning
    options = {
        "label_loss": learning.label_loss,
        "regularization_penalty": learning.regularization_penalty,
        "clip_gradient_norm": learning.clip_gradient_norm,
    }
    if config.distillation is None:
        role = "teacher" if config.training_mode == "teacher" else "student"
        name = "Training the teacher" if role == "teacher" else "Training the baseline"
        return [Stage(name, learning.num_epochs, View(config.selection), lambda: LabelTrainer(models[role], **options))]
    settings = dataclasses.asdict(config.distillation)
    del settings["student_init"]  # has been done
    distill = Stage(
        "Distilling the student" if config.training_mode == "serial" else "Training teacher and student",
        learning.num_epochs,
        View(config.selection, with_all_frames=stored is None, stored=stored),
        lambda: Distiller(models["teacher"], models["student"], mode=config.training_mode, **settings, **options),
    )
    if config.training_mode != "serial" or config.distillation.losses != ("rep",):
        return [distill]
    epochs = learning.finetune_epochs or learning.num_epochs
    return [
        dataclasses.replace(distill, followed=True),
        Stage(
            "Fine-tuning the student",
            epochs,
            View(config.selection),
            lambda: LabelTrainer(models["student"], **options),
        ),
    ]


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
        config: TrainConfig,
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
        self.trained_roles = [role for role in models if not (role == "teacher" and config.training_mode == "serial")]
        xla = config.learning.xla
        self.predict = {role: prediction_function(models[role], xla) for role in self.trained_roles}
        self.logs = TrainingLogs(run.logs, ("train", "validation", "validation_teacher"), silent=not devices.is_chief)
        self.progress = Progress(train_files=_names_and_sizes(files["train"]))
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

    def _latest_checkpoint(self) -> run_dir.Checkpoint | None:
        """The last one that the chief sees."""
        found = {each.step: each for each in run_dir.checkpoints(self.run_dir)}
        step = self.devices.from_chief(max(found, default=-1))
        if step >= 0 and step not in found:
            raise UserError(
                f"this worker does not see the checkpoint of step {step} in '{self.run_dir.checkpoints}', from which "
                "the first one goes on: --train_dir must be on a disk that all machines share."
            )
        return found.get(step)

    def _go_on_from(self, stored: run_dir.Checkpoint):
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

    def _train_stage(self, stage: Stage, stored: run_dir.Checkpoint | None):
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
            return _compiled_step(step_model, stage.view, self.config.data, self.config.learning.xla)
        step = _compiled_step_on_all(step_model, stage.view, self.config.data, self.devices)

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
            part=self.devices.part,
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
        total = self.progress.epoch_examples or estimated_videos(self.files["train"])
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
        stored = run_dir.checkpoints(self.run_dir)
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
                arrays |= trained_model.model_arrays(self.models[role], f"{_NOT_AVERAGED}{role}")
        with optimizers.averaged(optimizer, step_model.trained_variables()):  # what evaluation takes from a checkpoint
            for role in self.trained_roles:
                arrays |= trained_model.model_arrays(self.models[role], role)
        arrays |= {f"optimizer.{i:04d}": variable.numpy() for i, variable in enumerate(optimizer.variables)}
        arrays |= {f"metrics.{i:04d}": variable.numpy() for i, variable in enumerate(_metric_variables(step_model))}
        run_dir.save_checkpoint(
            self.run_dir,
            self.progress.step,
            arrays,
            self.config.checkpointing.keep,
            progress=dataclasses.asdict(self.progress),
            log_sizes=self.logs.sizes(),
        )
        self.last_checkpoint_time = time.monotonic()

    def _restore(self, stored: run_dir.Checkpoint, step_model: LabelTrainer, optimizer):
        trained_model.assign(optimizer.variables, stored.arrays("optimizer."), stored)
        prefix = _NOT_AVERAGED if optimizers.averages(optimizer) else ""
        for role in self.trained_roles:
            trained_model.load_arrays(self.models[role], stored, f"{prefix}{role}")
            self.devices.separate_random_states(self.models[role].variables)
        trained_model.assign(_metric_variables(step_model), stored.arrays("metrics."), stored)

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
                None if role == "teacher" else self.config.selection.for_evaluation(),
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
        run_dir.make_directory(path.parent)
        with run_dir.directory_written_beside(path) as folder:
            for role in self.trained_roles:
                run_dir.save_weights(self.models[role], folder, role)
            if description:
                run_dir.write_json(folder / "best.json", description)

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


def _names_and_sizes(videos: VideoFiles) -> list[list[str | int]]:
    return [[os.path.basename(path), os.path.getsize(path)] for path in videos.files]


def _metric_variables(step_model: LabelTrainer) -> list:
    return [variable for metric in step_model.metrics for variable in metric.variables]


def _compiled_step(
    step_model: LabelTrainer, view: View, spec: DatasetSpec, xla: bool = False
) -> Callable[[Batch], tf.Tensor]:
    """The training step as one graph for all batch shapes; returns the mean loss since the last look."""
    inputs, targets = _signature(view, spec)

    @tf.function(input_signature=(inputs, targets), jit_compile=xla or None)
    def step(batch, target):
        return step_model.train_step((batch, target["labels"], target.get("label_weights")))["loss"]

    lengths = SteadyShapes({"frames": (1,), "student_indices": (1,)} if xla else {})

    def step_of(batch: Batch) -> tf.Tensor:
        batch = lengths.padded(batch)
        return step({name: batch[name] for name in inputs}, {name: batch[name] for name in targets})

    return step_of


def _compiled_step_on_all(
    step_model: LabelTrainer, view: View, spec: DatasetSpec, devices: Devices
) -> Callable[[Batch, bool], tuple[tf.Tensor, tf.Tensor]]:
    """The same on all devices together: of a batch, or this process's part of it, each takes its own videos.

    Returns:
        Function of a batch and this process's wish to stop, to the mean loss since the last look and how many wish so.
    """
    inputs, targets = _signature(view, spec)
    names = list(step_model.means())

    def on_replica(batch, target, videos, wish):
        with tf.device("CPU:0"):  # where the batch is: only the replica's own videos are copied to its device
            read = tf.shape(batch["num_frames"])[0]
            begin, end, count = devices.rows(videos, read)
            batch, target = tf.nest.map_structure(lambda values: values[begin:end], (batch, target))
            for name in {"num_frames", "student_num_frames"} & batch.keys():
                batch[name] = tf.where(count > 0, batch[name], 0)  # of a video that does not count, nothing is seen
            share = tf.cast(count, tf.float32) / tf.cast(videos, tf.float32)
        terms = step_model.learn((batch, target["labels"], target.get("label_weights")), share)
        (total,) = replicas.summed([tf.stack([*(share * terms[name] for name in names), tf.cast(wish, tf.float32)])])
        return total

    number = tf.TensorSpec([], tf.int32)

    @tf.function(input_signature=(inputs, targets, number, number), autograph=False)
    def step(batch, target, videos, wish):
        total = devices.strategy.run(on_replica, args=(batch, target, videos, wish))
        *terms, wishes = tf.unstack(devices.strategy.experimental_local_results(total)[0])
        return step_model.track(dict(zip(names, terms, strict=True)), videos)["loss"], wishes

    def of_batch(batch: Batch, wish: bool):
        with tf.device("CPU:0"):
            parts = ({name: tf.convert_to_tensor(batch[name]) for name in each} for each in (inputs, targets))
            return step(*parts, videos_in(batch), int(wish))

    return of_batch


def _signature(view: View, spec: DatasetSpec) -> tuple[dict[str, tf.TensorSpec], dict[str, tf.TensorSpec]]:
    """Inputs and targets of a training step, for all batch shapes."""
    inputs = {
        "frames": tf.TensorSpec([None, None, spec.frame_size], spec.frame_dtype),
        "num_frames": tf.TensorSpec([None], tf.int32),
    }
    if view.with_all_frames:
        inputs["student_indices"] = tf.TensorSpec([None, None], tf.int32)
        inputs["student_num_frames"] = tf.TensorSpec([None], tf.int32)
    if view.stored is not None:
        inputs |= {name: tf.TensorSpec([None, width], tf.float32) for name, width in view.stored.widths.items()}

    rated = spec.level == SEGMENT
    targets = {"labels": tf.TensorSpec([None, spec.num_classes], tf.float32 if rated else tf.uint8)}
    if rated:
        targets["label_weights"] = tf.TensorSpec([None, spec.num_classes], tf.float32)
    return inputs, targets


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
