"""Matching: which teacher a student is matched to by which losses, and whether the two fit."""

import logging
import os
import sys
from collections.abc import Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf

from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.run import RunConfig
from yt8m_distill.devices.cluster import Devices
from yt8m_distill.distiller import check_losses, reach_classifier
from yt8m_distill.errors import UserError
from yt8m_distill.losses import GradientShares, LabelLoss, Loss, student_losses
from yt8m_distill.models import building
from yt8m_distill.models.starting_weights import (
    check_classifiers,
    check_same_weights,
    have_same_classifier,
    start_from_classifier,
    start_from_model,
    start_from_teacher,
)
from yt8m_distill.runs import loading
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.runs.ensembles import join
from yt8m_distill.runs.teachers import data_format, find_run
from yt8m_distill.runs.trained_model import TrainedModel
from yt8m_distill.training import optimizers

log = logging.getLogger(__name__)


def losses_of(config: RunConfig) -> tuple[Loss, ...]:
    """The losses of a student of serial or parallel training."""
    settings = config.distillation
    return student_losses(
        settings.losses,
        settings.loss_weights,
        prediction_distance=settings.prediction_distance,
        representation_matching=settings.representation_matching,
        label_loss=config.learning.label_loss,
        temperature=settings.temperature,
    )


def shares_of(config: RunConfig) -> GradientShares | None:
    """What the weights of a student's losses follow from, where they are not given."""
    shares = config.distillation.loss_shares
    return GradientShares({loss.name: shares[loss.name] for loss in losses_of(config)}) if shares else None


def check_buildable(config: RunConfig):
    """Checks the models of a run before anything is trained or written.

    Raises:
        UserError: wrong model arguments, an unknown optimizer, models that do not fit into memory, or a student that
            does not fit its teacher.
    """
    optimizers.make_optimizer(config.learning, sys.maxsize)  # before it is known how many there are
    try:
        with keras.StatelessScope():
            models = building.build_models(config, with_teacher=not config.teacher_dir)
    except tf.errors.ResourceExhaustedError as error:
        raise UserError(f"{config.model} does not fit into memory; give smaller sizes by --model_args.") from error
    if config.distillation is None:
        return
    student = models["student"]
    teacher = models.get("teacher", student)  # one of teacher_dir is checked when it is loaded
    if config.training_mode == "serial":
        check_classifiers(student, teacher)
        if config.distillation.student_init == "teacher":
            check_same_weights(student, teacher)
    losses = losses_of(config)
    check_losses(losses, teacher, student)
    if config.teacher_cache is not None:
        _check_stored(losses)


def _check_stored(losses: Iterable[Loss]):
    """Raises UserError where a loss reads teacher outputs that no cache holds."""
    for loss in losses:
        if others := sorted(set(loss.teacher_outputs) - {"predictions", "representation"}):
            raise UserError(
                f"--teacher_cache holds predictions and representations; the loss {loss.name} reads the teacher's "
                f"{', '.join(others)}. Leave out one of them."
            )


def learns_labels(config: RunConfig) -> bool:
    """Whether a run trains on labels; a student of finished teachers may learn from their predictions alone."""
    if config.training_mode != "serial" or not config.teacher_dirs:
        return True
    losses = losses_of(config)
    return not reach_classifier(losses) or any(isinstance(loss, LabelLoss) and loss.weight for loss in losses)


def _losses_of_one_teacher(config: RunConfig) -> list[str]:
    """Names of the losses that read more of the teacher than predictions, which several teachers give together."""
    return [loss.name for loss in losses_of(config) if set(loss.teacher_outputs) - {"predictions"}]


def teacher_of(student: keras.Model, teachers: Sequence[TrainedModel], config: RunConfig, run: RunDir) -> TrainedModel:
    """The teacher of serial training; sets the weights that the student starts from.

    Args:
        student: new.
        teachers: finished; several are joined into one.
        config: of the student.
        run: of the student.

    Raises:
        UserError: a teacher does not fit the student or its data, or none of several can be matched where one must be.
    """
    for teacher in teachers:
        _check_data(teacher.config.data, config, f"the teacher in '{teacher.run_path}'")
        _check_held_out(teacher.config, config, f"the teacher in '{teacher.run_path}'")
    matched = _matched(student, teachers, config)
    if matched is not None:
        _check_same_input(student, matched)
        start = start_from_teacher if config.distillation.student_init == "teacher" else start_from_classifier
        start(student, matched.model)
    else:
        log.info("No teacher has the student's representation: the student's classifier starts from random weights.")
    return teachers[0] if len(teachers) == 1 else join(teachers, run, matched)


