"""Builds models: by name, and those of a run."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from keras.src.backend.common import global_state  # Keras has no public way to the counters of names

from yt8m_distill.config.dataset import VIDEO
from yt8m_distill.config.run import RunConfig
from yt8m_distill.devices.precision import DTYPE_POLICIES
from yt8m_distill.errors import UserError
from yt8m_distill.models.arguments import check_argument_names, check_sizes
from yt8m_distill.models.video_model import VideoModel
from yt8m_distill.plugins import MODELS


def build_models(config: RunConfig, with_teacher: bool = False) -> dict[str, keras.Model]:
    """New models of a run, by role; in parallel mode they share the classifier.

    Args:
        config: of the run.
        with_teacher: also a teacher of serial training, which is otherwise another run's.
    """
    roles = config.trained_roles
    if with_teacher and config.training_mode == "serial":
        roles = ("teacher", *roles)
    models: dict[str, keras.Model] = {}
    for role in roles:
        shared = models["teacher"].classifier if role == "student" and config.training_mode == "parallel" else None
        models[role] = build_one(config, role, config.learning.precision, shared)
    return models


def build_one(config: RunConfig, role: str, precision: str, classifier_layer=None) -> keras.Model:
    """A new model of a run.

    Args:
        config: of the run.
        role: "student" or "teacher".
        precision: what it computes in.
        classifier_layer: a classifier to share; None: it has its own.

    Raises:
        UserError: unknown model or argument, a value that the model refuses, or records of another level.
    """
    if config.model_class.video_level != (config.data.level == VIDEO):
        raise UserError(f"{config.model} does not go with {config.data.level}-level records.")
    check_sizes(config.model_args_of(role), config.data.feature_sizes, config.data.num_classes)
    return build_model(
        config.model,
        feature_sizes=config.data.feature_sizes,
        num_classes=config.data.num_classes,
        classifier_layer=classifier_layer,
        feature_ranges=config.data.feature_ranges,
        chooses_frames=role == "student" and config.selection.by_student,
        dtype=DTYPE_POLICIES[precision],
        **config.model_args_of(role),
    )


def build_model(
    name: str,
    *,
    feature_sizes: tuple[int, ...],
    num_classes: int,
    feature_ranges: tuple[tuple[float, ...], ...] | None = None,
    dtype: str | None = None,
    chooses_frames: bool = False,
    **model_args: Any,
) -> VideoModel:
    """Constructs the model `name`.

    Its layers are named alike however many models the process has made before: names are part of weights files, and a
    resumed training writes the same files as one that was never stopped.

    Args:
        name: in `plugins.MODELS`; a trailing "Model", as the starter code writes it, is accepted.
        feature_sizes: as for `VideoModel`.
        num_classes: as for `VideoModel`.
        feature_ranges: as for `VideoModel`.
        dtype: Keras's dtype policy; None: its default one.
        chooses_frames: as for `VideoModel`.
        **model_args: the model's own arguments, and `classifier_layer` where the classifier is shared.

    Raises:
        UserError: unknown model, unknown argument, or a value that the model refuses.
    """
    model = MODELS.get(name)
    check_argument_names(model, [argument for argument in model_args if argument != "classifier_layer"])
    if feature_ranges is not None:
        model_args["feature_ranges"] = feature_ranges
    if chooses_frames:
        model_args["chooses_frames"] = True
    with _numbered_from_the_start():
        return model(feature_sizes, num_classes, dtype=dtype, **model_args)


@contextlib.contextmanager
def _numbered_from_the_start() -> Iterator[None]:
    """Within the context, Keras numbers what has no name of its own (dense, dense_1) as in a new process."""
    counters = "object_name_uids"
    former = global_state.get_global_attribute(counters)
    global_state.set_global_attribute(counters, None)  # Keras makes new ones
    try:
        yield
    finally:
        global_state.set_global_attribute(counters, former)
