"""What the comparisons with the original models share."""

import numpy as np
import tensorflow as tf

from tests.helpers import case_weights
from yt8m_distill.models import VideoModel
from yt8m_distill.tf1.weights import load_reference_weights

FEATURE_SIZES = (32, 8)


def load_case_weights(model: VideoModel, case: dict[str, np.ndarray], without: str = "nothing") -> None:
    """Puts the weights of a case into the model, except those whose names contain `without`."""
    load_reference_weights(model, {name: w for name, w in case_weights(case).items() if without not in name})


def originals_of_variables(model: VideoModel, case: dict[str, np.ndarray]) -> dict[str, tf.Variable]:
    """The model's trainable variables by original name, found by their values: no two of a case are equal."""
    weights = case_weights(case)
    found = {}
    for variable in model.trainable_variables:
        value = variable.numpy()
        names = [name for name, w in weights.items() if w.shape == value.shape and np.array_equal(w, value)]
        assert len(names) == 1, (variable.path, names)
        found[names[0]] = variable.value
    return found


def cross_entropy(predictions: tf.Tensor, labels: np.ndarray, epsilon: float) -> tf.Tensor:
    """The starter code's label loss: summed over classes, mean over videos."""
    terms = labels * tf.math.log(predictions + epsilon) + (1 - labels) * tf.math.log(1 - predictions + epsilon)
    return -tf.reduce_mean(tf.reduce_sum(terms, axis=1))
