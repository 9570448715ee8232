"""The losses of training: plain functions, and the objects that a student is trained on.

A student minimizes the weighted sum of a list of `Loss` objects: `RepresentationLoss`, `PredictionLoss`,
`CorrelationLoss`, `LabelLoss`, or a user's own subclass of `Loss`, which can be named once it is registered with
`plugins.register_loss`.
"""

from yt8m_distill.losses.functions import (
    PREDICTION_DISTANCES,
    bernoulli_kl,
    categorical_kl,
    correlation_distance,
    cross_entropy,
    cross_entropy_of_outputs,
    frame_choice_loss,
    frame_choice_terms,
    frame_states_distance,
    hinge,
    label_loss,
    log_probabilities,
    representation_distance,
    softened,
    softmax,
    squared_prediction_distance,
)
from yt8m_distill.losses.shares import GradientShares
from yt8m_distill.losses.student import (
    CorrelationLoss,
    LabelLoss,
    Loss,
    LossBatch,
    PredictionLoss,
    RepresentationLoss,
    student_losses,
)

__all__ = [
    "PREDICTION_DISTANCES",
    "CorrelationLoss",
    "GradientShares",
    "LabelLoss",
    "Loss",
    "LossBatch",
    "PredictionLoss",
    "RepresentationLoss",
    "bernoulli_kl",
    "categorical_kl",
    "correlation_distance",
    "cross_entropy",
    "cross_entropy_of_outputs",
    "frame_choice_loss",
    "frame_choice_terms",
    "frame_states_distance",
    "hinge",
    "label_loss",
    "log_probabilities",
    "representation_distance",
    "softened",
    "softmax",
    "squared_prediction_distance",
    "student_losses",
]
