"""The NetVLAD model with context gating."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from yt8m_distill.errors import UserError
from yt8m_distill.layers import ContextGating, MaskedBatchNormalization, NetVLADPooling
from yt8m_distill.models.argument_checks import (
    checked_choice,
    checked_count,
    checked_flag,
    checked_rate,
    frame_sampler,
)
from yt8m_distill.models.video_model import stream_share
from yt8m_distill.models.vlad_model import VLADModel
from yt8m_distill.plugins import register_model

ACTIVATIONS = ("relu6", "none")


@register_model()
class NetVLAD(VLADModel):
    """Batch-normalized input, NetVLAD pooling of each feature, a hidden layer, context gating, classifier.

    The first feature has all clusters, every further one half of them.

    Args:
        feature_sizes: as for `VideoModel`.
        num_classes: as for `VideoModel`.
        clusters: clusters of the first feature.
        hidden_size: length of the representation.
        dropout: rate, in [0, 1), on the pooled vector in training.
        gating: whether the hidden layer is gated.
        gating_remove_diag: whether no hidden unit gates itself.
        activation: of the hidden layer: "relu6", after batch normalization; "none", a bias and no batch normalization.
        lightvlad: whether the assigned frames are summed up themselves, without anchors.
        batch_norm: False: biases in place of every batch normalization, and none of the input.
        iterations: frames of each video drawn at random to train on; 0: all.
        sample_random_frames: draw them independently, with replacement; False: a run of frames.
        **kwargs: as for `VideoModel`, those of the classifier, too.

    Call arguments, returns: as for `VideoModel`. Intermediates: "gates" (batch, hidden_size) in (0, 1), with gating
    only, and, for each feature i, "assignment_i" (batch, frames, clusters).

    Raises:
        UserError: a count below 1, a rate outside [0, 1), an unknown activation, a switch that is not true or false, or
            arguments that do nothing together.

    Source: "Learnable pooling with Context Gating for video classification" (Miech et al., 2017), WILLOW's code.
    Differs: all real frames are pooled and padded ones masked; WILLOW samples frames at random, at inference, too. With
    `iterations` they are sampled in training only, so that predictions do not depend on chance. WILLOW trains with 300.

    Example:
        >>> model = NetVLAD((6, 2), 5, clusters=4, hidden_size=8)
        >>> model({"frames": ops.zeros((3, 10, 8), "uint8"), "num_frames": ops.array([10, 7, 0])})["predictions"].shape
        TensorShape([3, 5])
        >>> NetVLAD.argument_defaults()["clusters"], model.model_args["clusters"]
        (256, 4)
    """

    input_normalization = "l2"

    def __init__(
        self,
        feature_sizes: Sequence[int],
        num_classes: int,
        *,
        clusters: int = 256,
        hidden_size: int = 1024,
        dropout: float = 0.0,
        gating: bool = True,
        gating_remove_diag: bool = False,
        activation: str = "relu6",
        lightvlad: bool = False,
        batch_norm: bool = True,
        iterations: int = 0,
        sample_random_frames: bool = True,
        **kwargs: Any,
    ):
        if checked_flag("gating_remove_diag", gating_remove_diag) and not gating:
            raise UserError("gating_remove_diag does nothing without gating.")
        super().__init__(
            feature_sizes,
            num_classes,
            model_args={
                "clusters": checked_count("clusters", clusters),
                "hidden_size": checked_count("hidden_size", hidden_size),
                "dropout": checked_rate("dropout", dropout),
                "gating": checked_flag("gating", gating),
                "gating_remove_diag": gating_remove_diag,
                "activation": checked_choice("activation", activation, ACTIVATIONS),
                "lightvlad": checked_flag("lightvlad", lightvlad),
                "batch_norm": checked_flag("batch_norm", batch_norm),
                "iterations": checked_count("iterations", iterations, least=0),
                "sample_random_frames": checked_flag("sample_random_frames", sample_random_frames),
            },
            **kwargs,
        )

    def build_encoder(self) -> int:
        args, policy = self.model_args, {"dtype": self.dtype_policy}
        self.frame_sampler = frame_sampler(args["iterations"], args["sample_random_frames"])
        if args["batch_norm"]:
            self.input_bn = MaskedBatchNormalization(unbiased=True, name="input_bn", **policy)
            self.input_bn.build((None, None, sum(self.feature_sizes)))
        for stream, size in enumerate(self.feature_sizes):
            # An attribute each, as tf.train.Checkpoint does not look into lists.
            setattr(self, f"pooling_{stream}", self._build_pooling(stream, size))
        pooled = sum(pooling.clusters * size for pooling, size in zip(self.poolings, self.feature_sizes, strict=True))
        self.dropout = keras.layers.Dropout(args["dropout"], name="dropout", **policy)
        self._build_hidden(pooled)
        if args["gating"]:
            self.gating = ContextGating(args["gating_remove_diag"], args["batch_norm"], name="gating", **policy)
            self.gating.build((None, args["hidden_size"]))
        return args["hidden_size"]

    def _build_hidden(self, pooled: int) -> None:
        args, policy = self.model_args, {"dtype": self.dtype_policy}
        self.normalizes_hidden = args["batch_norm"] and args["activation"] == "relu6"
        self.hidden = keras.layers.Dense(
            args["hidden_size"],
            use_bias=not self.normalizes_hidden,
            kernel_initializer=keras.initializers.RandomNormal(stddev=1.0 / math.sqrt(args["clusters"])),
            name="hidden1_weights",
            **policy,
        )
        self.hidden.build((None, pooled))
        if self.normalizes_hidden:
            self.hidden_bn = MaskedBatchNormalization(unbiased=True, name="hidden1_bn", **policy)
            self.hidden_bn.build((None, args["hidden_size"]))

    def _build_pooling(self, stream: int, size: int) -> NetVLADPooling:
        args = self.model_args
        pooling = NetVLADPooling(
            stream_share(args["clusters"], stream),
            batch_norm=args["batch_norm"],
            anchors=not args["lightvlad"],
            dtype=self.dtype_policy,
            name=f"vlad_{stream}",
        )
        pooling.build((None, None, size))
        return pooling

    def encode(self, frames: Any, mask: Any, training: bool, intermediates: dict[str, Any] | None) -> Any:
        if self.model_args["batch_norm"]:
            frames = self.input_bn(frames, mask=mask, training=training)
        pooled = self.pooled(frames, mask, training, intermediates)
        has_frames = ops.any(mask, axis=1)
        hidden = self.hidden(self.dropout(pooled, training=training))
        if self.normalizes_hidden:
            hidden = self.hidden_bn(hidden, mask=has_frames, training=training)
        if self.model_args["activation"] == "relu6":
            hidden = ops.relu6(hidden)
        if not self.model_args["gating"]:
            return hidden
        return self.gated(hidden, has_frames, training, intermediates)

    def encoder_multiply_accumulates(self, frames: int) -> dict[str, int]:
        counts = super().encoder_multiply_accumulates(frames)
        if self.model_args["gating"]:
            counts["gating"] = self.gating.multiply_accumulates()
        return counts
