"""The NeXtVLAD model with squeeze-and-excitation gating."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from yt8m_distill.errors import UserError
from yt8m_distill.layers import MaskedBatchNormalization, NeXtVLADPooling, SEContextGating
from yt8m_distill.models.argument_checks import checked_count, checked_rate
from yt8m_distill.models.video_model import stream_share
from yt8m_distill.models.vlad_model import VLADModel
from yt8m_distill.plugins import register_model


@register_model()
class NeXtVLAD(VLADModel):
    """NeXtVLAD pooling of each feature, a hidden layer, gating, classifier.

    The first feature has all clusters and groups, every further one half of them.

    Args:
        feature_sizes: as for `VideoModel`.
        num_classes: as for `VideoModel`.
        clusters: clusters of the first feature.
        groups: groups of the first feature; a feature's groups must divide expansion times its size.
        hidden_size: length of the representation.
        expansion: factor by which each feature is widened before it is grouped.
        gating_reduction: the gates' hidden layer has hidden_size // gating_reduction units.
        dropout: rate, in [0, 1), on the pooled vector in training.
        **kwargs: as for `VideoModel`, those of the classifier, too.

    Call arguments, returns: as for `VideoModel`. Intermediates: "gates" (batch, hidden_size) in (0, 1) and, for each
    feature i, "assignment_i" (batch, frames, groups, clusters), soft assignment times attention.

    Raises:
        UserError: a count below 1, a rate outside [0, 1), groups that do not divide, or a reduction above the size.

    Source: NeXtVLAD (Lin et al., 2018), section 3, and the authors' code. Input as it comes from dequantizing.

    Example:
        >>> model = NeXtVLAD((6, 2), 5, clusters=4, groups=2, hidden_size=8)
        >>> outputs = model({"frames": ops.zeros((3, 10, 8), "uint8"), "num_frames": ops.array([10, 7, 0])})
        >>> {name: tuple(value.shape) for name, value in outputs.items()}
        {'representation': (3, 8), 'predictions': (3, 5), 'logits': (3, 5)}
    """

    classifier_l2 = 1e-5
    regularize_classifier_bias = True

    def __init__(
        self,
        feature_sizes: Sequence[int],
        num_classes: int,
        *,
        clusters: int = 128,
        groups: int = 8,
        hidden_size: int = 2048,
        expansion: int = 2,
        gating_reduction: int = 8,
        dropout: float = 0.5,
        **kwargs: Any,
    ):
        super().__init__(
            feature_sizes,
            num_classes,
            model_args={
                "clusters": checked_count("clusters", clusters),
                "groups": checked_count("groups", groups),
                "hidden_size": checked_count("hidden_size", hidden_size),
                "expansion": checked_count("expansion", expansion),
                "gating_reduction": checked_count("gating_reduction", gating_reduction),
                "dropout": checked_rate("dropout", dropout),
            },
            **kwargs,
        )

    def build_encoder(self) -> int:
        args, policy = self.model_args, {"dtype": self.dtype_policy}
        if args["gating_reduction"] > args["hidden_size"]:
            raise UserError(f"gating_reduction must be at most hidden_size ({args['hidden_size']}).")
        for stream, size in enumerate(self.feature_sizes):
            # An attribute each, as tf.train.Checkpoint does not look into lists.
            setattr(self, f"pooling_{stream}", self._build_pooling(stream, size))
        pooled = sum(pooling.group_size * pooling.clusters for pooling in self.poolings)
        self.dropout = keras.layers.Dropout(args["dropout"], name="dropout", **policy)
        self.hidden = keras.layers.Dense(
            args["hidden_size"],
            use_bias=False,
            kernel_initializer=keras.initializers.VarianceScaling(2.0),
            name="hidden1_weights",
            **policy,
        )
        self.hidden.build((None, pooled))
        self.hidden_bn = MaskedBatchNormalization(name="hidden1_bn", **policy)
        self.hidden_bn.build((None, args["hidden_size"]))
        self.gating = SEContextGating(args["gating_reduction"], name="gating", **policy)
        self.gating.build((None, args["hidden_size"]))
        return args["hidden_size"]

    def _build_pooling(self, stream: int, size: int) -> NeXtVLADPooling:
        args = self.model_args
        groups, expanded = stream_share(args["groups"], stream), size * args["expansion"]
        if expanded % groups:
            raise UserError(
                f"The {groups} groups of feature {stream} do not divide its size times expansion, "
                f"{size} * {args['expansion']} = {expanded}. Change groups or expansion."
            )
        pooling = NeXtVLADPooling(
            stream_share(args["clusters"], stream),
            groups,
            args["expansion"],
            dtype=self.dtype_policy,
            name=f"vlad_{stream}",
        )
        pooling.build((None, None, size))
        return pooling

    def encode(self, frames: Any, mask: Any, training: bool, intermediates: dict[str, Any] | None) -> Any:
        has_frames = ops.any(mask, axis=1)
        pooled = self.dropout(self.pooled(frames, mask, training, intermediates), training=training)
        hidden = self.hidden_bn(self.hidden(pooled), mask=has_frames, training=training)
        return self.gated(hidden, has_frames, training, intermediates)

    def encoder_multiply_accumulates(self, frames: int) -> dict[str, int]:
        return {**super().encoder_multiply_accumulates(frames), "gating": self.gating.multiply_accumulates()}
