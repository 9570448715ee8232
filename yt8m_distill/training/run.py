"""Trains teachers, baselines and students: `run_training`."""

import contextlib
import logging
import pathlib
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from yt8m_distill.config.json import to_values
from yt8m_distill.config.run import RunConfig
from yt8m_distill.config.training import TrainConfig
from yt8m_distill.data.bad_records import report_skipped
from yt8m_distill.data.batches import StoredOutputs
from yt8m_distill.data.feature_ranges import copy_description
from yt8m_distill.data.labels import check_labels
from yt8m_distill.data.video_files import VideoFiles
from yt8m_distill.devices import cluster
from yt8m_distill.devices.cluster import Devices
from yt8m_distill.devices.precision import warn_where_slow
from yt8m_distill.errors import UserError
from yt8m_distill.files import atomic
from yt8m_distill.models import building
from yt8m_distill.models.xla import check_xla
from yt8m_distill.quantization import read_eigenvalues
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.runs.loading import load_member
from yt8m_distill.runs.teachers import role_of_teacher, teacher_config, teacher_runs
from yt8m_distill.runs.trained_model import TrainedModel
from yt8m_distill.training import run_card
from yt8m_distill.training.callbacks import CallbackMakers, TrainingCallbacks, makers
from yt8m_distill.training.checkpointing import names_and_sizes
from yt8m_distill.training.loop import TrainingLoop
from yt8m_distill.training.matching import (
    check_buildable,
    check_is_another_run,
    check_start,
    learns_labels,
    start_from_run,
    teacher_of,
)
from yt8m_distill.training.opening import open_run
from yt8m_distill.training.report import Report, make_report
from yt8m_distill.training.resolve import resolve
from yt8m_distill.training.teacher_cache import open_cache

log = logging.getLogger(__name__)


def run_training(
    config: TrainConfig,
    start_new_model: bool = False,
    devices: Devices | None = None,
    callbacks: Sequence[str | keras.callbacks.Callback] = (),
) -> Report | None:
    """Trains or resumes a run, and evaluates it.

    Args:
        config: as from the flags; None and empty fields take their defaults.
        start_new_model: move an existing run aside first.
        devices: to train on, where they are already open; None: those of `config.distribution`.
        callbacks: of every training, also of a teacher on the way; see `training.callbacks.makers`.

    Returns:
        The table of the finished run, also of one that had finished before; None where another worker has written it.

    Raises:
        UserError: wrong settings or input, or a run in the same directory with other settings.
        LostWorker: another process of the same training has gone.
        TooManyBadRecords: at the end, more of the input than allowed was skipped.
    """
    devices = devices or cluster.open_devices(config.distribution)
    made = makers(callbacks)
    with cluster.loss_of_workers_named(devices):
        with devices.chief_first():  # it writes the sample data, where the run is trained on that
            run_config, files = resolve(config)
        check_is_another_run(run_config)
        _check_labels(run_config, files)
        report = _train(run_config, files, start_new_model, devices, made)
    report_skipped((videos.bad_records for videos in files.values()), config.bad_records.max_bad_fraction)
    return report


def _check_labels(config: RunConfig, files: Mapping[str, VideoFiles]):
    """Checks that there are labels to learn from, to choose the best epoch by, and to measure the result on."""
    consequences = {
        "train": "nothing can be learned from them",
        "validation": "the best epoch cannot be chosen by them",
        "eval": "the trained model cannot be measured on them",
    }
    for name, videos in files.items():
        if name != "train" or learns_labels(config):
            check_labels(videos, f"{name}_data_pattern", consequences[name])


def _train(
    config: RunConfig,
    files: Mapping[str, VideoFiles],
    start_new_model: bool,
    devices: Devices,
    callbacks: CallbackMakers,
) -> Report | None:
    """Trains or resumes a resolved run, its teacher first."""
    # 1. Everything that can be refused, before anything is written.
    cluster.check_batch_size(config, devices)
    devices.check_same(cluster.described(config, names_and_sizes(files["train"])))
    check_buildable(config)
    eigenvalues = _eigenvalues(config)
    opened = open_run(config, start_new_model) if devices.is_chief else contextlib.nullcontext(RunDir(config.train_dir))
    with opened as run:
        if devices.is_chief and config.data.extraction:
            copy_description(pathlib.Path(files["train"].files[0]).parent, run.path)
        return _train_in(run, config, files, eigenvalues, devices, callbacks)


