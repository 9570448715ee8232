"""Collective operations of the replicas of a model, within one training step.

Each replica sees its own videos of a batch. On one device, and outside of `tf.distribute.Strategy.run`, every function
returns its input.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf


def number() -> int:
    """Number of replicas in a step; 1 on one device."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def summed(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Sums each tensor over all replicas, in one all-reduce; gradients flow to every replica's part."""
    context = _context()
    return list(tensors) if context is None else list(context.all_reduce(tf.distribute.ReduceOp.SUM, list(tensors)))


def apply_sums(
    optimizer: keras.optimizers.Optimizer, gradients: Sequence[tf.Tensor], variables: Sequence[keras.Variable]
):
    """`apply_gradients` for gradients that are already summed over all replicas.

    Keras would sum them itself, but clips each replica's part before. There is no option to turn that off.
    """
    if _context() is not None:
        optimizer._all_reduce_sum_gradients = list
    optimizer.apply_gradients(zip(gradients, variables, strict=True))


def even_share() -> float | None:
    """A replica's share of a batch that is split evenly; None on one device."""
    return None if _context() is None else 1.0 / number()


def _context() -> tf.distribute.ReplicaContext | None:
    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None
