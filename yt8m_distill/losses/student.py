"""Loss objects: the terms that a student is trained on, built in and users' own."""

import abc
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from yt8m_distill.errors import UserError
from yt8m_distill.losses.functions import (
    PREDICTION_DISTANCES,
    check_choice,
    correlation_distance,
    frame_states_distance,
    label_loss,
    representation_distance,
    softened,
)
from yt8m_distill.plugins import LOSSES, register_loss

REPRESENTATION_MATCHINGS = ("final", "intermediate")
MODEL_OUTPUTS = ("representation", "predictions", "logits")  # of every call; all others are intermediates


@dataclass(frozen=True)
class LossBatch:
    """What a loss can read besides the outputs of teacher and student.

    Attributes:
        inputs: "frames", "num_frames", "student_indices" and "student_num_frames", as `Distiller` takes them.
        labels: (batch, classes).
        label_weights: (batch, classes), or None.
        student_model: the student itself, whose `label_loss` can have terms of its own.
    """

    inputs: Mapping[str, Any]
    labels: Any
    label_weights: Any
    student_model: Any


class Loss(abc.ABC):
    """One term of what a student minimizes: `weight` times the number that a call returns.

    A subclass implements `__call__`. It overrides the two class attributes where their defaults do not hold: the
    distiller asks them which variables are trained, whether the models compute their intermediates, and whether stored
    teacher outputs are enough.

    Args:
        weight: factor of this loss in the total, at least 0.
        name: of the term in logs; None: the name that the class is registered by, else the name of the class.

    Attributes:
        teacher_outputs: names of the teacher's outputs that the loss reads. Where one is an intermediate, such as
            "frame_states", both models return all of their intermediates.
        reaches_classifier: whether the loss has a gradient for the student's classifier.

    Raises:
        UserError: the weight is negative or not finite.

    Example:
        >>> class AbsoluteLoss(Loss):
        ...     teacher_outputs = ("representation",)
        ...     reaches_classifier = False
        ...
        ...     def __call__(self, teacher, student, batch):
        ...         return ops.mean(ops.abs(teacher["representation"] - student["representation"]))
        >>> loss = AbsoluteLoss(weight=2.0)
        >>> loss.name, loss.weight
        ('AbsoluteLoss', 2.0)
        >>> teacher, student = ops.array([[3.0, 0.0]]), ops.array([[1.0, 1.0]])
        >>> float(loss({"representation": teacher}, {"representation": student}, batch=None))
        1.5
    """

    teacher_outputs: tuple[str, ...] = ("predictions",)
    reaches_classifier: bool = True

    def __init__(self, weight: float = 1.0, name: str | None = None):
        self.name = name or LOSSES.name_of(type(self)) or type(self).__name__
        if not 0 <= weight < math.inf:
            raise UserError(f"loss_weights: the weight of '{self.name}' must be 0 or more, not {weight}.")
        self.weight = float(weight)

    @abc.abstractmethod
    def __call__(self, teacher: Mapping[str, Any], student: Mapping[str, Any], batch: LossBatch) -> Any:
        """Computes the loss, not yet weighted.

        Args:
            teacher: the teacher's outputs, through which no gradient flows.
            student: the student's outputs for its own frames.
            batch: everything else.

        Returns:
            One number, averaged over the videos.
        """

    @property
    def needs_intermediates(self) -> bool:
        """Whether it reads more than a model returns of every call."""
        return not set(self.teacher_outputs) <= set(MODEL_OUTPUTS)

    def check_models(self, teacher: keras.Model, student: keras.Model):
        """Raises UserError where the loss cannot be computed for these models. Called before the first step."""
        del teacher, student

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"weight": self.weight, "name": self.name}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Loss":
        """The loss that `get_config` describes."""
        return cls(**config)


