"""Teachers of students: which runs they are, and how such a run is configured."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, TypeVar

from yt8m_distill.config.dataset import VIDEO, DatasetSpec
from yt8m_distill.config.distillation import Distillation
from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.config.run import RunConfig
from yt8m_distill.config.settings import Group, SettingError, parts
from yt8m_distill.config.training import DISTILLING_MODES, TrainConfig
from yt8m_distill.config.useless_settings import useless_settings
from yt8m_distill.errors import UserError
from yt8m_distill.runs.directory import RunDir

ENSEMBLE = "ensemble"  # the role of several teachers together

Config = TypeVar("Config", bound=TrainConfig)


def teacher_config(config: Config, train_dir: str | None) -> Config:
    """The configuration of the teacher that a student of serial training is matched to.

    Args:
        config: of the student, as asked or resolved.
        train_dir: the teacher's run directory.

    Example:
        >>> from yt8m_distill.config.training import Distillation
        >>> from yt8m_distill.config.frames import FrameSelection
        >>> student = TrainConfig("NeXtVLAD", selection=FrameSelection(10), distillation=Distillation())
        >>> teacher = teacher_config(student, "runs/teacher")
        >>> teacher.training_mode, teacher.selection.describe(), teacher.train_dir
        ('teacher', 'all', 'runs/teacher')
    """
    plain = dataclasses.replace(
        config,
        training_mode="teacher",
        selection=ALL_FRAMES,
        distillation=None,
        student_model_args={},
        learning=dataclasses.replace(config.learning, finetune_epochs=None),
        teacher_dir=None,
        teacher_role="teacher",
        teacher_settings={},
        init_from=None,
        teacher_cache=None,
        train_dir=train_dir,
    )
    if not config.teacher_settings:
        return plain
    try:
        return _with_settings(plain, config.settings_of_teacher())
    except SettingError as error:
        text, *values = error.args
        raise SettingError(f"{{teacher_settings}}: {text}", *values, owner=error.owner) from error


def _with_settings(config: Config, values: Mapping[str, Any]) -> Config:
    """The configuration of a training on labels with other settings.

    Args:
        config: of a teacher.
        values: of the settings' types, by name; those that are None are unset.

    Raises:
        SettingError: settings that make no sense together.
    """
    given = {name: value for name, value in values.items() if value is not None}
    mode = given.get("training_mode", "teacher")
    schedule = {"learning_rate_schedule": config.learning.learning_rate_schedule}
    for problem in useless_settings({**schedule, **given}, mode).values():
        raise TrainConfig.error(problem)
    fields: dict[str, Any] = {"training_mode": mode}
    if mode != "teacher":
        fields["selection"] = FrameSelection.for_training(given)
    if mode in DISTILLING_MODES:
        fields["distillation"] = Distillation.from_settings(given)
    for name, part in parts(TrainConfig).items():
        rules = part.settings.values() if isinstance(part, Group) else [part]
        changed = {rule.field: values[rule.name] for rule in rules if rule.name in values}
        if name in fields or not changed:
            continue
        current = getattr(config, name)
        if not isinstance(part, Group):
            fields[name] = values[part.name]
        elif current is None:
            fields[name] = part.kind.from_settings(part.values_of(given))
        else:
            fields[name] = dataclasses.replace(current, **changed)
    return dataclasses.replace(config, **fields)


def role_of_teacher(config: TrainConfig) -> str:
    """Which model of its teacher's run teaches a student: of a run that was trained on the way its only or last one."""
    return config.teacher_role if config.teacher_dirs else "student"


def teacher_runs(run: RunDir, config: RunConfig) -> list[RunDir]:
    """The run directories of the teachers of a student of serial training: those of `teacher_dir`, or one in its own.

    Args:
        run: the student's.
        config: the student's.
    """
    return [RunDir(folder) for folder in config.teacher_dirs] or [run.teacher]


def find_run(train_dir: str | os.PathLike, which: str | None = None) -> tuple[RunDir, RunConfig, str]:
    """The run that holds a model, and the model's role there. The teacher of serial training is another run's.

    Args:
        train_dir: run directory.
        which: "student" or "teacher"; None: the student, or the model of a teacher's run.

    Returns:
        The run, its configuration, and "student" or "teacher": in its own run a teacher may be the student. Or a run of
        which several others are the teacher, its configuration, and `ENSEMBLE`.

    Raises:
        UserError: no run, or no such model in it.
    """
    return _find(RunDir(train_dir), which, frozenset())


def find_teacher(train_dir: str | os.PathLike, teacher_role: str) -> tuple[RunDir, RunConfig, str]:
    """The model that teaches where a student's `teacher_dir` names a run; otherwise as `find_run`.

    Args:
        train_dir: run directory.
        teacher_role: of the student's settings; the only model of a baseline is what it is.
    """
    return _find_teacher(RunDir(train_dir), teacher_role, frozenset())


def _find(run: RunDir, which: str | None, visited: frozenset[str]) -> tuple[RunDir, RunConfig, str]:
    place = os.path.realpath(run.path)
    if place in visited:
        raise UserError(f"'{run.path}' is named by its own config.json as the run of its teacher.")
    config = run.read_config()
    role = which or config.main_role
    if role in config.trained_roles:
        return run, config, role
    if config.training_mode != "serial":
        mode = config.training_mode
        raise UserError(f"'{run.path}' has no {role}: it was trained with --training_mode={mode}.")
    teachers = teacher_runs(run, config)
    if len(teachers) > 1:
        return run, config, ENSEMBLE
    return _find_teacher(teachers[0], role_of_teacher(config), visited | {place})


def _find_teacher(run: RunDir, teacher_role: str, visited: frozenset[str]) -> tuple[RunDir, RunConfig, str]:
    only_or_student = teacher_role == "student" or run.read_config().training_mode == "baseline"
    return _find(run, None if only_or_student else "teacher", visited)


def data_format(data: DatasetSpec) -> tuple:
    """What the records of two models must have in common. Segments have frames like whole videos."""
    return data.level == VIDEO, data.feature_names, data.feature_sizes, data.feature_ranges, data.num_classes
