"""Deep bag of frames: frames mapped to many sparse cluster activations, pooled over the video."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from yt8m_distill.layers import MaskedBatchNormalization, mean_over_frames
from yt8m_distill.models.argument_checks import (
    checked_choice,
    checked_count,
    checked_flag,
    frame_sampler,
)
from yt8m_distill.models.video_model import VideoModel
from yt8m_distill.plugins import register_model

ACTIVATIONS = ("sigmoid", "relu6")
POOLINGS = ("max", "average")


@register_model()
class Dbof(VideoModel):
    """Batch-normalized input, a layer of clusters on every frame, pooling over frames, a hidden layer, classifier.

    Args:
        feature_sizes: as for `VideoModel`.
        num_classes: as for `VideoModel`.
        clusters: units of the layer on every frame.
        hidden_size: length of the representation.
        activation: of both layers, "sigmoid" or "relu6".
        pooling: over the frames, "max" or "average".
        batch_norm: False: biases in place of every batch normalization, and none of the input.
        iterations: frames of each video drawn at random to train on; 0: all.
        sample_random_frames: draw them independently, with replacement; False: a run of frames.
        **kwargs: as for `VideoModel`, those of the classifier, too.

    Call arguments, returns: as for `VideoModel`; the representation is the hidden layer's output.

    Raises:
        UserError: a count below 1, an unknown activation or pooling, or arguments that do nothing together.

    Source: `DbofModel` of the starter code.
    Differs: all real frames are pooled and padded ones masked; the original samples 30 frames at random, at inference,
    too. With `iterations` they are sampled in training only, so that predictions do not depend on chance. The pooling
    "none" of the original cannot be run there.
    """

    input_normalization = "l2"
    classifiers = ("moe", "logistic")

    def __init__(
        self,
        feature_sizes: Sequence[int],
        num_classes: int,
        *,
        clusters: int = 8192,
        hidden_size: int = 1024,
        activation: str = "sigmoid",
        pooling: str = "max",
        batch_norm: bool = True,
        iterations: int = 0,
        sample_random_frames: bool = True,
        **kwargs: Any,
    ):
        super().__init__(
            feature_sizes,
            num_classes,
            model_args={
                "clusters": checked_count("clusters", clusters),
                "hidden_size": checked_count("hidden_size", hidden_size),
                "activation": checked_choice("activation", activation, ACTIVATIONS),
                "pooling": checked_choice("pooling", pooling, POOLINGS),
                "batch_norm": checked_flag("batch_norm", batch_norm),
                "iterations": checked_count("iterations", iterations, least=0),
                "sample_random_frames": checked_flag("sample_random_frames", sample_random_frames),
            },
            **kwargs,
        )

    def build_encoder(self) -> int:
        args = self.model_args
        features, clusters, hidden = sum(self.feature_sizes), args["clusters"], args["hidden_size"]
        self.frame_sampler = frame_sampler(args["iterations"], args["sample_random_frames"])
        self.activation = {"sigmoid": ops.sigmoid, "relu6": ops.relu6}[args["activation"]]
        self.cluster = self._dense("cluster", features, clusters, 1.0 / math.sqrt(features))
        self.hidden = self._dense("hidden1", clusters, hidden, 0.01)
        if args["batch_norm"]:
            self.input_bn = self._batch_norm("input", features)
            self.cluster_bn = self._batch_norm("cluster", clusters)
            self.hidden_bn = self._batch_norm("hidden1", hidden)
        return hidden

    def _dense(self, name: str, inputs: int, units: int, bias_stddev: float) -> keras.layers.Dense:
        layer = keras.layers.Dense(
            units,
            use_bias=not self.model_args["batch_norm"],
            kernel_initializer=keras.initializers.RandomNormal(stddev=1.0 / math.sqrt(inputs)),
            bias_initializer=keras.initializers.RandomNormal(stddev=bias_stddev),
            dtype=self.dtype_policy,
            name=f"{name}_weights",
        )
        layer.build((None, inputs))
        return layer

    def _batch_norm(self, name: str, size: int) -> MaskedBatchNormalization:
        layer = MaskedBatchNormalization(unbiased=True, dtype=self.dtype_policy, name=f"{name}_bn")
        layer.build((None, size))
        return layer

    def encode(self, frames: Any, mask: Any, training: bool, intermediates: dict[str, Any] | None) -> Any:
        del intermediates
        batch, length = ops.shape(frames)[:2]
        has_frames = ops.any(mask, axis=1)
        # One matrix of all frames: a product of two matrices is faster than one for each video.
        rows, real = ops.reshape(frames, (-1, frames.shape[-1])), ops.reshape(mask, (-1,))
        if self.model_args["batch_norm"]:
            rows = self.input_bn(rows, mask=real, training=training)
            activations = self.cluster_bn(self.cluster(rows), mask=real, training=training)
        else:
            activations = self.cluster(rows)
        activations = self.activation(activations) * ops.cast(real, activations.dtype)[:, None]
        activations = ops.reshape(activations, (batch, length, self.model_args["clusters"]))
        hidden = self.hidden(self._pool(activations, mask))
        if self.model_args["batch_norm"]:
            hidden = self.hidden_bn(hidden, mask=has_frames, training=training)
        return self.activation(hidden)

    def _pool(self, activations: Any, mask: Any) -> Any:
        """Over the frames of (batch, frames, clusters), which are 0 or above, and 0 on padding."""
        if self.model_args["pooling"] == "average":
            return mean_over_frames(activations, mask)
        return ops.max(activations, axis=1, initial=0.0)

    def encoder_multiply_accumulates(self, frames: int) -> dict[str, int]:
        return {
            "clusters": frames * math.prod(self.cluster.kernel.shape),
            "hidden": math.prod(self.hidden.kernel.shape),
        }
