"""NetVLAD: soft assignment of frames to clusters, and the residuals to each cluster's center summed up."""

import math
from typing import Any

import keras
from keras import ops

from yt8m_distill.layers.batch_normalization import MaskedBatchNormalization
from yt8m_distill.layers.masking import MaskedLayer, l2_normalize


@keras.saving.register_keras_serializable("yt8m_distill")
class NetVLADPooling(MaskedLayer):
    """Pools the frames of a video into one vector, whatever their number.

    Args:
        clusters: number of clusters.
        batch_norm: normalize the assignment logits over the batch (WILLOW); False: add a bias (TensorFlow Addons).
        anchors: sum up the residuals to each cluster's center; False: the assigned frames themselves (LightVLAD).
        mask_statistics: whether padded frames are kept out of the batch statistics in training. False is the
            original's behaviour and serves the comparison with it.

    Call arguments:
        inputs: (batch, frames, features); padded frames must hold finite values.
        mask: bool (batch, frames), True for real frames, or None: all are real.
        training: whether batch statistics are used.
        return_assignment: also return the soft assignment, (batch, frames, clusters), zero on padded frames.

    Output shape: (batch, features * clusters), index feature * clusters + cluster. Each cluster's residual and then
    the whole vector have 2-norm 1; all zeros where a video has no real frame.

    Source: Arandjelovic et al., "NetVLAD", and WILLOW's code.
    Differs: padded frames are masked; WILLOW samples frames at random instead, at inference, too.

    Example:
        >>> pooling = NetVLADPooling(clusters=4)
        >>> pooling(ops.ones((2, 10, 6)), mask=ops.arange(10)[None] < ops.array([[10], [3]])).shape
        TensorShape([2, 24])
    """

    def __init__(
        self,
        clusters: int,
        batch_norm: bool = True,
        anchors: bool = True,
        mask_statistics: bool = True,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.clusters = clusters
        self.use_batch_norm = batch_norm
        self.anchors = anchors
        self.mask_statistics = mask_statistics

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        features: Any = input_shape[-1]
        self.assignment = keras.layers.Dense(
            self.clusters,
            use_bias=not self.use_batch_norm,
            kernel_initializer=keras.initializers.RandomNormal(stddev=1.0 / math.sqrt(features)),
            dtype=self.dtype_policy,
            name="cluster_weights",
        )
        self.assignment.build((None, features))
        if self.use_batch_norm:
            self.cluster_bn = MaskedBatchNormalization(unbiased=True, dtype=self.dtype_policy, name="cluster_bn")
            self.cluster_bn.build((None, self.clusters))
        if self.anchors:
            self.centers = self.add_weight(
                (1, features, self.clusters),
                initializer=keras.initializers.RandomNormal(stddev=1.0 / math.sqrt(features)),
                name="cluster_weights2",
            )

    def call(self, inputs: Any, mask: Any = None, training: bool = False, return_assignment: bool = False) -> Any:
        assignment = self._assign(inputs, mask, training)
        vlad = residuals(inputs, assignment, self.centers if self.anchors else None)
        vlad = ops.reshape(l2_normalize(vlad, axis=1), (-1, inputs.shape[-1] * self.clusters))
        vlad = l2_normalize(vlad)
        return (vlad, assignment) if return_assignment else vlad

    def _assign(self, inputs: Any, mask: Any, training: bool) -> Any:
        """Soft assignment (batch, frames, clusters): sums to 1 on real frames, to 0 on padded ones."""
        batch, frames = ops.shape(inputs)[:2]
        # One matrix of all frames: a product of two matrices is faster than one for each video.
        logits = self.assignment(ops.reshape(inputs, (-1, inputs.shape[-1])))
        if self.use_batch_norm:
            rows = None if mask is None or not self.mask_statistics else ops.reshape(mask, (-1,))
            logits = self.cluster_bn(logits, mask=rows, training=training)
        assignment = ops.reshape(ops.softmax(logits), (batch, frames, self.clusters))
        return assignment if mask is None else assignment * ops.cast(mask, assignment.dtype)[..., None]

    def multiply_accumulates(self, frames: int) -> dict[str, int]:
        """Multiply-accumulates for one video, by step."""
        products = frames * math.prod(self.assignment.kernel.shape)
        return {"assignment": products, "aggregation": products}

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "clusters": self.clusters,
            "batch_norm": self.use_batch_norm,
            "anchors": self.anchors,
            "mask_statistics": self.mask_statistics,
        }


def residuals(inputs: Any, assignment: Any, centers: Any | None) -> Any:
    """Sums the assigned differences between inputs and cluster centers.

    Args:
        inputs: (batch, rows, features).
        assignment: (batch, rows, clusters).
        centers: (1, features, clusters); None: all zero.

    Returns:
        (batch, features, clusters): `sum_rows assignment * (inputs - centers)`, without building the differences.
    """
    weighted = ops.matmul(ops.transpose(inputs, (0, 2, 1)), assignment)
    if centers is None:
        return weighted
    return weighted - ops.sum(assignment, axis=1, keepdims=True) * ops.cast(centers, weighted.dtype)
