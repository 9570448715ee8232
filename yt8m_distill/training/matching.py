"""Which teacher a student is matched to, and whether the two fit."""

import logging
from collections.abc import Sequence

import keras
import numpy as np

from yt8m_distill.config.run import RunConfig
from yt8m_distill.distiller import (
    have_same_classifier,
    start_from_classifier,
    start_from_teacher,
)
from yt8m_distill.errors import UserError
from yt8m_distill.losses import Loss, student_losses
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.runs.teachers import data_format, join
from yt8m_distill.runs.trained_model import TrainedModel

log = logging.getLogger(__name__)


def losses_of(config: RunConfig) -> tuple[Loss, ...]:
    """The student's losses in a resolved configuration of serial or parallel training."""
    settings = config.distillation
    return student_losses(
        settings.losses,
        settings.loss_weights,
        prediction_distance=settings.prediction_distance,
        representation_matching=settings.representation_matching,
        label_loss=config.learning.label_loss,
    )


def _losses_of_one_teacher(config: RunConfig) -> list[str]:
    """Names of the losses that read more of the teacher than predictions, which several teachers give together."""
    return [loss.name for loss in losses_of(config) if set(loss.teacher_outputs) - {"predictions"}]


def teacher_of(student: keras.Model, teachers: Sequence[TrainedModel], config: RunConfig, run: RunDir) -> TrainedModel:
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
    return teachers[0] if len(teachers) == 1 else join(teachers, run, matched)


def _check_same_input(student: keras.Model, teacher: TrainedModel):
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


def _matched(student: keras.Model, teachers: Sequence[TrainedModel], config: RunConfig) -> TrainedModel | None:
    """The teacher whose classifier, and with the loss rep whose representation, the student takes; None: no one's."""
    if len(teachers) > 1:
        return _of_own_family(student, teachers, config)
    settings = config.distillation
    needed = bool(_losses_of_one_teacher(config)) or settings.student_init == "teacher"
    return teachers[0] if needed or have_same_classifier(student, teachers[0].model) else None


def _of_own_family(student: keras.Model, teachers: Sequence[TrainedModel], config: RunConfig) -> TrainedModel | None:
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
    wishes = [f"--student_losses with {name}" for name in _losses_of_one_teacher(config)]
    wishes += ["--student_init=teacher"] if settings.student_init == "teacher" else []
    for wish in wishes:
        raise UserError(
            f"{wish} needs exactly one teacher in --teacher_dir that is a {config.model} with a representation of "
            f"{size} values and a classifier as the student; there are {len(fitting)}. Give "
            "--student_losses=pred,ce and --student_init=classifier, or other teachers."
        )
    return None


def _check_teacher(teacher: TrainedModel, config: RunConfig):
    theirs, ours = teacher.config.data, config.data
    if data_format(theirs) != data_format(ours):
        raise UserError(
            f"the teacher in '{teacher.run_path}' was trained on {theirs.level}-level features "
            f"{', '.join(theirs.feature_names)} of sizes {theirs.feature_sizes} and {theirs.num_classes} classes; "
            f"this data has {ours.level}-level {', '.join(ours.feature_names)}, {ours.feature_sizes} and "
            f"{ours.num_classes}."
        )
