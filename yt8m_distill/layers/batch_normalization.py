"""Batch normalization over the real rows of a batch only."""

from typing import Any

import keras
from keras import ops

from yt8m_distill.devices import collectives
from yt8m_distill.layers.masking import MaskedLayer

# A step count after which the warm-up `(1 + step) / (10 + step)` is above any momentum in use.
WARMED_UP_STEP = 1_000_000_000


@keras.saving.register_keras_serializable("yt8m_distill")
class MaskedBatchNormalization(MaskedLayer):
    """Normalizes each feature over all rows of a batch; masked rows enter no statistics.

    Under a distribution strategy the batch is that of all replicas together, however many rows each of them has.

    In training the batch's own mean and biased variance are used, else the moving averages. Statistics are float32
    in every precision policy. With `trainable = False` the layer behaves as in inference, like Keras's own.

    Args:
        momentum: decay of the moving averages, in [0, 1).
        epsilon: added to the variance.
        warm_up: decay by `min(momentum, (1 + step) / (10 + step))`, step being the number of batches seen, so that
            the averages of a short run are its own and not the initial values.
        unbiased: the moving variance takes the batch variance times rows / (rows - 1); the forward pass never does.

    Call arguments:
        inputs: (..., features). Masked rows must hold finite values.
        mask: bool (...), or None: every row counts. A batch without any valid row leaves the averages alone.
        training: whether to use and learn the batch's statistics.

    Output shape: as the input's. Masked rows are normalized too, what becomes of them is for the caller.

    Source: `slim.batch_norm`, whose fused form has `unbiased=True` and the other False.
    Differs: warm-up and mask, which the original code has not.
    """

    def __init__(
        self,
        momentum: float = 0.999,
        epsilon: float = 1e-3,
        warm_up: bool = True,
        unbiased: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.momentum = momentum
        self.epsilon = epsilon
        self.warm_up = warm_up
        self.unbiased = unbiased

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        shape = (input_shape[-1],)
        fixed = {"autocast": False, "dtype": "float32"}
        self.gamma = self.add_weight(shape, initializer="ones", name="gamma", **fixed)
        self.beta = self.add_weight(shape, initializer="zeros", name="beta", **fixed)
        # Under a distribution strategy all replicas learn the same: that of the whole batch.
        fixed |= {"trainable": False, "aggregation": "only_first_replica"}
        self.moving_mean = self.add_weight(shape, initializer="zeros", name="moving_mean", **fixed)
        self.moving_variance = self.add_weight(shape, initializer="ones", name="moving_variance", **fixed)
        if self.warm_up:
            self.step = self.add_weight(
                (), initializer="zeros", name="step", dtype="int64", trainable=False, aggregation="only_first_replica"
            )

    def call(self, inputs: Any, mask: Any = None, training: bool = False) -> Any:
        if training and self.trainable:
            mean, variance, rows = _moments(ops.cast(inputs, "float32"), mask)
            self._update_averages(mean, variance, rows)
        else:
            mean, variance = self.moving_mean, self.moving_variance
        scale = self.gamma * ops.rsqrt(variance + self.epsilon)
        offset = self.beta - mean * scale
        return inputs * ops.cast(scale, inputs.dtype) + ops.cast(offset, inputs.dtype)

    def finish_warm_up(self) -> None:
        """From now on the averages decay with `momentum`: for statistics that were learned elsewhere."""
        if self.warm_up:
            self.step.assign(WARMED_UP_STEP)

    def _update_averages(self, mean: Any, variance: Any, rows: Any) -> None:
        if self.unbiased:
            variance = variance * rows / ops.maximum(rows - 1.0, 1.0)
        # Without a valid row there is nothing to learn: rate 0, and the step does not count.
        any_row = ops.cast(rows > 0, "float32")
        rate = (1.0 - self._decay()) * any_row
        self.moving_mean.assign_add(rate * (mean - self.moving_mean))
        self.moving_variance.assign_add(rate * (variance - self.moving_variance))
        if self.warm_up:
            self.step.assign_add(ops.cast(any_row, "int64"))

    def _decay(self) -> Any:
        if not self.warm_up:
            return self.momentum
        step = ops.cast(self.step, "float32")
        return ops.minimum(self.momentum, (1.0 + step) / (10.0 + step))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "warm_up": self.warm_up,
            "unbiased": self.unbiased,
        }


def _moments(inputs: Any, mask: Any) -> tuple[Any, Any, Any]:
    """Mean and biased variance of each feature over the valid rows of all replicas, and the number of these."""
    axes = tuple(range(len(inputs.shape) - 1))
    if mask is None:
        rows = ops.cast(ops.size(inputs) // inputs.shape[-1], "float32")
        keep = inputs
    else:
        weights = ops.cast(mask, "float32")
        rows = ops.sum(weights)
        weights = ops.expand_dims(weights, -1)
        keep = inputs * weights
    total, rows = collectives.summed([ops.sum(keep, axis=axes), rows])
    divisor = ops.maximum(rows, 1.0)
    mean = total / divisor
    # The variance does not change with the mean to first order, so its gradient need not pass through it.
    squares = ops.square(inputs - ops.stop_gradient(mean))
    if mask is not None:
        squares = squares * weights
    (squares,) = collectives.summed([ops.sum(squares, axis=axes)])
    return mean, squares / divisor, rows
