"""Gates that scale each dimension of a vector by a number in (0, 1) computed from the whole vector."""

import math
from typing import Any

import keras
from keras import ops

from yt8m_distill.layers.batch_normalization import MaskedBatchNormalization
from yt8m_distill.layers.masking import MaskedLayer


@keras.saving.register_keras_serializable("yt8m_distill")
class ContextGating(MaskedLayer):
    """Context gating: `x * sigmoid(batch_norm(x @ weights))` with a full square matrix.

    Args:
        remove_diagonal: a dimension's gate does not see the dimension itself.
        batch_norm: False: a bias in place of batch normalization.

    Call arguments:
        inputs: (batch, dim).
        mask: bool (batch,), videos that enter the batch statistics, or None.
        training: whether batch statistics are used.
        return_gates: also return the gates, (batch, dim) in (0, 1).

    Output shape: (batch, dim).

    Source: WILLOW, "Learnable pooling with Context Gating for video classification", section 3.3.

    Example:
        >>> ContextGating()(ops.ones((3, 8))).shape
        TensorShape([3, 8])
    """

    def __init__(self, remove_diagonal: bool = False, batch_norm: bool = True, **kwargs: Any):
        super().__init__(**kwargs)
        self.remove_diagonal = remove_diagonal
        self.use_batch_norm = batch_norm

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        dim: Any = input_shape[-1]
        self.dense = keras.layers.Dense(
            dim,
            use_bias=not self.use_batch_norm,
            kernel_initializer=keras.initializers.RandomNormal(stddev=1.0 / math.sqrt(dim)),
            dtype=self.dtype_policy,
            name="gating_weights",
        )
        self.dense.build((None, dim))
        if self.use_batch_norm:
            self.batch_norm = MaskedBatchNormalization(unbiased=True, dtype=self.dtype_policy, name="gating_bn")
            self.batch_norm.build((None, dim))

    def call(self, inputs: Any, mask: Any = None, training: bool = False, return_gates: bool = False) -> Any:
        gates = self.dense(inputs)
        if self.remove_diagonal:
            gates = gates - ops.cast(ops.diagonal(self.dense.kernel), inputs.dtype) * inputs
        if self.use_batch_norm:
            gates = self.batch_norm(gates, mask=mask, training=training)
        gates = ops.sigmoid(gates)
        return (inputs * gates, gates) if return_gates else inputs * gates

    def multiply_accumulates(self) -> int:
        """Multiply-accumulates for one video."""
        return math.prod(self.dense.kernel.shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "remove_diagonal": self.remove_diagonal,
            "batch_norm": self.use_batch_norm,
        }


@keras.saving.register_keras_serializable("yt8m_distill")
class SEContextGating(MaskedLayer):
    """Squeeze-and-excitation context gating: `x * sigmoid(relu(batch_norm(x @ squeeze)) @ excite)`, no biases.

    Args:
        reduction: the hidden layer has dim // reduction units, at least 1.

    Call arguments:
        inputs: (batch, dim).
        mask: bool (batch,), videos that enter the batch statistics, or None.
        training: whether batch statistics are used.
        return_gates: also return the gates, (batch, dim) in (0, 1).

    Output shape: (batch, dim).

    Source: NeXtVLAD, section 3.3, as the authors' code computes it: without the second batch normalization that
    figure 4 of the paper shows.
    """

    def __init__(self, reduction: int = 8, **kwargs: Any):
        super().__init__(**kwargs)
        self.reduction = reduction

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        dim: Any = input_shape[-1]
        squeezed = max(dim // self.reduction, 1)
        options = {"use_bias": False, "dtype": self.dtype_policy}
        self.squeeze = keras.layers.Dense(
            squeezed, kernel_initializer=keras.initializers.VarianceScaling(2.0), name="gating_weights_1", **options
        )
        self.squeeze.build((None, dim))
        self.batch_norm = MaskedBatchNormalization(unbiased=True, dtype=self.dtype_policy, name="gating_bn")
        self.batch_norm.build((None, squeezed))
        self.excite = keras.layers.Dense(
            dim, kernel_initializer=keras.initializers.VarianceScaling(2.0), name="gating_weights_2", **options
        )
        self.excite.build((None, squeezed))

    def call(self, inputs: Any, mask: Any = None, training: bool = False, return_gates: bool = False) -> Any:
        squeezed = ops.relu(self.batch_norm(self.squeeze(inputs), mask=mask, training=training))
        gates = ops.sigmoid(self.excite(squeezed))
        return (inputs * gates, gates) if return_gates else inputs * gates

    def multiply_accumulates(self) -> int:
        """Multiply-accumulates for one video."""
        return math.prod(self.squeeze.kernel.shape) + math.prod(self.excite.kernel.shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "reduction": self.reduction}
