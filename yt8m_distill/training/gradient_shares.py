"""The share of each loss in a student's gradient: measured in the first steps of a stage, beside the training."""

import logging
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.data.batches import Batch, View
from yt8m_distill.devices import collectives
from yt8m_distill.devices.cluster import Devices
from yt8m_distill.distiller import Distiller
from yt8m_distill.training.step import compiled

log = logging.getLogger(__name__)


def measured_first(
    step: Callable[[Batch], Any], distiller: Distiller, view: View, spec: DatasetSpec, devices: Devices
) -> Callable[[Batch], Any]:
    """A step before which the shares of the losses are measured, for as long as they are.

    Args:
        step: of the training.
        distiller: with `shares`, and its optimizer.
        view: the frames in a batch.
        spec: the format of the records.
        devices: that the models were built for.
    """
    norms = compiled(lambda data, share: gradient_norms(distiller, data, share), view, spec, devices)

    def step_of(batch: Batch) -> Any:
        if not distiller.shares.done:
            distiller.shares.add(norms(batch))
            if distiller.shares.done:
                described = ", ".join(f"{name} {weight:.4g}" for name, weight in distiller.shares.by_name().items())
                log.info("Weights of the losses by their shares of the gradient, from here on: %s", described)
        return step(batch)

    return step_of


def gradient_norms(distiller: Distiller, data: tuple, share: float | tf.Tensor | None = None) -> tf.Tensor:
    """The norm of each student loss's gradient, not weighted, (losses,), for the variables that all losses reach.

    These are the student's without its classifier; all of them where there are no others.

    Args:
        distiller: with its optimizer, whose scale of losses keeps small gradients from underflowing.
        data: as of `Distiller.train_step`.
        share: as of `Distiller.learn`.
    """
    batch = keras.utils.unpack_x_y_sample_weight(data)
    shared = distiller.student.encoder_variables or distiller.student.trainable_variables
    constants = distiller.constant_outputs(batch[0])
    kept = [(variable, tf.identity(variable.value)) for variable in distiller.non_trainable_variables]
    with tf.GradientTape(persistent=True) as tape:
        terms = distiller.loss_terms(constants, *batch).terms
        losses = [terms[loss.name] if share is None else share * terms[loss.name] for loss in distiller.student_losses]
    scale = distiller.optimizer.scale_loss(tf.ones([]))
    norms = []
    for loss in losses:
        gradients = tape.gradient(
            loss, [variable.value for variable in shared], output_gradients=scale, unconnected_gradients="zero"
        )
        norms.append(tf.linalg.global_norm(collectives.summed(gradients)) / scale)
    for variable, value in kept:  # moving averages and random states are those of the training alone
        variable.assign(value)
    return tf.stack(norms)
