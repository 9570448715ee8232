"""LSTMs over all frames of a video, one on top of the other."""

from collections.abc import Sequence
from typing import Any

from keras import ops

from yt8m_distill.layers import StackedLSTM, append_frames
from yt8m_distill.models.argument_checks import checked_choice, checked_count
from yt8m_distill.models.video_model import VideoModel
from yt8m_distill.plugins import register_model

FINAL_STATES = ("output", "all")


@register_model()
class Lstm(VideoModel):
    """A stack of LSTMs over the frames, and a classifier on its state after the last real frame.

    Args:
        feature_sizes: as for `VideoModel`.
        num_classes: as for `VideoModel`.
        cells: size of every LSTM.
        layers: number of LSTMs.
        final_state: what the classifier sees: "output", the top LSTM's output; "all", the state and output of every
            LSTM, [c0, h0, c1, h1, ...].
        **kwargs: as for `VideoModel`, those of the classifier, too.

    Call arguments, returns: as for `VideoModel`; the representation is the final state. Intermediate: "frame_states"
    (batch, frames, cells), the top LSTM's output at every frame, zero on padding.

    Raises:
        UserError: a count below 1, or an unknown final state.

    Source: `LstmModel` of the starter code; with final_state="all", of WILLOW's.
    """

    input_normalization = "l2"
    classifiers = ("moe", "logistic")

    def __init__(
        self,
        feature_sizes: Sequence[int],
        num_classes: int,
        *,
        cells: int = 1024,
        layers: int = 2,
        final_state: str = "output",
        **kwargs: Any,
    ):
        super().__init__(
            feature_sizes,
            num_classes,
            model_args={
                "cells": checked_count("cells", cells),
                "layers": checked_count("layers", layers),
                "final_state": checked_choice("final_state", final_state, FINAL_STATES),
            },
            **kwargs,
        )

    @property
    def frame_states_size(self) -> int:
        return self.model_args["cells"]

    def build_encoder(self) -> int:
        args = self.model_args
        self.rnn = StackedLSTM(args["cells"], args["layers"], name="rnn", dtype=self.dtype_policy)
        self.rnn.build((None, None, sum(self.feature_sizes)))
        return args["cells"] if args["final_state"] == "output" else 2 * args["layers"] * args["cells"]

    def encode(self, frames: Any, mask: Any, training: bool, intermediates: dict[str, Any] | None) -> Any:
        del training
        length = ops.shape(frames)[1]
        # No LSTM runs over no steps.
        missing = max(1 - length, 0) if isinstance(length, int) else ops.maximum(1 - length, 0)
        frames, mask = append_frames(frames, missing), append_frames(mask, missing)
        states = self.rnn(frames, mask=mask, return_outputs=intermediates is not None)
        if intermediates is not None:
            states, outputs = states
            intermediates["frame_states"] = outputs[:, :length]
        return states if self.model_args["final_state"] == "all" else states[:, -self.model_args["cells"] :]

    def encoder_multiply_accumulates(self, frames: int) -> dict[str, int]:
        return {"lstm": self.rnn.multiply_accumulates(max(frames, 1))}
