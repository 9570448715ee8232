"""Settings of a training that would do nothing beside the others."""

from collections.abc import Mapping
from typing import Any

from yt8m_distill.config.distillation import STUDENT_LOSSES, Distillation, TeacherCache
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.settings import settings_of

TEACHER_IS_TRAINED = "{teacher_settings} does nothing with {teacher_dir}, whose training has ended."
# Flags about a student, about how it is matched to a teacher, and about its teacher.
_STUDENT = settings_of(FrameSelection).keys()
_MATCHING = {*settings_of(Distillation), *settings_of(TeacherCache), "student_model_args", "finetune_epochs"}
_OF_TEACHERS = ("teacher_dir", "teacher_role", "teacher_settings")
OF_STUDENTS = {*_STUDENT, *_MATCHING, *_OF_TEACHERS}
NO_WARMUP = "{warmup_steps} does nothing without {learning_rate_schedule}=cosine."


def useless_settings(values: Mapping[str, Any], mode: str | None) -> dict[str, str]:
    """The given settings that would do nothing, and why, as the text of a `SettingError`.

    Args:
        values: by the names of flags.
        mode: of training.
    """
    names = [*_MATCHING, *_OF_TEACHERS] if mode in ("teacher", "baseline") else []
    names += _STUDENT if mode == "teacher" else []
    names += [*_OF_TEACHERS, "finetune_epochs", "student_init"] if mode == "parallel" else []
    problems = {name: f"{{{name}}} does nothing with {{training_mode}}={mode}; leave it out." for name in names}
    if mode == "parallel":
        problems["teacher_cache"] = (
            "{teacher_cache} goes with {training_mode}=serial: in parallel mode the teacher changes with every step."
        )
    if "init_from" in values:
        problems.setdefault("student_init", "{student_init} does nothing with {init_from}, which decides it.")
    if "teacher_dir" in values:
        problems.setdefault("teacher_settings", TEACHER_IS_TRAINED)
    if values.get("learning_rate_schedule") == "cosine":
        for name in ("learning_rate_decay", "learning_rate_decay_examples"):
            problems[name] = f"{{{name}}} does nothing with {{learning_rate_schedule}}=cosine; leave it out."
    else:
        problems["warmup_steps"] = NO_WARMUP
    losses = set(values.get("student_losses", STUDENT_LOSSES))
    if losses & {"pred", "dist", "ce"}:
        text = "{finetune_epochs} is for {student_losses}=rep, which is followed by fine-tuning."
        problems.setdefault("finetune_epochs", text)
    for name, loss in (("prediction_distance", "pred"), ("representation_matching", "rep")):
        if loss not in losses:
            problems.setdefault(name, f"{{{name}}} does nothing without {loss} in {{student_losses}}.")
    if not losses & {"pred", "dist"}:
        problems.setdefault("temperature", "{temperature} does nothing without pred or dist in {student_losses}.")
    return {name: problem for name, problem in problems.items() if name in values}
