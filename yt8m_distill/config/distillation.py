"""Settings of how a student is matched to its teacher. Imports no TensorFlow."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from yt8m_distill.config.settings import REQUIRED, Settings, setting
from yt8m_distill.plugins import LOSSES

STUDENT_LOSSES = ("rep", "pred", "ce")
PredictionDistance = Literal["kl", "squared", "categorical_kl"]
PREDICTION_DISTANCES = get_args(PredictionDistance)


@dataclass(frozen=True)
class Distillation(Settings):
    """How a student is matched to its teacher. Losses are kept in one order, and each has its weight.

    Example:
        >>> Distillation(("ce", "rep"), {"rep": 10}).loss_weights
        {'rep': 10.0, 'ce': 1.0}
    """

    losses: tuple[str, ...] = setting(
        STUDENT_LOSSES,
        "Losses of the student: on representations (rep), predictions (pred), their correlations (dist), labels (ce).",
        flag="student_losses",
        choices=LOSSES,
    )
    loss_weights: Mapping[str, float] = setting({}, "Weight of each student loss: rep=1,pred=1,ce=1.", at_least=0)
    loss_shares: Mapping[str, float] = setting(
        {},
        "Instead of weights, the share of each student loss in the gradient: rep=.3,pred=.4,ce=.3.",
        above=0,
        newer=True,
    )
    prediction_distance: PredictionDistance = setting("kl", "Distance between predictions for the pred loss.")
    temperature: float = setting(
        1.0, "Divisor of the logits of teacher and student in the losses pred and dist.", above=0, newer=True
    )
    representation_matching: Literal["final", "intermediate"] = setting(
        "final", "Representations that the rep loss compares; intermediate ones for HierarchicalRNN and Lstm only."
    )
    student_init: Literal["classifier", "teacher"] = setting(
        "classifier", "Weights of the teacher that a student of serial training starts from: its classifier or all."
    )

    def __post_init__(self):
        chosen = tuple(name for name in LOSSES.names() if name in self.losses)
        unknown = tuple(name for name in self.losses if name not in chosen)
        object.__setattr__(self, "losses", (*chosen, *unknown))
        self.check_settings()
        for name in self.loss_weights:
            if name not in chosen:
                raise self.error("{loss_weights} has a weight for '{}', which is not in {losses}.", name)
        weights = {name: float(self.loss_weights.get(name, 1.0)) for name in chosen}
        if not any(weights.values()):
            raise self.error("{loss_weights} must leave at least one loss with a weight above 0.")
        object.__setattr__(self, "loss_weights", weights)
        self._check_temperature()
        self._check_shares()

    def _check_temperature(self):
        if self.temperature != 1 and self.prediction_distance == "categorical_kl" and "pred" in self.losses:
            raise self.error(
                "{temperature} softens each class by itself, and {prediction_distance}=categorical_kl compares "
                "predictions that are divided by their sum; leave out one of them."
            )

    def _check_shares(self):
        if not self.loss_shares:
            return
        if self.loss_shares.keys() != set(self.losses) or len(self.losses) < 2:
            raise self.error(
                "{loss_shares} must have a share for each of several {losses}, here for {}, not for {}.",
                ", ".join(self.losses),
                ", ".join(self.loss_shares),
            )
        if set(self.loss_weights.values()) != {1.0}:
            raise self.error("{loss_weights} and {loss_shares} both set the weights of the losses; leave out one.")


@dataclass(frozen=True)
class TeacherCache(Settings):
    """Where the outputs of the teacher of serial training are stored, so that it runs once over the training videos."""

    directory: str = setting(
        REQUIRED, "Folder to store a serial teacher's outputs in, once for all of its students.", flag="teacher_cache"
    )
    top: int | None = setting(
        None, "Number of predictions of a video to store, the highest. [all]", flag="teacher_cache_top", at_least=1
    )

    @classmethod
    def from_settings(cls, values: Mapping[str, Any], **fields: Any) -> "TeacherCache":
        if "teacher_cache" not in values:
            raise cls.error("{top} does nothing without {directory}.")
        return super().from_settings(values, **fields)
