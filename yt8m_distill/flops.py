"""How much a model computes and how many parameters it has."""

import math

from yt8m_distill.models import VideoModel


def multiply_accumulates(model: VideoModel, frames: int) -> tuple[int, dict[str, int]]:
    """Counts the multiply-accumulates of classifying one video of `frames` frames.

    A multiplication with its addition is one; floating-point operations are twice as many. Counted are all matrix
    products of the whole model, of an LSTM those of every step; element-wise work is not. Papers leave out parts:
    their figures are not comparable with these.

    Args:
        model: any model.
        frames: frames that the model gets, at least 0.

    Returns:
        The total, and its parts by layer.
    """
    by_layer = model.multiply_accumulates(frames)
    return sum(by_layer.values()), by_layer


def parameter_count(model: VideoModel) -> int:
    """Number of trainable parameters, biases and batch normalization's gamma and beta included."""
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)
