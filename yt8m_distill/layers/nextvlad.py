"""NeXtVLAD: NetVLAD on groups of an expanded input, each group weighted by its own attention."""

import math
from typing import Any

import keras
from keras import ops

from yt8m_distill.layers.batch_normalization import MaskedBatchNormalization
from yt8m_distill.layers.masking import MaskedLayer, l2_normalize
from yt8m_distill.layers.netvlad import residuals


@keras.saving.register_keras_serializable("yt8m_distill")
class NeXtVLADPooling(MaskedLayer):
    """Pools the frames of a video into one vector, whatever their number.

    Args:
        clusters: number of clusters, shared by the groups.
        groups: number of groups that the expanded features are cut into; divides features * expansion.
        expansion: the features are first mapped to expansion times as many.
        mask_statistics: whether padded frames are kept out of the batch statistics in training. False is the
            original's behaviour and serves the comparison with it.

    Call arguments:
        inputs: (batch, frames, features); padded frames must hold finite values.
        mask: bool (batch, frames), True for real frames, or None: all are real.
        training: whether batch statistics are used.
        return_assignment: also return the soft assignment times the attention, (batch, frames, groups, clusters),
            zero on padded frames.

    Output shape: (batch, dim), dim = features * expansion / groups * clusters, index feature * clusters + cluster.

    Source: NeXtVLAD, section 3.2, and the authors' code.
    Differs: in training, padded frames and videos without frames enter no batch statistics.

    Example:
        >>> NeXtVLADPooling(clusters=4, groups=3, expansion=2)(ops.ones((2, 10, 6))).shape
        TensorShape([2, 16])
    """

    def __init__(self, clusters: int, groups: int, expansion: int = 2, mask_statistics: bool = True, **kwargs: Any):
        super().__init__(**kwargs)
        self.clusters = clusters
        self.groups = groups
        self.expansion = expansion
        self.mask_statistics = mask_statistics

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        features: Any = input_shape[-1]
        expanded = features * self.expansion
        self.group_size = expanded // self.groups
        policy = {"dtype": self.dtype_policy}
        self.expand = keras.layers.Dense(expanded, name="fully_connected", **policy)
        self.expand.build((None, features))
        self.attention = keras.layers.Dense(self.groups, name="fully_connected_1", **policy)
        self.attention.build((None, expanded))
        self.assignment = keras.layers.Dense(
            self.groups * self.clusters,
            use_bias=False,
            kernel_initializer=keras.initializers.VarianceScaling(2.0),
            name="cluster_weights",
            **policy,
        )
        self.assignment.build((None, expanded))
        self.cluster_bn = MaskedBatchNormalization(name="cluster_bn", **policy)
        self.cluster_bn.build((None, self.groups * self.clusters))
        self.centers = self.add_weight(
            (1, self.group_size, self.clusters),
            initializer=keras.initializers.VarianceScaling(2.0),
            name="cluster_weights2",
        )
        self.vlad_bn = MaskedBatchNormalization(name="vlad_bn", **policy)
        self.vlad_bn.build((None, self.group_size * self.clusters))

    def call(self, inputs: Any, mask: Any = None, training: bool = False, return_assignment: bool = False) -> Any:
        batch, frames = ops.shape(inputs)[:2]
        # One matrix of all frames: a product of two matrices is faster than one for each video.
        expanded = self.expand(ops.reshape(inputs, (-1, inputs.shape[-1])))
        assignment = self._assign(expanded, mask, training)
        assignment = ops.reshape(assignment, (batch, frames, self.groups, self.clusters))

        vlad = residuals(
            ops.reshape(expanded, (batch, frames * self.groups, self.group_size)),
            ops.reshape(assignment, (batch, frames * self.groups, self.clusters)),
            self.centers,
        )
        vlad = ops.reshape(l2_normalize(vlad, axis=1), (-1, self.group_size * self.clusters))
        has_frames = None if mask is None else ops.any(mask, axis=1)
        vlad = self.vlad_bn(vlad, mask=has_frames, training=training)
        return (vlad, assignment) if return_assignment else vlad

    def _assign(self, expanded: Any, mask: Any, training: bool) -> Any:
        """Soft assignment times attention, (batch * frames, groups, clusters), zero on padded frames."""
        rows = None if mask is None else ops.reshape(mask, (-1,))
        logits = self.cluster_bn(
            self.assignment(expanded), mask=rows if self.mask_statistics else None, training=training
        )
        attention = ops.sigmoid(self.attention(expanded))
        if rows is not None:
            attention = attention * ops.cast(rows, attention.dtype)[:, None]
        return ops.softmax(ops.reshape(logits, (-1, self.groups, self.clusters))) * attention[..., None]

    def multiply_accumulates(self, frames: int) -> dict[str, int]:
        """Multiply-accumulates for one video, by step."""
        expanded = self.groups * self.group_size
        return {
            "expansion": frames * math.prod(self.expand.kernel.shape),
            "attention": frames * expanded * self.groups,
            "assignment": frames * expanded * self.groups * self.clusters,
            "aggregation": frames * expanded * self.clusters,
        }

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "clusters": self.clusters,
            "groups": self.groups,
            "expansion": self.expansion,
            "mask_statistics": self.mask_statistics,
        }
