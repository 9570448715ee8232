"""Functions that return one number, averaged over the videos.

Labels, predictions and logits are (batch, classes); labels in {0, 1} or soft in [0, 1], predictions in [0, 1].
`label_weights` (batch, classes) multiply the terms of each class and are not normalized again.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from keras import ops

from yt8m_distill.errors import UserError

DEVIATION_EPSILON = 1e-6  # relative; what is below it may be a rounding of float32
PROBABILITY_EPSILON = 1e-7  # the smallest for which 1 - epsilon differs from 1 in float32 by more than one step


def cross_entropy(labels, predictions, label_weights=None, epsilon: float = 1e-5):
    """Sum over classes of -[y log(p + epsilon) + (1 - y) log(1 - p + epsilon)], averaged over videos.

    Source: the starter code's CrossEntropyLoss; Bhardwaj et al. equation 1.

    Example:
        >>> round(float(cross_entropy([[1, 0]], ops.array([[0.5, 0.5]]), epsilon=0.0)), 4)
        1.3863
    """
    labels = ops.cast(labels, "float32")
    positive = labels * ops.log(predictions + epsilon)
    negative = (1.0 - labels) * ops.log(1.0 - predictions + epsilon)
    return _mean_over_videos(-(positive + negative), label_weights)


def hinge(labels, predictions, label_weights=None, margin: float = 1.0):
    """Sum over classes of max(0, margin - (2y - 1) x), averaged over videos.

    Source: the starter code's HingeLoss.
    """
    signs = 2.0 * ops.cast(labels, "float32") - 1.0
    return _mean_over_videos(ops.maximum(margin - signs * predictions, 0.0), label_weights)


def softmax(labels, predictions, label_weights=None, epsilon: float = 1e-7):
    """Cross entropy of the softmax over classes with labels divided by their sum, averaged over videos.

    A video without labels adds 0 and counts.

    Source: the starter code's SoftmaxLoss.
    """
    labels = ops.cast(labels, "float32")
    labels = labels / ops.maximum(ops.sum(labels, axis=-1, keepdims=True), epsilon)
    return _mean_over_videos(-labels * ops.log_softmax(predictions, axis=-1), label_weights)


def frame_choice_loss(scores, predictions, targets, label_weights=None, epsilon: float = 1e-5):
    """What a scorer of frames minimizes: the cross entropy to expect of a frame that is drawn by its scores.

    Of each video a few frames are scored, and the model predicts with each of them. The softmax of the scores is the
    chance of each frame; the cross entropy of the best of them is subtracted, so that 0 is a perfect choice.

    Args:
        scores: (batch, frames).
        predictions: (batch, frames, classes), with each of these frames; they get no gradient.
        targets: (batch, classes), labels, or what the teacher predicts of the whole video.
        label_weights: (batch, classes), or None.
        epsilon: within the logarithms.

    Returns:
        The mean over the videos.

    Example:
        >>> scores, predictions = ops.array([[0.0, 0.0]]), ops.array([[[0.5], [1.0]]])
        >>> round(float(frame_choice_loss(scores, predictions, ops.array([[1.0]]), epsilon=0.0)), 4)
        0.3466
    """
    targets = ops.cast(targets, "float32")[:, None]
    predictions = ops.stop_gradient(predictions)
    terms = -ops.where(targets > 0, targets * ops.log(predictions + epsilon), 0.0)
    terms -= ops.where(targets < 1, (1.0 - targets) * ops.log(1.0 - predictions + epsilon), 0.0)
    if label_weights is not None:
        terms *= label_weights[:, None]
    of_frames = ops.sum(terms, axis=-1)
    chances = ops.softmax(scores, axis=-1)
    best = ops.min(ops.where(chances > 0, of_frames, math.inf), axis=-1, keepdims=True)
    return ops.mean(ops.sum(ops.where(chances > 0, chances * (of_frames - best), 0.0), axis=-1))


def frame_choice_terms(outputs: dict, targets, label_weights=None) -> dict:
    """`frame_choice_loss` of a model that chooses its frames, by the name of the loss term; empty for other models."""
    if "candidate_scores" not in outputs:
        return {}
    scores, predictions = outputs["candidate_scores"], outputs["candidate_predictions"]
    return {"frame_choice": frame_choice_loss(scores, predictions, ops.stop_gradient(targets), label_weights)}


def cross_entropy_of_outputs(labels, outputs: dict, label_weights=None):
    """`cross_entropy` without an epsilon, from logits where the model has them.

    Differs: a saturated sigmoid keeps its gradient, where the original's epsilon lets it vanish.
    """
    labels = ops.cast(labels, "float32")
    log_p, log_not_p = log_probabilities(outputs)
    return _mean_over_videos(-(labels * log_p + (1.0 - labels) * log_not_p), label_weights)


def label_loss(name: str) -> Callable:
    """Function of (labels, outputs, label_weights) for one of the starter code's class names.

    Raises:
        UserError: an unknown name.
    """
    if name == "CrossEntropyLoss":
        return cross_entropy_of_outputs
    functions = {"HingeLoss": hinge, "SoftmaxLoss": softmax}
    check_choice("label_loss", name, ("CrossEntropyLoss", *functions))
    return lambda labels, outputs, label_weights=None: functions[name](labels, outputs["predictions"], label_weights)


def _mean_over_videos(per_class, label_weights=None):
    if label_weights is not None:
        per_class = per_class * ops.cast(label_weights, "float32")
    return ops.mean(ops.sum(per_class, axis=-1))


def log_probabilities(outputs: Mapping[str, Any]):
    """log p and log(1 - p) of every class, finite: from logits where the model has them, else clipped predictions."""
    if "logits" in outputs:
        return -ops.softplus(-outputs["logits"]), -ops.softplus(outputs["logits"])
    predictions = ops.clip(outputs["predictions"], PROBABILITY_EPSILON, 1.0 - PROBABILITY_EPSILON)
    return ops.log(predictions), ops.log(1.0 - predictions)


def softened(outputs: Mapping[str, Any], temperature: float) -> Mapping[str, Any]:
    """Outputs whose predictions are sigmoid(logit(p) / temperature), and whose logits, where there are any, match them.

    Args:
        outputs: of a model; predictions without logits are clipped, so that exact 0 and 1 stay finite.
        temperature: above 0; at 1 the outputs are as they were.

    Source: Hinton et al. (2015), for the sigmoid of each class instead of the softmax over classes.

    Example:
        >>> outputs = softened({"predictions": ops.array([[0.9, 0.5]])}, temperature=2.0)
        >>> [round(float(p), 4) for p in outputs["predictions"][0]]
        [0.75, 0.5]
    """
    if temperature == 1:
        return outputs
    log_p, log_not_p = log_probabilities(outputs)
    logits = outputs["logits"] if "logits" in outputs else log_p - log_not_p
    return {**outputs, "logits": logits / temperature, "predictions": ops.sigmoid(logits / temperature)}


def correlation_distance(teacher, student, axis: int = -1):
    """1 - Pearson's correlation along an axis, averaged over the other one; in [0, 2].

    Where one side does not vary along the axis there is no correlation: the distance is 1, with gradient 0.

    Source: Huang et al., "Knowledge Distillation from A Stronger Teacher" (DIST, 2022), equation 8.

    Example:
        >>> teacher = ops.array([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]])
        >>> student = ops.array([[0.0, 0.5, 1.0], [0.0, 0.5, 1.0]])
        >>> round(float(correlation_distance(teacher, student)), 4)  # 1 - 1 and 1 + 1
        1.0
    """
    teacher, student = _unit_deviations(teacher, axis), _unit_deviations(student, axis)
    return ops.mean(1.0 - ops.sum(teacher * student, axis=axis))


def _unit_deviations(values, axis: int):
    """Deviations from the mean, brought to 2-norm 1; 0, with gradient 0, where there are none but roundings."""
    deviations = values - ops.mean(values, axis=axis, keepdims=True)
    squares, whole = (ops.sum(ops.square(x), axis=axis, keepdims=True) for x in (deviations, values))
    smallest = DEVIATION_EPSILON**2 * whole + 1e-30
    return ops.where(squares > smallest, deviations * ops.rsqrt(ops.maximum(squares, smallest)), 0.0)


def representation_distance(teacher, student):
    """Squared distance of two representations (batch, dim), averaged over dim and videos.

    Source: Bhardwaj et al. equation 2.
    Differs: averaged over dim; times dim it is the paper's sum.

    Example:
        >>> float(representation_distance(ops.array([[1.0, 3.0]]), ops.array([[1.0, 1.0]])))
        2.0
    """
    return ops.mean(ops.square(teacher - student))


def frame_states_distance(teacher, student, num_frames):
    """Squared distance of states (batch, frames, dim), averaged over dim, the first `num_frames` frames, and videos.

    Source: Bhardwaj et al. equation 3.
    Differs: averaged over dim and frames where the paper sums.
    """
    mask = ops.cast(ops.arange(ops.shape(student)[1])[None, :] < num_frames[:, None], "float32")
    difference = ops.cast(teacher, "float32") - ops.cast(student, "float32")  # states may be of fewer bits
    per_frame = ops.mean(ops.square(difference), axis=-1) * mask
    return ops.mean(ops.sum(per_frame, axis=1) / ops.maximum(ops.sum(mask, axis=1), 1.0))


def bernoulli_kl(teacher: Mapping[str, Any], student: Mapping[str, Any]):
    """KL(teacher || student) of each class's Bernoulli distribution, summed over classes, averaged over videos.

    Args:
        teacher: its outputs; only "predictions" (batch, classes) are read; exact 0 and 1 are allowed.
        student: its outputs, with "logits" where it has them.

    Source: Bhardwaj et al. equation 4 with KL as the distance.

    Example:
        >>> teacher, student = {"predictions": ops.array([[1.0, 0.5]])}, {"predictions": ops.array([[0.5, 0.5]])}
        >>> round(float(bernoulli_kl(teacher, student)), 4)  # log 2
        0.6931
    """
    p = teacher["predictions"]
    log_q, log_not_q = log_probabilities(student)
    divergence = _x_log_x(p) + _x_log_x(1.0 - p) - p * log_q - (1.0 - p) * log_not_q
    return _mean_over_videos(divergence)


def _x_log_x(x):
    return x * ops.log(ops.maximum(x, 1e-30))


def squared_prediction_distance(teacher: Mapping[str, Any], student: Mapping[str, Any]):
    """Squared difference of the predictions, summed over classes, averaged over videos."""
    return _mean_over_videos(ops.square(teacher["predictions"] - student["predictions"]))


def categorical_kl(teacher: Mapping[str, Any], student: Mapping[str, Any]):
    """KL(teacher || student) of the predictions divided by their sum over classes, averaged over videos.

    Source: the code of Bhardwaj et al.
    Differs: averaged over videos, where that code sums; probabilities of 0 stay finite.
    """
    p = teacher["predictions"] / ops.maximum(ops.sum(teacher["predictions"], axis=-1, keepdims=True), 1e-30)
    clipped = ops.maximum(student["predictions"], PROBABILITY_EPSILON**2)
    log_q = ops.log(clipped) - ops.log(ops.sum(clipped, axis=-1, keepdims=True))
    return _mean_over_videos(_x_log_x(p) - p * log_q)


PREDICTION_DISTANCES = {
    "kl": bernoulli_kl,
    "squared": squared_prediction_distance,
    "categorical_kl": categorical_kl,
}


def check_choice(name: str, value: str, choices: tuple[str, ...]):
    """Raises UserError unless the argument `name` has one of the values `choices`."""
    if value not in choices:
        raise UserError(f"{name}={value} is unknown; known are {', '.join(choices)}.")