@register_loss("rep")
@keras.saving.register_keras_serializable("yt8m_distill")
class RepresentationLoss(Loss):
    """The squared distance of the representations, or of the states at the frames that the student sees.

    Args:
        weight: as for `Loss`.
        matching: "final", the representation; "intermediate", the "frame_states" of models that have them.
        name: as for `Loss`.

    Raises:
        UserError: an unknown matching, or a negative weight.

    Source: Bhardwaj et al. equations 2 and 3.
    """

    reaches_classifier = False

    def __init__(self, weight: float = 1.0, matching: str = "final", name: str | None = None):
        super().__init__(weight, name)
        check_choice("representation_matching", matching, REPRESENTATION_MATCHINGS)
        self.matching = matching
        self.teacher_outputs = ("frame_states",) if matching == "intermediate" else ("representation",)

    def __call__(self, teacher: Mapping[str, Any], student: Mapping[str, Any], batch: LossBatch) -> Any:
        if self.matching == "final":
            return representation_distance(teacher["representation"], student["representation"])
        at_student_frames = _states_at(teacher["frame_states"], batch.inputs["student_indices"])
        return frame_states_distance(at_student_frames, student["frame_states"], batch.inputs["student_num_frames"])

    def check_models(self, teacher: keras.Model, student: keras.Model):
        if self.matching == "intermediate":
            _check_frame_states(teacher, student)
        elif teacher.representation_size != student.representation_size:
            raise UserError(
                f"the loss {self.name} needs representations of one size; the teacher's has "
                f"{teacher.representation_size} and the student's {student.representation_size} values. "
                "Choose model arguments of the student that keep it."
            )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "matching": self.matching}


def _states_at(states: Any, indices: Any) -> Any:
    """(batch, k, dim) of states (batch, frames, dim), by indices (batch, k) of frames."""
    batch, frames, dim = ops.shape(states)
    rows = indices + frames * ops.arange(batch, dtype=indices.dtype)[:, None]
    return ops.take(ops.reshape(states, (-1, dim)), rows, axis=0)


def _check_frame_states(teacher: keras.Model, student: keras.Model):
    """Raises UserError where the models do not both have a state for every frame, of one size."""
    needs = "representation_matching=intermediate needs a state for every frame"
    for model in (teacher, student):
        if model.frame_states_size is None:
            raise UserError(f"{needs}; {type(model).__name__} has none. HierarchicalRNN and Lstm do.")
    if teacher.frame_states_size != student.frame_states_size:
        raise UserError(
            f"{needs} of one size; the teacher's have {teacher.frame_states_size} values, the student's "
            f"{student.frame_states_size}."
        )


@register_loss("pred")
@keras.saving.register_keras_serializable("yt8m_distill")
class PredictionLoss(Loss):
    """The distance of the student's predictions from the teacher's.

    Args:
        weight: as for `Loss`.
        distance: "kl", "squared" or "categorical_kl", see `PREDICTION_DISTANCES`.
        name: as for `Loss`.
        temperature: of both models' predictions, see `softened`; the loss is multiplied by its square, so that its
            gradient keeps its size.

    Raises:
        UserError: an unknown distance, a negative weight, or a temperature that is not above 0, or not 1 with
            "categorical_kl".

    Source: Bhardwaj et al. equation 4.

    Example:
        >>> loss = PredictionLoss(weight=0.5, distance="squared")
        >>> outputs = [{"predictions": ops.array([[0.0, 1.0]])}, {"predictions": ops.array([[0.5, 0.5]])}]
        >>> loss.name, float(loss(*outputs, batch=None))
        ('pred', 0.5)
        >>> PredictionLoss.from_config(loss.get_config()).distance
        'squared'
    """

    def __init__(self, weight: float = 1.0, distance: str = "kl", name: str | None = None, temperature: float = 1.0):
        super().__init__(weight, name)
        check_choice("prediction_distance", distance, tuple(PREDICTION_DISTANCES))
        self.distance = distance
        self.temperature = _checked_temperature(temperature)
        if temperature != 1 and distance == "categorical_kl":
            raise UserError("temperature softens each class by itself; it does not go with categorical_kl.")

    def __call__(self, teacher: Mapping[str, Any], student: Mapping[str, Any], batch: LossBatch) -> Any:
        del batch
        pair = (softened(outputs, self.temperature) for outputs in (teacher, student))
        return self.temperature**2 * PREDICTION_DISTANCES[self.distance](*pair)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "distance": self.distance, "temperature": self.temperature}


def _checked_temperature(temperature: float) -> float:
    if not 0 < temperature < math.inf:
        raise UserError(f"temperature must be above 0, not {temperature}.")
    return float(temperature)


