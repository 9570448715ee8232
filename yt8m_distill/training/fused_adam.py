"""Adam whose update reads and writes each variable once."""

import keras
import tensorflow as tf


class _FusedUpdate:
    """Replaces `update_step` of Keras's Adam by TensorFlow's own kernel for it.

    Keras composes the update of elementary operations, each of which goes over all of a variable's values in memory:
    that takes about three times as long for the large matrices of a VLAD model. State, names and configuration are
    those of Keras's class, so that either goes on with what the other has stored.

    Source: `tf.compat.v1.train.AdamOptimizer`, which has this kernel.
    Differs: from Keras by rounding. Keras multiplies by 1 - beta as computed in 64 bits, the kernel computes it from
        the 32 bits of beta, as the bias correction of both does. For beta_2 = 0.999 the factor differs by 1.3e-5 of
        itself, and the length of a step by at most 7e-6 of itself.
    """

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        if self.amsgrad:
            super().update_step(gradient, variable, learning_rate)
            return
        index, dtype = self._get_variable_index(variable), variable.dtype
        step = tf.cast(self.iterations + 1, dtype)
        beta_1, beta_2 = tf.constant(self.beta_1, dtype), tf.constant(self.beta_2, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(beta_1, step),
            beta2_power=tf.pow(beta_2, step),
            lr=tf.cast(learning_rate, dtype),
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.constant(self.epsilon, dtype),
            grad=tf.cast(tf.convert_to_tensor(gradient), dtype),
            use_locking=True,  # nothing reads values half of which are new
        )


@keras.saving.register_keras_serializable("yt8m_distill")
class FusedAdam(_FusedUpdate, keras.optimizers.Adam):
    """`keras.optimizers.Adam`, faster; see `_FusedUpdate`."""

    def __init__(self, *args, name: str = "adam", **kwargs):
        super().__init__(*args, name=name, **kwargs)


@keras.saving.register_keras_serializable("yt8m_distill")
class FusedAdamW(_FusedUpdate, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW`, faster; see `_FusedUpdate`."""

    def __init__(self, *args, name: str = "adam_w", **kwargs):
        super().__init__(*args, name=name, **kwargs)
