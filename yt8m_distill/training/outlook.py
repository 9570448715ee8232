"""What a training on the sample data will do, and about how long it takes: said before TensorFlow is imported."""

import dataclasses
import logging

from yt8m_distill.config.distillation import Distillation
from yt8m_distill.config.frames import DEFAULT_STUDENT_FRAMES, FrameSelection
from yt8m_distill.config.recipes import recipe_for
from yt8m_distill.config.training import DEFAULT_MODEL, Learning, TrainConfig
from yt8m_distill.data.sample import SampleSettings
from yt8m_distill.runs.directory import RunDir, default_train_dir

log = logging.getLogger(__name__)

# Of `python train.py --model=NeXtVLAD --student_frames=30`, measured on a Xeon of 2.1 GHz; on two cores it takes half.
QUICK_START_SECONDS = 150


def announce(config: TrainConfig):
    """Logs the outlook of a new training on the sample data.

    Args:
        config: as asked for.
    """
    if config.train_data_pattern is None:
        asked = _with_mode(config)
        if not RunDir(asked.train_dir or default_train_dir(asked)).path.exists():
            log.info("%s", outlook(asked))


def outlook(config: TrainConfig) -> str:
    """What is trained on the sample data, and about how long it takes.

    Args:
        config: as asked for, with its mode of training.
    """
    recipe = config.recipe or "sample"
    epochs = config.learning.num_epochs or recipe_for(recipe, config.model).num_epochs
    videos = f"{SampleSettings().videos[0]:,} videos"
    return f"{_models(config)}: on the sample data set, {videos}, {epochs} epochs each. {_duration(config, recipe)}"


def _with_mode(config: TrainConfig) -> TrainConfig:
    """The student that a frame-level model trains where nothing about students is asked for."""
    if config.training_mode is not None:
        return config
    frames = FrameSelection(DEFAULT_STUDENT_FRAMES)
    return dataclasses.replace(config, training_mode="serial", selection=frames, distillation=Distillation())


def _models(config: TrainConfig) -> str:
    teacher, frames = f"a teacher ({config.model}) that sees all frames", _frames(config.selection)
    if config.training_mode == "baseline":
        return f"Training a model ({config.model}) that sees {frames}, without a teacher"
    if config.training_mode == "teacher":
        return f"Training {teacher}"
    if config.training_mode == "parallel":
        return f"Training {teacher}, and with it a student that sees {frames}"
    if config.teacher_dirs:
        return f"Training a student ({config.model}) that sees {frames}, of the teacher in {config.teacher_dirs[0]}"
    return f"Training {teacher}, then a student that sees {frames}"


def _frames(selection: FrameSelection) -> str:
    if selection.k is None:
        return f"one frame of every {selection.stride}"
    *smaller, largest = map(str, selection.drawn_from or (selection.k,))
    return f"{', '.join(smaller)} or {largest} frames" if smaller else f"{largest} frames"


def _duration(config: TrainConfig, recipe: str) -> str:
    """Measured for the quick start alone: what else there is may take less, or far more."""
    learning = dataclasses.replace(config.learning, seed=Learning.seed)
    kind = (config.model, config.training_mode, config.selection.sampling, config.distillation)
    is_quick_start = kind == (DEFAULT_MODEL, "serial", "uniform", Distillation()) and not (
        config.model_args or config.student_model_args or config.teacher_dirs or config.teacher_settings
    )
    if recipe == "sample" and is_quick_start and learning == Learning():
        return f"This takes about {QUICK_START_SECONDS} s of processor time, half as long on two cores."
    return "With the sample's settings a model takes a few minutes on two cores, with others up to hours."
