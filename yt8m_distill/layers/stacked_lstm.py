"""LSTM layers on top of each other, whose states together are the output."""

import math
from typing import Any

import keras
from keras import ops

from yt8m_distill.layers.masking import MaskedLayer


@keras.saving.register_keras_serializable("yt8m_distill")
class StackedLSTM(MaskedLayer):
    """Runs `layers` LSTMs over sequences of any length, each from the zero state.

    Args:
        cells: size of each LSTM.
        layers: number of LSTMs.
        use_cudnn: as for `keras.layers.LSTM`; False for a model that is to be exported.

    Call arguments:
        inputs: (batch, steps, features), at least one step; steps past a sequence's end must be finite.
        mask: bool (batch, steps), True for real steps, which come first; False throughout is allowed.
        return_outputs: also return the top LSTM's output at every step, (batch, steps, cells), zero past the end.

    Output shape: (batch, 2 * layers * cells), the states at each sequence's end as [c0, h0, c1, h1, ...]; zeros for
    a sequence without real steps.

    Source: `MultiRNNCell` of `BasicLSTMCell`s with `state_is_tuple=False`, as in the H-LSTM's code.

    Example:
        >>> lstm = StackedLSTM(cells=4, layers=2)
        >>> states, outputs = lstm(ops.ones((3, 5, 6)), mask=ops.ones((3, 5), "bool"), return_outputs=True)
        >>> states.shape, outputs.shape
        (TensorShape([3, 16]), TensorShape([3, 5, 4]))
    """

    def __init__(self, cells: int, layers: int = 2, use_cudnn: bool | str = "auto", **kwargs: Any):
        super().__init__(**kwargs)
        self.cells = cells
        self.layers = layers
        self.use_cudnn = use_cudnn

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        features: Any = input_shape[-1]
        for index in range(self.layers):
            lstm = keras.layers.LSTM(
                self.cells,
                return_sequences=True,
                return_state=True,
                kernel_initializer=_joint_glorot(features, self.cells),
                recurrent_initializer=_joint_glorot(features, self.cells),
                use_cudnn=self.use_cudnn,
                dtype=self.dtype_policy,
                name=f"cell_{index}",
            )
            lstm.build((None, None, features))
            # An attribute each, as tf.train.Checkpoint does not look into lists.
            setattr(self, f"lstm_{index}", lstm)
            features = self.cells

    @property
    def lstms(self) -> list[keras.layers.LSTM]:
        """The LSTMs from bottom to top."""
        return [getattr(self, f"lstm_{index}") for index in range(self.layers)]

    def call(self, inputs: Any, mask: Any, return_outputs: bool = False) -> Any:
        # No row may be masked throughout: cuDNN refuses it. Its result is replaced by zeros below.
        first_step = ops.arange(ops.shape(inputs)[1]) == 0
        safe_mask = ops.logical_or(mask, first_step[None, :])
        outputs, states = inputs, []
        for lstm in self.lstms:
            outputs, hidden, carry = lstm(outputs, mask=safe_mask)
            states += [carry, hidden]
        state = ops.concatenate(states, axis=-1)
        state = ops.where(ops.any(mask, axis=1)[:, None], state, ops.zeros_like(state))
        if not return_outputs:
            return state
        return state, ops.where(mask[..., None], outputs, ops.zeros_like(outputs))

    def multiply_accumulates(self, steps: int) -> int:
        """Multiply-accumulates for one sequence of `steps` steps, both products of every step."""
        return steps * sum(
            math.prod(lstm.cell.kernel.shape) + math.prod(lstm.cell.recurrent_kernel.shape) for lstm in self.lstms
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cells": self.cells, "layers": self.layers, "use_cudnn": self.use_cudnn}


def _joint_glorot(features: int, cells: int) -> keras.initializers.Initializer:
    """Glorot uniform for the one matrix (features + cells, 4 * cells) that the original has for both kernels."""
    limit = math.sqrt(6.0 / (features + cells + 4 * cells))
    return keras.initializers.RandomUniform(-limit, limit)