def check_is_another_run(config: RunConfig):
    """Checks that a run does not start from itself, before it is moved aside for a new one.

    Raises:
        UserError: `config.init_from` is its own directory.
    """
    if config.init_from is not None and os.path.realpath(config.init_from) == os.path.realpath(config.train_dir):
        raise UserError(f"--init_from={config.init_from} is the run that is to be trained.")


def check_start(config: RunConfig):
    """Checks the run `config.init_from`, before a teacher is trained for its student.

    Raises:
        UserError: it has no model with the same weights, for the same data.
    """
    run, start, role = find_run(config.init_from)
    if start.model != config.model:
        raise UserError(f"--init_from={config.init_from} is a {start.model}, not a {config.model}.")
    _check_data(start.data, config, f"the model in '{run.path}'")
    _check_held_out(start, config, f"the model in '{run.path}'")
    with keras.StatelessScope():
        model = building.build_one(config, config.main_role, "float32")
        check_same_weights(model, building.build_one(start, role, "float32"), "init_from")


def _check_held_out(other: RunConfig, config: RunConfig, name: str):
    """Raises UserError where another run was trained on videos that this one holds out to be validated on."""
    kept = 1 - config.validation_fraction
    if kept < 1 and other.train_fraction > kept and other.train_data_pattern == config.train_data_pattern:
        raise UserError(
            f"{name} was trained on videos that --validation_fraction={config.validation_fraction:g} holds out; train "
            "it with the same --validation_fraction."
        )


def start_from_run(model: keras.Model, config: RunConfig, devices: Devices):
    """Sets the weights that the model of a run, or its student, starts from: those of the run `config.init_from`.

    Args:
        model: new.
        config: of its run, as `check_start` has checked it.
        devices: that it was built for.

    Raises:
        UserError: the model there has another input, or cannot be loaded.
    """
    with devices.scope():
        start = loading.load(config.init_from)
    _check_same_input(model, start, "model")
    start_from_model(model, start.model, "init_from")
    log.info("Starting from the weights of the %s in %s", start.role, start.source)


def _check_same_input(student: keras.Model, teacher: TrainedModel, name: str = "teacher"):
    if type(teacher.model) is not type(student):
        return
    ours, theirs = student.input_normalization, teacher.model.input_normalization
    if ours != theirs:
        raise UserError(
            f"the {name} in '{teacher.run_path}' was trained with --input_normalization={theirs}, this one is to have "
            f"{ours}; give both the same."
        )
    if ours == "unwhiten" and not np.array_equal(student.eigenvalues, teacher.model.eigenvalues):
        raise UserError(f"the {name} in '{teacher.run_path}' was trained with other --eigenvalues than this one.")


def _matched(student: keras.Model, teachers: Sequence[TrainedModel], config: RunConfig) -> TrainedModel | None:
    """The teacher that gives the student its classifier, and the losses their representation; None: there is none."""
    if len(teachers) > 1:
        return _of_own_family(student, teachers, config)
    settings = config.distillation
    needed = bool(_losses_of_one_teacher(config)) or settings.student_init == "teacher"
    return teachers[0] if needed or have_same_classifier(student, teachers[0].model) else None


def _of_own_family(student: keras.Model, teachers: Sequence[TrainedModel], config: RunConfig) -> TrainedModel | None:
    """The teacher with the student's class, representation size and classifier.

    Of several the first one, where one is needed; else None, as where there is none.
    """
    size = student.representation_size
    fitting = [
        teacher
        for teacher in teachers
        if type(teacher.model) is type(student)
        and teacher.model.representation_size == size
        and have_same_classifier(student, teacher.model)
    ]
    settings = config.distillation
    needs = [f"--student_losses with {name}" for name in _losses_of_one_teacher(config)]
    needs += ["--student_init=teacher"] if settings.student_init == "teacher" else []
    if len(fitting) == 1 or (needs and fitting):
        return fitting[0]
    if needs:
        raise UserError(
            f"{needs[0]} needs a teacher in --teacher_dir that is a {config.model} with a representation of {size} "
            "values and a classifier as the student; there is none. Give --student_losses=pred,ce and "
            "--student_init=classifier, or other teachers."
        )
    return None


def _check_data(theirs: DatasetSpec, config: RunConfig, name: str):
    ours = config.data
    if data_format(theirs) != data_format(ours):
        raise UserError(
            f"{name} was trained on {theirs.level}-level features "
            f"{', '.join(theirs.feature_names)} of sizes {theirs.feature_sizes} with values in "
            f"{theirs.describe_ranges()}, and {theirs.num_classes} classes; this data has {ours.level}-level "
            f"{', '.join(ours.feature_names)}, {ours.feature_sizes}, {ours.describe_ranges()} and {ours.num_classes}."
        )
