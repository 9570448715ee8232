"""Output layers: from a video's representation to one probability per class."""

from typing import Any

import keras
from keras import ops


def _half_l2(scale: float) -> keras.regularizers.Regularizer | None:
    """`scale * sum(w^2) / 2`, as slim's l2_regularizer; Keras's own has no 1/2."""
    return keras.regularizers.L2(scale / 2.0) if scale else None


@keras.saving.register_keras_serializable("yt8m_distill")
class LogisticClassifier(keras.layers.Layer):
    """One logistic regression for each class.

    Args:
        num_classes: number of classes.
        l2_penalty: scale of the regularization term `scale * sum(w^2) / 2`.
        regularize_bias: whether the biases enter that term, too.

    Call arguments:
        inputs: (batch, dim).

    Returns:
        `{"predictions": (batch, classes) in [0, 1], "logits": (batch, classes)}`, float32.

    Source: `LogisticModel` of the starter code (biases not regularized) and of NeXtVLAD's code (regularized).
    """

    kind = "logistic"

    def __init__(self, num_classes: int, l2_penalty: float = 1e-8, regularize_bias: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.l2_penalty = l2_penalty
        self.regularize_bias = regularize_bias

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.dense = keras.layers.Dense(
            self.num_classes,
            kernel_regularizer=_half_l2(self.l2_penalty),
            bias_regularizer=_half_l2(self.l2_penalty) if self.regularize_bias else None,
            dtype=self.dtype_policy,
            name="fully_connected",
        )
        self.dense.build((None, input_shape[-1]))

    def call(self, inputs: Any) -> dict[str, Any]:
        logits = self.dense(inputs)
        return {"predictions": ops.sigmoid(logits), "logits": logits}

    def multiply_accumulates(self) -> int:
        """Multiply-accumulates for one video."""
        return self.dense.kernel.shape[0] * self.num_classes

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "l2_penalty": self.l2_penalty,
            "regularize_bias": self.regularize_bias,
        }


@keras.saving.register_keras_serializable("yt8m_distill")
class MixtureOfExperts(keras.layers.Layer):
    """For each class a softmax-gated mixture of logistic experts; one more gate stands for "no".

    Args:
        num_classes: number of classes.
        mixtures: experts for each class.
        l2_penalty: scale of the regularization term `scale * sum(w^2) / 2` over the two weight matrices.

    Call arguments:
        inputs: (batch, dim).

    Returns:
        `{"predictions": (batch, classes) in [0, 1]}`, float32. A mixture has no logits.

    Source: `MoeModel` of the starter code. Weight columns: class * (mixtures + 1) + gate, class * mixtures + expert.
    """

    kind = "moe"

    def __init__(self, num_classes: int, mixtures: int = 2, l2_penalty: float = 1e-8, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.mixtures = mixtures
        self.l2_penalty = l2_penalty

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        options = {"kernel_regularizer": _half_l2(self.l2_penalty), "dtype": self.dtype_policy}
        self.gates = keras.layers.Dense(self.num_classes * (self.mixtures + 1), use_bias=False, name="gates", **options)
        self.experts = keras.layers.Dense(self.num_classes * self.mixtures, name="experts", **options)
        for dense in (self.gates, self.experts):
            dense.build((None, input_shape[-1]))

    def call(self, inputs: Any) -> dict[str, Any]:
        # (batch, classes, mixtures + 1); the last gate has no expert
        gates = ops.softmax(ops.reshape(self.gates(inputs), (-1, self.num_classes, self.mixtures + 1)))
        experts = ops.sigmoid(ops.reshape(self.experts(inputs), (-1, self.num_classes, self.mixtures)))
        predictions = ops.sum(gates[..., :-1] * experts, axis=-1)
        # Rounding can take the sum of the gates a little above 1.
        return {"predictions": ops.minimum(predictions, 1.0)}

    def multiply_accumulates(self) -> int:
        """Multiply-accumulates for one video; the sum over the experts is element-wise and not counted."""
        return self.gates.kernel.shape[0] * self.num_classes * (2 * self.mixtures + 1)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "mixtures": self.mixtures,
            "l2_penalty": self.l2_penalty,
        }