def _train_in(
    run: RunDir,
    config: RunConfig,
    files: Mapping[str, VideoFiles],
    eigenvalues: np.ndarray | None,
    devices: Devices,
    callbacks: CallbackMakers,
) -> Report | None:
    """Trains or resumes a run in its open directory."""
    # 2. A run that has finished is at most evaluated on other videos.
    report = Report.read(run.report_file) if devices.is_chief and run.report_file.exists() else None
    finished = devices.from_chief(report is not None)
    if finished:
        if devices.from_chief(report is not None and report.eval_data_pattern == config.eval_data_pattern):
            log.info("The run in %s has finished.", run.path)
            return report
        log.info("The run in %s has finished; evaluating it on other videos.", run.path)
    # 3. The teachers come before the seed, so that a student starts alike whether or not its teacher is trained now.
    warn_where_slow(config.learning.precision)
    if config.learning.deterministic:
        tf.config.experimental.enable_op_determinism()
        # With it, a student that learns to choose its frames had another loss in some runs: its step also reads what
        # it updates, by two passes of the same model.
        tf.config.optimizer.set_experimental_options({"dependency_optimization": False})
    if config.init_from is not None and not finished:
        check_start(config)
    teachers = _finished_teachers(config, run, devices, callbacks) if config.training_mode == "serial" else []
    keras.utils.set_random_seed(config.learning.seed)
    models = _new_models(config, eigenvalues, devices)
    # 4. The student takes over weights of its teacher; a checkpoint, if there is one, replaces them in the loop.
    teacher = teacher_of(models["student"], teachers, config, run) if teachers else None
    if teacher is not None:
        models = {**models, "teacher": teacher.model}
    if config.init_from is not None and not finished:
        start_from_run(models[config.main_role], config, devices)
    if config.learning.xla:
        check_xla(models.values())
    if not finished:
        stored = _stored_outputs(config, teacher, files["train"], devices)
        called = TrainingCallbacks(callbacks, run, devices)
        TrainingLoop(config, run, models, files, stored, devices, called).run()
    # 5. The report comes last: it marks the run as finished.
    if devices.is_chief:
        report = make_report(config, run, files, teacher)
        run_card.write(run, config, report)
        atomic.write_json(run.report_file, to_values(report))
    devices.wait()  # for what the chief writes; and no worker ends before it, which would look like its loss
    return report


def _eigenvalues(config: RunConfig) -> np.ndarray | None:
    if config.eigenvalues is None:
        return None
    return read_eigenvalues(config.eigenvalues, config.data.feature_sizes[0])


def _new_models(config: RunConfig, eigenvalues: np.ndarray | None, devices: Devices) -> dict[str, keras.Model]:
    with devices.scope():
        models = building.build_models(config)
    if eigenvalues is not None:
        for model in models.values():
            model.set_eigenvalues(eigenvalues)
    return models


def _finished_teachers(
    config: RunConfig, run: RunDir, devices: Devices, callbacks: CallbackMakers
) -> list[TrainedModel]:
    """The teachers of `teacher_dir`, or one that is trained now in `<train_dir>/teacher`."""
    for folder in config.teacher_dirs:
        if not RunDir(folder).report_file.exists():
            raise UserError(f"--teacher_dir={folder} has no finished run (no report.json in it).")
    if not config.teacher_dirs:
        log.info("Training the teacher on all frames in %s", run.teacher.path)
        own_config, files = resolve(teacher_config(config, str(run.teacher.path)))
        _train(own_config, files, False, devices, callbacks)
    with devices.scope():
        return [
            load_member(teacher.path, config.learning.precision, role_of_teacher(config))
            for teacher in teacher_runs(run, config)
        ]


def _stored_outputs(
    config: RunConfig, teacher: TrainedModel | None, videos: VideoFiles, devices: Devices
) -> StoredOutputs | None:
    """The teacher's outputs; where they are not stored yet, the chief does that, and the others wait."""
    if config.teacher_cache is None:
        return None
    with devices.chief_first():
        return open_cache(config, teacher, videos)
