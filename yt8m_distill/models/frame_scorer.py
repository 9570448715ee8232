"""The scorer of a student that chooses its frames by itself: the frame sampling "learned"."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from yt8m_distill.choosing.typicality import (
    as_float,
    as_int,
    equal_parts,
    first_largest,
    numbers,
    read_values,
    real_frames,
    typicality,
    values_read,
    vectors_of,
)

UNITS = 8
CANDIDATES = 3  # frames of a part of a video that are compared in a step
FIRST_WEIGHT = 4.0  # of typicality, before anything is learned
_INPUT_STEP, _WEIGHT_STEP = 2.0**-7, 2.0**-11
_LARGEST_WEIGHT = 8.0
# Of a frame that points just where the mean of its part does, about 1 in the end.
_TYPICALITY_ROUNDING, _TYPICALITY_SCALE = 2.0**-12, 2.0**-15
_IMPOSSIBLE = -1e9


@dataclass(frozen=True)
class Choice:
    """Frames that are chosen of each video.

    Attributes:
        indices: int32 (batch, k), ascending where they count, anything else.
        counts: how many count, int32 (batch,).
        scores: of all frames, float32 (batch, frames), with gradients.
        parts: which of the parts that one frame each is chosen of a frame is in, float64 (batch, frames); -1: padding.
    """

    indices: Any
    counts: Any
    scores: Any
    parts: Any


@keras.saving.register_keras_serializable("yt8m_distill")
class FrameScorer(keras.layers.Layer):
    """Scores every frame of a video, and chooses the best one of each of k equal parts.

    The score of a frame is a weight times its typicality in its part, with which alone training begins, plus a small
    network of the values that are read of it and of how far they are from the video's mean. In training noise of
    Gumbel's distribution is added, so that frames are drawn with the softmax of the scores of their part.

    It is trained by `losses.frame_choice_loss`: of one part of each video it learns by which of a few `candidates` the
    model predicts best, together with the frames of the other parts.

    Scores that choose are exact: inputs and weights are multiples of powers of 2, and float64 holds their sums, so that
    the same frames are chosen by every device, and by exported files.

    Args:
        feature_sizes: as for `VideoModel`.
        units: of the network's hidden layer.

    Call arguments:
        frames: uint8 (batch, frames, features).
        num_frames: int (batch,).
        choices: bool (batch, k), True as often as frames are to be chosen of a video, at the beginning.
        training: whether noise is added.

    Returns:
        A `Choice`. A video of at most as many frames keeps all.

    Source: SCSampler (Korbar et al., 2019) and later samplers learn from a model's confidence on single clips.
    Differs: a frame is judged with the others that are chosen, not alone; few inputs; no reinforcement learning.
    """

    built: bool

    def __init__(self, feature_sizes: Sequence[int], units: int = UNITS, **kwargs: Any):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.feature_sizes = tuple(feature_sizes)
        self.units = units
        self.seed_generator = keras.random.SeedGenerator()

    def build(self, input_shape: Any = None) -> None:
        if self.built:
            return
        inputs = 2 * sum(values_read(self.feature_sizes))
        options = {"dtype": "float32", "autocast": False}
        self.kernel = self.add_weight((inputs, self.units), "glorot_uniform", name="kernel", **options)
        self.bias = self.add_weight((self.units,), "zeros", name="bias", **options)
        self.output_kernel = self.add_weight((self.units,), "zeros", name="output_kernel", **options)
        first = keras.initializers.Constant(FIRST_WEIGHT)
        self.typicality_weight = self.add_weight((), first, name="typicality_weight", **options)
        self.built = True

    def call(self, frames: Any, num_frames: Any, choices: Any, training: bool = False) -> Choice:
        counts = ops.minimum(ops.sum(ops.cast(choices, "int32"), axis=1), ops.cast(num_frames, "int32"))
        num_frames, k = as_float(num_frames, ops), as_float(counts, ops)
        values = as_float(read_values(frames, self.feature_sizes, ops), ops)
        real = real_frames(values, num_frames, ops)
        parts = equal_parts(real, num_frames, ops.maximum(k, 1.0), ops)
        most = ops.shape(choices)[1]
        inputs = _inputs(values, real, num_frames)
        typical = _typicality(values, real, parts, most)
        learning = self._scores(inputs, typical, exact=False)
        scores = self._scores(inputs, typical, exact=True)
        if training:
            scores = as_float(learning + _gumbel(ops.shape(learning), self.seed_generator), ops)
        steps = numbers(most, ops)
        of_parts = ops.where(parts[:, None] == steps[:, None], scores[:, None], -math.inf)
        best = ops.where(steps < k[:, None], first_largest(of_parts, ops), 0.0)
        indices = ops.where((num_frames <= k)[:, None], steps, best)
        return Choice(as_int(indices, ops), counts, learning, parts)

    def candidates(self, choice: Choice) -> tuple[Any, Any, Any]:
        """Other choices to learn from: those with other frames of one random part of each video.

        Returns:
            The frame of that part, int32 (batch, CANDIDATES); which of them there are, bool, the others are 0; and all
            frames with each of them, int32 (batch, CANDIDATES, k).
        """
        key = ops.cast(keras.random.uniform(ops.shape(choice.scores), seed=self.seed_generator), "float64")
        free = choice.parts >= 0.0
        places = numbers(ops.shape(choice.scores)[1], ops)
        part, indices, there = None, [], []
        for _ in range(CANDIDATES):
            there.append(ops.any(free, axis=1))
            indices.append(ops.where(there[-1], first_largest(ops.where(free, key, -1.0), ops), 0.0))
            taken = places == indices[-1][:, None]
            if part is None:
                part = ops.sum(ops.where(taken, choice.parts, 0.0), axis=1, keepdims=True)
                free = free & (choice.parts == part)
            free = free & ~taken
        indices, there = as_int(ops.stack(indices, axis=1), ops), ops.stack(there, axis=1)
        replaced = numbers(ops.shape(choice.indices)[1], ops) == part
        return indices, there, ops.where(replaced[:, None], indices[..., None], choice.indices[:, None])

    def multiply_accumulates(self, frames: int, k: int) -> int:
        """Of scoring all frames of a video, to choose k: norms, the k means, their products, and the network."""
        values = sum(values_read(self.feature_sizes))
        return frames * ((2 + k) * values + 2 * values * self.units + self.units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "feature_sizes": list(self.feature_sizes), "units": self.units}

    def _scores(self, inputs: Any, typical: Any, *, exact: bool) -> Any:
        """(batch, frames): exact by rounded weights as float64, or with gradients as float32."""
        weights = [self.kernel, self.bias, self.output_kernel, self.typicality_weight]
        dtype = "float64" if exact else "float32"
        weights = [ops.cast(_rounded(weight) if exact else weight, dtype) for weight in weights]
        kernel, bias, output_kernel, typicality_weight = weights
        hidden = ops.relu(ops.matmul(ops.cast(inputs, dtype), kernel) + bias)
        return ops.sum(hidden * output_kernel, axis=-1) + ops.cast(typical, dtype) * typicality_weight


def scores_of(choice: Choice, indices: Any, there: Any) -> Any:
    """The scores of candidates, float32 (batch, candidates); as good as impossible where there is none."""
    return ops.where(there, ops.take_along_axis(choice.scores, indices, axis=1), _IMPOSSIBLE)


def _inputs(values: Any, real: Any, num_frames: Any) -> Any:
    """The values read of each frame and their distances from the video's mean, from -1 to 2."""
    total = ops.sum(ops.where(real[..., None], values, as_float(0.0, ops)), axis=1, keepdims=True)
    mean = ops.floor(total / ops.maximum(num_frames, 1.0)[:, None, None])
    return ops.concatenate([values - 128.0, ops.abs(values - mean)], axis=-1) * _INPUT_STEP


def _typicality(values: Any, real: Any, parts: Any, most: Any) -> Any:
    typical = typicality(vectors_of(values, real, ops), parts, most, ops)
    return ops.floor(typical * _TYPICALITY_ROUNDING) * _TYPICALITY_SCALE


def _rounded(weight: Any) -> Any:
    bounded = ops.clip(ops.convert_to_tensor(weight), -_LARGEST_WEIGHT, _LARGEST_WEIGHT)
    return ops.stop_gradient(ops.round(bounded / _WEIGHT_STEP)) * _WEIGHT_STEP


def _gumbel(shape: Any, seed: Any) -> Any:
    uniform = keras.random.uniform(shape, minval=1e-6, maxval=1.0, seed=seed)
    return -ops.log(-ops.log(ops.minimum(uniform, 1.0 - 1e-6)))
