"""What a trained model is, and which run has it."""

import os
import pathlib
from dataclasses import dataclass
from typing import Any

import keras

from yt8m_distill.config.dataset import VIDEO, DatasetSpec
from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.config.training import TrainConfig
from yt8m_distill.errors import UserError
from yt8m_distill.runs.directory import RunDir

ROLES = {
    "serial": ("student",),
    "parallel": ("teacher", "student"),
    "teacher": ("teacher",),
    "baseline": ("student",),
}
ENSEMBLE = "ensemble"  # the role of several teachers


@dataclass(frozen=True)
class TrainedModel:
    """A model ready to predict.

    Attributes:
        model: a VideoModel.
        config: of the run it is from.
        role: "student" or "teacher".
        selection: the frames it sees.
        run_path: the run directory it is from.
        source: the folder of the weights.
        step: training steps done; None where the best epoch's weights do not say.
        branch: which branch of a mixture it is, where it is one by itself.
    """

    model: keras.Model
    config: TrainConfig
    role: str
    selection: FrameSelection
    run_path: pathlib.Path
    source: pathlib.Path
    step: int | None
    branch: int | None = None


def data_format(data: DatasetSpec) -> tuple:
    """What two models must have in common to see and say the same things. Segments have frames like whole videos."""
    return data.level == VIDEO, tuple(data.feature_names), tuple(data.feature_sizes), data.num_classes


def described(data: DatasetSpec) -> str:
    sizes = zip(data.feature_names, data.feature_sizes, strict=True)
    return f"{', '.join(f'{name} ({size})' for name, size in sizes)} and {data.num_classes} classes"


def find(train_dir: str, which: str | None = None) -> tuple[RunDir, TrainConfig, str]:
    """The run that has the wanted model, and its role there: the teacher of a serial run is another run's.

    Args:
        train_dir: run directory.
        which: as for `load`.

    Returns:
        The run, its configuration, and "student" or "teacher"; or a run of which several others are the teacher, its
        configuration, and `ENSEMBLE`.

    Raises:
        UserError: no run, or no such model in it.
    """
    seen = set()
    while os.path.realpath(train_dir) not in seen:
        seen.add(os.path.realpath(train_dir))
        run = RunDir(train_dir)
        config = run.read_config()
        role = which or ("teacher" if config.training_mode == "teacher" else "student")
        if role != "teacher" or config.training_mode != "serial":
            if role not in ROLES[config.training_mode]:
                mode = config.training_mode
                raise UserError(f"'{train_dir}' has no {role}: it was trained with --training_mode={mode}.")
            return run, config, role
        if len(config.teacher_dirs) > 1:
            return run, config, ENSEMBLE
        train_dir = config.teacher_dir or str(run.teacher.path)
    raise UserError(f"'{train_dir}' is named by its own config.json as the run of its teacher.")


def selection_of(config: TrainConfig, role: str) -> FrameSelection:
    """The frames that the "student" or "teacher" of a run is trained with."""
    return ALL_FRAMES if role == "teacher" else config.selection


def model_args_of(config: TrainConfig, role: str) -> dict[str, Any]:
    """The model arguments of the "student" or "teacher" of a run."""
    return {**config.model_args, **(config.student_model_args if role == "student" else {})}
