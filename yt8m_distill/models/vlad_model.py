"""The base of NetVLAD and NeXtVLAD: a pooling layer for each feature, then one hidden representation."""

import math
from typing import Any

from keras import ops

from yt8m_distill.models.video_model import VideoModel


class VLADModel(VideoModel):
    """Each feature's frames pooled by a layer of its own, `pooling_0` and so on; `hidden` sees all of them together."""

    @property
    def poolings(self) -> list:
        """The pooling layer of each feature."""
        return [getattr(self, f"pooling_{stream}") for stream in range(len(self.feature_sizes))]

    @property
    def video_kernels(self) -> list:
        """The matrix of the hidden layer, which has most of the weights."""
        return [self.hidden.kernel]

    def pooled(self, frames: Any, mask: Any, training: bool, intermediates: dict[str, Any] | None) -> Any:
        """The frames of all features pooled, side by side: (batch, sum of the poolings' dims)."""
        pooled = []
        for stream, (pooling, inputs) in enumerate(zip(self.poolings, self.split_features(frames), strict=True)):
            vlad, assignment = pooling(inputs, mask=mask, training=training, return_assignment=True)
            pooled.append(vlad)
            if intermediates is not None:
                intermediates[f"assignment_{stream}"] = assignment
        return ops.concatenate(pooled, axis=-1)

    def gated(self, hidden: Any, mask: Any, training: bool, intermediates: dict[str, Any] | None) -> Any:
        """The hidden layer times its gates.

        Args:
            mask: (batch,) which videos have frames.
        """
        gated, gates = self.gating(hidden, mask=mask, training=training, return_gates=True)
        if intermediates is not None:
            intermediates["gates"] = gates
        return gated

    def encoder_multiply_accumulates(self, frames: int) -> dict[str, int]:
        counts = {}
        for stream, pooling in enumerate(self.poolings):
            for step, count in pooling.multiply_accumulates(frames).items():
                counts[f"vlad_{stream}/{step}"] = count
        counts["hidden"] = math.prod(self.hidden.kernel.shape)
        return counts
