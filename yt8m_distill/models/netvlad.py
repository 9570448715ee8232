"""The NetVLAD model with context gating."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from yt8m_distill.errors import UserError
from yt8m_distill.layers import ContextGating, MaskedBatchNormalization, NetVLADPooling
from yt8m_distill.models.video_model import VideoModel, checked_count, checked_rate, stream_share

ACTIVATIONS = ("relu6", "none")


@keras.saving.register_keras_serializable("yt8m_distill")
class NetVLAD(VideoModel):
    """Batch-normalized input, NetVLAD pooling of each feature, a hidden layer, context gating, classifier.

    The first feature has all clusters, every further one half of them.

    Args:
        feature_sizes: as for `VideoModel`.
        num_classes: as for `VideoModel`.
        classifier_layer: as for `VideoModel`.
        classifier: as for `VideoModel`.
        mixtures: as for `VideoModel`.
        clusters: clusters of the first feature.
        hidden_size: length of the representation.
        dropout: rate, in [0, 1), on the pooled vector in training.
        gating: whether the hidden layer is gated.
        activation: of the hidden layer: "relu6", after batch normalization; "none", a bias and no batch normalization.

    Call arguments, returns: as for `VideoModel`. Intermediates: "gates" (batch, hidden_size) in (0, 1), with gating
    only, and, for each feature i, "assignment_i" (batch, frames, clusters).

    Raises:
        UserError: a count below 1, a rate outside [0, 1), an unknown activation, or a gating that is no bool.

    Source: "Learnable pooling with Context Gating for video classification" (Miech et al., 2017), WILLOW's code.
    Differs: all real frames are pooled and padded ones masked; WILLOW samples frames at random, at inference, too.
    """

    input_normalization = "l2"

    def __init__(
        self,
        feature_sizes: Sequence[int],
        num_classes: int,
        *,
        classifier_layer: keras.layers.Layer | None = None,
        classifier: str = "logistic",
        mixtures: int = 2,
        clusters: int = 256,
        hidden_size: int = 1024,
        dropout: float = 0.0,
        gating: bool = True,
        activation: str = "relu6",
        **kwargs: Any,
    ):
        if activation not in ACTIVATIONS:
            raise UserError(f"Unknown activation {activation!r}. Allowed: {', '.join(ACTIVATIONS)}.")
        if not isinstance(gating, bool):
            raise UserError(f"gating must be True or False, not {gating!r}.")
        super().__init__(
            feature_sizes,
            num_classes,
            classifier_layer=classifier_layer,
            classifier=classifier,
            mixtures=mixtures,
            model_args={
                "clusters": checked_count("clusters", clusters),
                "hidden_size": checked_count("hidden_size", hidden_size),
                "dropout": checked_rate("dropout", dropout),
                "gating": gating,
                "activation": activation,
            },
            **kwargs,
        )

    def build_encoder(self) -> int:
        args, policy = self.model_args, {"dtype": self.dtype_policy}
        self.input_bn = MaskedBatchNormalization(unbiased=True, name="input_bn", **policy)
        self.input_bn.build((None, None, sum(self.feature_sizes)))
        for stream, size in enumerate(self.feature_sizes):
            # An attribute each, as tf.train.Checkpoint does not look into lists.
            setattr(self, f"pooling_{stream}", self._build_pooling(stream, size))
        pooled = sum(pooling.clusters * size for pooling, size in zip(self.poolings, self.feature_sizes, strict=True))
        self.dropout = keras.layers.Dropout(args["dropout"], name="dropout", **policy)
        self.hidden = keras.layers.Dense(
            args["hidden_size"],
            use_bias=args["activation"] == "none",
            kernel_initializer=keras.initializers.RandomNormal(stddev=1.0 / math.sqrt(args["clusters"])),
            name="hidden1_weights",
            **policy,
        )
        self.hidden.build((None, pooled))
        if args["activation"] == "relu6":
            self.hidden_bn = MaskedBatchNormalization(unbiased=True, name="hidden1_bn", **policy)
            self.hidden_bn.build((None, args["hidden_size"]))
        if args["gating"]:
            self.gating = ContextGating(name="gating", **policy)
            self.gating.build((None, args["hidden_size"]))
        return args["hidden_size"]

    @property
    def poolings(self) -> list[NetVLADPooling]:
        """The pooling layer of each feature."""
        return [getattr(self, f"pooling_{stream}") for stream in range(len(self.feature_sizes))]

    def _build_pooling(self, stream: int, size: int) -> NetVLADPooling:
        clusters = stream_share(self.model_args["clusters"], stream)
        pooling = NetVLADPooling(clusters, dtype=self.dtype_policy, name=f"vlad_{stream}")
        pooling.build((None, None, size))
        return pooling

    def encode(self, frames: Any, mask: Any, training: bool, intermediates: dict[str, Any] | None) -> Any:
        frames = self.input_bn(frames, mask=mask, training=training)
        pooled = []
        for stream, (pooling, inputs) in enumerate(zip(self.poolings, self.split_features(frames), strict=True)):
            vlad, assignment = pooling(inputs, mask=mask, training=training, return_assignment=True)
            pooled.append(vlad)
            if intermediates is not None:
                intermediates[f"assignment_{stream}"] = assignment
        has_frames = ops.any(mask, axis=1)
        hidden = self.hidden(self.dropout(ops.concatenate(pooled, axis=-1), training=training))
        if self.model_args["activation"] == "relu6":
            hidden = ops.relu6(self.hidden_bn(hidden, mask=has_frames, training=training))
        if not self.model_args["gating"]:
            return hidden
        gated, gates = self.gating(hidden, mask=has_frames, training=training, return_gates=True)
        if intermediates is not None:
            intermediates["gates"] = gates
        return gated

    def encoder_multiply_accumulates(self, frames: int) -> dict[str, int]:
        counts = {}
        for stream, pooling in enumerate(self.poolings):
            for step, count in pooling.multiply_accumulates(frames).items():
                counts[f"vlad_{stream}/{step}"] = count
        counts["hidden"] = math.prod(self.hidden.kernel.shape)
        if self.model_args["gating"]:
            counts["gating"] = self.gating.multiply_accumulates()
        return counts