@register_loss("dist")
@keras.saving.register_keras_serializable("yt8m_distill")
class CorrelationLoss(Loss):
    """How far student and teacher are from correlating: over the classes of each video, and of each class over videos.

    The order of a video's classes, and that of a class's videos, are what the metrics look at; a student that sees less
    may have them right though its probabilities are lower.

    Args:
        weight: as for `Loss`.
        name: as for `Loss`.
        temperature: of both models' predictions, see `softened`; the loss is multiplied by its square.

    Raises:
        UserError: a negative weight, or a temperature that is not above 0.

    Source: Huang et al., "Knowledge Distillation from A Stronger Teacher" (DIST, 2022), equations 9 and 10, with beta =
        gamma = 1.
    Differs: predictions are those of independent classes, not of a softmax. The videos are those of a batch on one
        device; a single video has no correlation within its classes and counts 1.
    """

    def __init__(self, weight: float = 1.0, name: str | None = None, temperature: float = 1.0):
        super().__init__(weight, name)
        self.temperature = _checked_temperature(temperature)

    def __call__(self, teacher: Mapping[str, Any], student: Mapping[str, Any], batch: LossBatch) -> Any:
        del batch
        wanted, given = (softened(outputs, self.temperature)["predictions"] for outputs in (teacher, student))
        between, within = correlation_distance(wanted, given, axis=1), correlation_distance(wanted, given, axis=0)
        return self.temperature**2 * (between + within)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "temperature": self.temperature}


@register_loss("ce")
@keras.saving.register_keras_serializable("yt8m_distill")
class LabelLoss(Loss):
    """The student's loss on the labels, with the terms that its model adds.

    Args:
        weight: as for `Loss`.
        loss: "CrossEntropyLoss", "HingeLoss" or "SoftmaxLoss".
        name: as for `Loss`.

    Raises:
        UserError: an unknown loss, or a negative weight.
    """

    teacher_outputs = ()

    def __init__(self, weight: float = 1.0, loss: str = "CrossEntropyLoss", name: str | None = None):
        super().__init__(weight, name)
        self.loss = loss
        self._function = label_loss(loss)

    def __call__(self, teacher: Mapping[str, Any], student: Mapping[str, Any], batch: LossBatch) -> Any:
        del teacher
        return batch.student_model.label_loss(self._function, batch.labels, student, batch.label_weights)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "loss": self.loss}


def student_losses(
    losses: str | Iterable[str | Loss],
    loss_weights: Mapping[str, float] | None = None,
    *,
    prediction_distance: str = "kl",
    representation_matching: str = "final",
    label_loss: str = "CrossEntropyLoss",
    temperature: float = 1.0,
) -> tuple[Loss, ...]:
    """The losses of a student: objects as they are, names as objects of the registered classes with these settings.

    Args:
        losses: a name in `plugins.LOSSES`, or names and `Loss` objects.
        loss_weights: weights of the losses that are given by name; 1 where missing.
        prediction_distance: the distance of "pred".
        representation_matching: the matching of "rep".
        label_loss: the loss of "ce".
        temperature: of "pred" and "dist".

    Returns:
        The losses in the order of the registry, so that their sum does not depend on the order of the names.

    Raises:
        UserError: no losses, an unknown one, two of one name, a weight for a name that is not in `losses`, or no weight
            above 0.

    Example:
        >>> tuple(loss.name for loss in student_losses(["ce", RepresentationLoss(weight=2.0)], {"ce": 0.5}))
        ('rep', 'ce')
    """
    built_in: dict[str, dict[str, Any]] = {
        "rep": {"matching": representation_matching},
        "pred": {"distance": prediction_distance, "temperature": temperature},
        "dist": {"temperature": temperature},
        "ce": {"loss": label_loss},
    }
    for name, options in built_in.items():
        LOSSES.get(name)(**options)  # wrong settings are refused whether or not the loss is used
    weights = dict(loss_weights or {})
    made = [
        LOSSES.get(loss)(weight=weights.pop(loss, 1.0), **built_in.get(loss, {})) if isinstance(loss, str) else loss
        for loss in dict.fromkeys([losses] if isinstance(losses, str) else losses)
    ]
    if weights:
        raise UserError(f"loss_weights has a weight for '{next(iter(weights))}', which is not a name in losses.")
    _check_names_and_weights(made)
    order = {name: place for place, name in enumerate(LOSSES.names())}
    return tuple(sorted(made, key=lambda loss: order.get(loss.name, len(order))))


def _check_names_and_weights(losses: list[Loss]):
    for loss in losses:
        if not isinstance(loss, Loss):
            raise UserError(f"losses must be names or Loss objects, not {loss!r}.")
    names = [loss.name for loss in losses]
    if not losses:
        raise UserError(f"losses must be one or more of {', '.join(LOSSES.names())}, or Loss objects.")
    for name in names:
        if names.count(name) > 1 or name in ("loss", "regularization", "teacher_ce", "frame_choice"):
            raise UserError(f"the name '{name}' of a loss is taken by another term; give this loss another name.")
    if not any(loss.weight for loss in losses):
        raise UserError("loss_weights must leave at least one loss with a weight above 0.")
