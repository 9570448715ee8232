"""The hierarchical LSTM: one over the frames of each block, one over the blocks."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from yt8m_distill.layers import StackedLSTM, append_frames
from yt8m_distill.models.argument_checks import checked_count, checked_rate
from yt8m_distill.models.video_model import VideoModel
from yt8m_distill.plugins import register_model


@register_model()
class HierarchicalRNN(VideoModel):
    """A lower stack of LSTMs runs over each block of frames; its final states are the upper stack's inputs.

    Dropout is put on the classifier's input only, so that the representation, which a student matches, has none.
    A number of frames that is not a multiple of `block_length` is padded within.

    Args:
        feature_sizes: as for `VideoModel`.
        num_classes: as for `VideoModel`.
        cells: size of every LSTM.
        layers: LSTMs in each of the two stacks.
        block_length: frames in a block.
        dropout: rate, in [0, 1), on the classifier's input in training.
        **kwargs: as for `VideoModel`, those of the classifier, too.

    Call arguments, returns: as for `VideoModel`; the representation is the upper stack's final state
    [c0, h0, c1, h1, ...], 2 * layers * cells numbers. Intermediate: "frame_states" (batch, frames, cells), the lower
    stack's top output at every frame, zero on padding.

    Raises:
        UserError: a count below 1, or a rate outside [0, 1).

    Source: "Efficient Video Classification Using Fewer Frames" (Bhardwaj et al., 2019), section 3, and its code.
    Differs: the code ignores its dropout argument, and its student has five blocks whatever its frames.

    Example:
        >>> model = HierarchicalRNN((6, 2), 5, cells=4, layers=1, block_length=5)
        >>> inputs = {"frames": ops.zeros((3, 10, 8), "uint8"), "num_frames": ops.array([10, 7, 0])}
        >>> outputs = model(inputs, return_intermediates=True)
        >>> tuple(outputs["representation"].shape), tuple(outputs["frame_states"].shape)
        ((3, 8), (3, 10, 4))
    """

    input_normalization = "l2"

    def __init__(
        self,
        feature_sizes: Sequence[int],
        num_classes: int,
        *,
        cells: int = 1024,
        layers: int = 2,
        block_length: int = 20,
        dropout: float = 0.5,
        **kwargs: Any,
    ):
        super().__init__(
            feature_sizes,
            num_classes,
            model_args={
                "cells": checked_count("cells", cells),
                "layers": checked_count("layers", layers),
                "block_length": checked_count("block_length", block_length),
                "dropout": checked_rate("dropout", dropout),
            },
            **kwargs,
        )

    @classmethod
    def args_for_frames(cls, frames: int) -> dict[str, Any]:
        if frames >= 100:
            return {"block_length": 20}
        return {"block_length": 5 if frames >= 10 else min(frames, 3)}

    @property
    def frame_states_size(self) -> int:
        return self.model_args["cells"]

    def build_encoder(self) -> int:
        args, policy = self.model_args, {"dtype": self.dtype_policy}
        state_size = 2 * args["layers"] * args["cells"]
        self.block_length = args["block_length"]
        self.lower = StackedLSTM(args["cells"], args["layers"], name="RNN_L1", **policy)
        self.lower.build((None, None, sum(self.feature_sizes)))
        self.upper = StackedLSTM(args["cells"], args["layers"], name="RNN_L2", **policy)
        self.upper.build((None, None, state_size))
        self.dropout = keras.layers.Dropout(args["dropout"], name="dropout", dtype="float32")
        return state_size

    def encode(self, frames: Any, mask: Any, training: bool, intermediates: dict[str, Any] | None) -> Any:
        batch, length = ops.shape(frames)[:2]
        blocks = _block_count(length, self.block_length)
        padding = blocks * self.block_length - length
        frames = append_frames(frames, padding)
        mask = append_frames(mask, padding)
        # (batch * blocks, block_length, features)
        block_frames = ops.reshape(frames, (-1, self.block_length, frames.shape[-1]))
        block_mask = ops.reshape(mask, (-1, self.block_length))
        states = self.lower(block_frames, mask=block_mask, return_outputs=intermediates is not None)
        if intermediates is not None:
            states, outputs = states
            outputs = ops.reshape(outputs, (batch, blocks * self.block_length, outputs.shape[-1]))
            intermediates["frame_states"] = outputs[:, :length]
        states = ops.reshape(states, (batch, blocks, states.shape[-1]))
        return self.upper(states, mask=ops.reshape(ops.any(block_mask, axis=1), (batch, blocks)))

    def classifier_input(self, representation: Any, training: bool) -> Any:
        return self.dropout(representation, training=training)

    def encoder_multiply_accumulates(self, frames: int) -> dict[str, int]:
        """The steps computed: the last block is padded to its full length."""
        blocks = _block_count(frames, self.block_length)
        return {
            "lower": self.lower.multiply_accumulates(blocks * self.block_length),
            "upper": self.upper.multiply_accumulates(blocks),
        }


def _block_count(frames: Any, block_length: int) -> Any:
    """How many blocks hold `frames` frames, an int or a tensor; at least one, as no LSTM runs over no steps."""
    blocks = -(-frames // block_length)
    return max(blocks, 1) if isinstance(blocks, int) else ops.maximum(blocks, 1)
