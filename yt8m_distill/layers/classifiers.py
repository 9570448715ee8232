"""Output layers: from a video's representation to one probability per class."""

import math
from typing import Any

import keras
from keras import ops

from yt8m_distill.layers.batch_normalization import MaskedBatchNormalization
from yt8m_distill.layers.masking import MaskedLayer


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

    Example:
        >>> outputs = LogisticClassifier(num_classes=5)(ops.zeros((2, 8)))
        >>> outputs["predictions"].numpy().tolist()[0]
        [0.5, 0.5, 0.5, 0.5, 0.5]
    """

    kind = "logistic"

    def __init__(self, num_classes: int, l2_penalty: float = 1e-8, regularize_bias: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.l2_penalty = l2_penalty
        self.regularize_bias = regularize_bias

    @property
    def model_args(self) -> dict[str, Any]:
        """The arguments of a model that give it such a layer."""
        return {"classifier": self.kind}

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
class MixtureOfExperts(MaskedLayer):
    """For each class a softmax-gated mixture of logistic experts; one more gate stands for "no".

    Args:
        num_classes: number of classes.
        mixtures: experts for each class.
        l2_penalty: scale of the regularization term `scale * sum(w^2) / 2` over the experts' and gates' matrices.
        gating: "prob" or "input": the probabilities are multiplied by gates sigmoid(batch_norm(x @ weights)), x being
            the probabilities themselves or the layer's inputs; "none": they are not.
        remove_diagonal: with "prob", a class's gate does not see the class itself.
        gate_rank: the gates of the experts are made by a product of two matrices of this inner size; 0: by one matrix.

    Call arguments:
        inputs: (batch, dim).
        mask: bool (batch,), videos that enter the batch statistics of the gating, or None.
        training: whether batch statistics are used.

    Returns:
        `{"predictions": (batch, classes) in [0, 1]}`, float32. A mixture has no logits.

    Source: `MoeModel` of the starter code, and of WILLOW's code for the gating and the rank. Weight columns:
    class * (mixtures + 1) + gate, class * mixtures + expert.
    """

    kind = "moe"

    def __init__(
        self,
        num_classes: int,
        mixtures: int = 2,
        l2_penalty: float = 1e-8,
        gating: str = "none",
        remove_diagonal: bool = False,
        gate_rank: int = 0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.mixtures = mixtures
        self.l2_penalty = l2_penalty
        self.gating = gating
        self.remove_diagonal = remove_diagonal
        self.gate_rank = gate_rank

    @property
    def model_args(self) -> dict[str, Any]:
        """The arguments of a model that give it such a layer."""
        return {
            "classifier": self.kind,
            "mixtures": self.mixtures,
            "moe_gating": self.gating,
            "moe_gating_remove_diag": self.remove_diagonal,
            "moe_gate_rank": self.gate_rank,
        }

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        dim: Any = input_shape[-1]
        options = {"kernel_regularizer": _half_l2(self.l2_penalty), "dtype": self.dtype_policy}
        if self.gate_rank:
            self.gate_factors = keras.layers.Dense(self.gate_rank, use_bias=False, name="gates1", **options)
            self.gate_factors.build((None, dim))
        self.gates = keras.layers.Dense(self.num_classes * (self.mixtures + 1), use_bias=False, name="gates", **options)
        self.gates.build((None, self.gate_rank or dim))
        self.experts = keras.layers.Dense(self.num_classes * self.mixtures, name="experts", **options)
        self.experts.build((None, dim))
        if self.gating != "none":
            self._build_gating(self.num_classes if self.gating == "prob" else dim)

    def _build_gating(self, dim: int) -> None:
        stddev = 1.0 / math.sqrt(self.num_classes)
        self.gating_dense = keras.layers.Dense(
            self.num_classes,
            use_bias=False,
            kernel_initializer=keras.initializers.RandomNormal(stddev=stddev),
            dtype=self.dtype_policy,
            name="gating_prob_weights",
        )
        self.gating_dense.build((None, dim))
        self.gating_bn = MaskedBatchNormalization(unbiased=True, dtype=self.dtype_policy, name="gating_prob_bn")
        self.gating_bn.build((None, self.num_classes))

    def call(self, inputs: Any, mask: Any = None, training: bool = False) -> dict[str, Any]:
        # (batch, classes, mixtures + 1); the last gate has no expert
        gates = self.gates(self.gate_factors(inputs) if self.gate_rank else inputs)
        gates = ops.softmax(ops.reshape(gates, (-1, self.num_classes, self.mixtures + 1)))
        experts = ops.sigmoid(ops.reshape(self.experts(inputs), (-1, self.num_classes, self.mixtures)))
        predictions = ops.sum(gates[..., :-1] * experts, axis=-1)
        # Rounding can take the sum of the gates a little above 1.
        predictions = ops.minimum(predictions, 1.0)
        if self.gating != "none":
            predictions = predictions * self._probability_gates(inputs, predictions, mask, training)
        return {"predictions": predictions}

    def _probability_gates(self, inputs: Any, predictions: Any, mask: Any, training: bool) -> Any:
        gates = self.gating_dense(predictions if self.gating == "prob" else inputs)
        if self.remove_diagonal:
            gates = gates - ops.diagonal(self.gating_dense.kernel) * predictions
        return ops.sigmoid(self.gating_bn(gates, mask=mask, training=training))

    def multiply_accumulates(self) -> int:
        """Multiply-accumulates for one video; the sum over the experts is element-wise and not counted."""
        names = ["gates", "experts"]
        names += ["gate_factors"] if self.gate_rank else []
        names += ["gating_dense"] if self.gating != "none" else []
        return sum(math.prod(getattr(self, name).kernel.shape) for name in names)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "mixtures": self.mixtures,
            "l2_penalty": self.l2_penalty,
            "gating": self.gating,
            "remove_diagonal": self.remove_diagonal,
            "gate_rank": self.gate_rank,
        }
