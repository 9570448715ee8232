"""Builds the models of a run."""

from collections.abc import Mapping

import keras

from yt8m_distill.config.dataset import VIDEO
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.training import TrainConfig
from yt8m_distill.devices.precision import DTYPE_POLICIES
from yt8m_distill.errors import UserError
from yt8m_distill.models import registry
from yt8m_distill.models.arguments import check_sizes


def frames_of(config: TrainConfig, selection: FrameSelection) -> int:
    """Frames that a model gets at most; unbounded videos are taken as 300 frames."""
    return selection.frames(config.data.longest_example or 300)


def build_models(config: TrainConfig, with_teacher: bool = False) -> dict[str, keras.Model]:
    """New models of a resolved configuration, by role; in parallel mode they share the classifier.

    For serial training only the student, its teacher is another run's; unless `with_teacher`.
    """
    models, precision = {}, config.learning.precision
    if config.training_mode in ("teacher", "parallel") or (with_teacher and config.training_mode == "serial"):
        models["teacher"] = build_one(config, config.model_args, precision)
    if config.training_mode != "teacher":
        args = {**config.model_args, **config.student_model_args}
        shared = models["teacher"].classifier if config.training_mode == "parallel" else None
        models["student"] = build_one(config, args, precision, shared)
    return models


def build_one(config: TrainConfig, args: Mapping, precision: str, classifier_layer=None) -> keras.Model:
    if registry.model_class(config.model).video_level != (config.data.level == VIDEO):
        raise UserError(f"{config.model} does not go with {config.data.level}-level records.")
    check_sizes(args, config.data.feature_sizes, config.data.num_classes)
    return registry.build_model(
        config.model,
        feature_sizes=config.data.feature_sizes,
        num_classes=config.data.num_classes,
        classifier_layer=classifier_layer,
        dtype=DTYPE_POLICIES[precision],
        **args,
    )
