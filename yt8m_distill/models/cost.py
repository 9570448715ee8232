"""How much a model computes, how large it is, and what papers count and print as its compute."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from yt8m_distill.choosing.samplings import FeatureSampling, products_of
from yt8m_distill.models import HierarchicalRNN, NeXtVLAD, VideoModel
from yt8m_distill.models.frame_scorer import FrameScorer
from yt8m_distill.plugins import FRAME_SAMPLINGS

BYTES_OF_A_WEIGHT = 4  # float32, in every precision
ELEMENTWISE_OF_A_CELL = 14  # operations in a step, as table 3 counts them
STEPS_OF_FRAMES = {20: 15, 10: 9}  # of the lower stack in table 3, where they are not as many as the frames


def multiply_accumulates(model: VideoModel, frames: int) -> tuple[int | None, dict[str, int]]:
    """Counts the multiply-accumulates of classifying one video of `frames` frames.

    A multiplication with its addition is one; floating-point operations are twice as many. Counted are all matrix
    products of the whole model, of an LSTM those of every step; element-wise work is not. Nor is the step that Keras's
    LSTM computes in advance, for the shape of its output alone, in a graph that is made for any number of videos.
    Papers leave out parts: their figures are not comparable with these, see `paper_convention`.

    Args:
        model: any model.
        frames: frames that the model gets, at least 0.

    Returns:
        The total, and its parts by layer; None and no parts where the model does not state them.
    """
    by_layer = model.multiply_accumulates(frames)
    if by_layer is None:
        return None, {}
    return sum(by_layer.values()), by_layer


def choosing_products(sampling: str, feature_sizes: Sequence[int], frames: int, k: int) -> int | None:
    """Counts the multiply-accumulates of choosing k of a video's frames by their features.

    Args:
        sampling: a name in `plugins.FRAME_SAMPLINGS`.
        feature_sizes: as for `VideoModel`.
        frames: of the video.
        k: frames to choose.

    Returns:
        Their number; 0 where frames are not chosen by features; None where the sampling does not state it. Of "motion",
        whose work is differences, these count.
    """
    registered = FRAME_SAMPLINGS.get(sampling)
    if sampling == "learned":
        return FrameScorer(feature_sizes).multiply_accumulates(frames, k)
    return products_of(registered, feature_sizes, frames, k) if isinstance(registered, FeatureSampling) else 0


def parameter_count(model: VideoModel) -> int:
    """Number of trainable parameters, biases and batch normalization's gamma and beta included."""
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


def weight_bytes(model: VideoModel) -> int:
    """Bytes that all weights take as float32, the statistics of batch normalization included."""
    weights = (weight for weight in model.weights if keras.backend.is_float_dtype(weight.dtype))  # without counters
    return BYTES_OF_A_WEIGHT * sum(math.prod(weight.shape) for weight in weights)


@dataclass(frozen=True)
class Convention:
    """What a paper counts as the compute of a model. It is not the whole model.

    Attributes:
        model: the model's class.
        source: the paper and its table.
        counted: the parts that are counted, in words.
        left_out: the parts that are not.
        parts: gives these counts by part, for a model of the class and a number of frames.
        published: the printed figures by frames, in 10^9; the paper calls them GFLOPs.
        sizes: what they are printed for: model arguments, classes, length of the first feature.
    """

    model: type[VideoModel]
    source: str
    counted: str
    left_out: str
    parts: Callable[[Any, int], dict[str, int]]
    published: Mapping[int, float]
    sizes: Mapping[str, int | str]

    def published_for(self, model: VideoModel) -> Mapping[int, float]:
        """The printed figures by frames, in 10^9; empty where the paper's model has other sizes than this one."""
        sizes = {**model.model_args, "num_classes": model.num_classes, "first_feature": model.feature_sizes[0]}
        return self.published if self.sizes.items() <= sizes.items() else {}


def _lower_stack_and_output(model: HierarchicalRNN, frames: int) -> dict[str, int]:
    """Table 3; without the output layer, it is what the paper's version for ICLR prints (5.042, .504, .252, .151)."""
    cells, layers = model.model_args["cells"], model.model_args["layers"]
    steps = STEPS_OF_FRAMES.get(frames, frames)
    of_other_features = 4 * cells * sum(model.feature_sizes[1:])
    return {
        "lower LSTMs, first feature": model.lower.multiply_accumulates(steps) - steps * of_other_features,
        "their element-wise work": steps * ELEMENTWISE_OF_A_CELL * layers * cells,
        "output layer": model.classifier.multiply_accumulates(),
    }


def _first_feature_pooling(model: NeXtVLAD, frames: int) -> dict[str, int]:
    """Table 6."""
    by_layer = model.multiply_accumulates(frames) or {}
    return {step: by_layer[f"vlad_0/{step}"] for step in ("expansion", "assignment", "aggregation")}


CONVENTIONS = (
    Convention(
        model=HierarchicalRNN,
        source="Bhardwaj et al. (2019), table 3",
        counted=(
            "the products of the lower LSTMs with the first feature as their only input, "
            f"{ELEMENTWISE_OF_A_CELL} element-wise operations a step for each cell of each of these LSTMs, and the "
            "output layer; a step a frame, but 15 steps for 20 frames and 9 for 10, as only these give the printed "
            "figures"
        ),
        left_out="the upper LSTMs, and the other features",
        parts=_lower_stack_and_output,
        published={300: 5.058, 30: 0.520, 20: 0.268, 10: 0.167},
        sizes={"cells": 1024, "layers": 2, "classifier": "logistic", "num_classes": 3862, "first_feature": 1024},
    ),
    Convention(
        model=NeXtVLAD,
        source="Bhardwaj et al. (2019), table 6",
        counted="expansion, assignment and aggregation of the first feature",
        left_out="its attention, the other features, the hidden layer, the gating and the output layer",
        parts=_first_feature_pooling,
        published={300: 1.337, 30: 0.134},
        sizes={"clusters": 128, "groups": 8, "expansion": 2, "first_feature": 1024},
    ),
)


def paper_convention(model: VideoModel) -> Convention | None:
    """The convention of the paper that prints figures for this kind of model; None where none does."""
    return next((convention for convention in CONVENTIONS if type(model) is convention.model), None)
