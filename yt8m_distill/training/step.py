"""Training steps, each compiled as one graph."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.data.batches import Batch, View, videos_in
from yt8m_distill.data.tf_dataset import signature
from yt8m_distill.devices import collectives
from yt8m_distill.devices.cluster import Devices
from yt8m_distill.distiller import LabelTrainer
from yt8m_distill.models.xla import SteadyShapes


class StepResult(NamedTuple):
    """What a step gives, to be looked at later or never: that would wait for the device.

    Attributes:
        loss: mean since the metrics of the step model were reset.
        predictions: (videos, classes) of each of this process's devices, of its own videos, in the order of the batch.
    """

    loss: tf.Tensor
    predictions: tuple[tf.Tensor, ...]


def compiled_step(
    step_model: LabelTrainer, view: View, spec: DatasetSpec, xla: bool = False
) -> Callable[[Batch], StepResult]:
    """The training step as one graph for all batch shapes.

    Args:
        step_model: with its optimizer.
        view: the frames in a batch.
        spec: the format of the records.
        xla: compile it with XLA, for each shape.

    Returns:
        A function from a batch to the result.
    """
    inputs, targets = signature(view, spec)

    @tf.function(input_signature=(inputs, targets), jit_compile=xla or None, autograph=False)
    def step(batch, target):
        terms, predictions = step_model.learn_and_predict((batch, target["labels"], target.get("label_weights")))
        return step_model.track(terms, tf.shape(target["labels"])[0])["loss"], predictions

    lengths = SteadyShapes({"frames": (1,), "student_indices": (1,), "choices": (1,)} if xla else {})

    def step_of(batch: Batch) -> StepResult:
        batch = lengths.padded(batch)
        loss, predictions = step({name: batch[name] for name in inputs}, {name: batch[name] for name in targets})
        return StepResult(loss, (predictions,))

    return step_of


def compiled_step_on_all(
    step_model: LabelTrainer, view: View, spec: DatasetSpec, devices: Devices
) -> Callable[[Batch, bool], tuple[StepResult, tf.Tensor]]:
    """The training step on all devices: each takes its own videos of a batch, or of this process's shard of the batch.

    Returns:
        A function from a batch, and whether this process is asked to stop, to the result, and the number of processes
        that are asked to stop.
    """
    inputs, targets = signature(view, spec)
    names = list(step_model.means())

    def on_replica(batch, target, videos, stop):
        data, share = _part_of_replica(batch, target, videos, devices)
        terms, predictions = step_model.learn_and_predict(data, share)
        (total,) = collectives.summed([tf.stack([*(share * terms[name] for name in names), tf.cast(stop, tf.float32)])])
        own = tf.where(share > 0, tf.shape(predictions)[0], 0)  # a replica without videos computes on one all the same
        return total, predictions[:own]

    number = tf.TensorSpec([], tf.int32)

    @tf.function(input_signature=(inputs, targets, number, number), autograph=False)
    def step(batch, target, videos, stop):
        results = devices.strategy.run(on_replica, args=(batch, target, videos, stop))
        totals, predictions = map(devices.strategy.experimental_local_results, results)
        *terms, votes = tf.unstack(totals[0])
        return step_model.track(dict(zip(names, terms, strict=True)), videos)["loss"], predictions, votes

    def step_of(batch: Batch, stop: bool):
        with tf.device("CPU:0"):
            loss, predictions, votes = step(*_on_cpu(batch, inputs, targets), videos_in(batch), int(stop))
        return StepResult(loss, predictions), votes

    return step_of


def compiled(
    function: Callable[[tuple, float | tf.Tensor | None], tf.Tensor], view: View, spec: DatasetSpec, devices: Devices
) -> Callable[[Batch], tf.Tensor]:
    """A function of (data, share), as `LabelTrainer.learn` has them, whose value all replicas have in common.

    Args:
        function: to compile.
        view: the frames in a batch.
        spec: the format of the records.
        devices: that it runs on.

    Returns:
        A function from a batch to that value.
    """
    inputs, targets = signature(view, spec)
    if devices.replicas == 1:

        @tf.function(input_signature=(inputs, targets), autograph=False)
        def on_one(batch, target):
            return function((batch, target["labels"], target.get("label_weights")), None)

        return lambda batch: on_one(*({name: batch[name] for name in names} for names in (inputs, targets)))

    @tf.function(input_signature=(inputs, targets, tf.TensorSpec([], tf.int32)), autograph=False)
    def on_all(batch, target, videos):
        values = devices.strategy.run(
            lambda *args: function(*_part_of_replica(*args, devices)), args=(batch, target, videos)
        )
        return devices.strategy.experimental_local_results(values)[0]

    def of_batch(batch: Batch) -> tf.Tensor:
        with tf.device("CPU:0"):
            return on_all(*_on_cpu(batch, inputs, targets), videos_in(batch))

    return of_batch


def _part_of_replica(batch, target, videos: tf.Tensor, devices: Devices) -> tuple[tuple, tf.Tensor]:
    """The calling replica's videos of a batch, as (inputs, labels, label_weights), and their share of all."""
    with tf.device("CPU:0"):  # where the batch is: only the replica's own videos are copied to its device
        read = tf.shape(batch["num_frames"])[0]
        begin, end, count = devices.rows(videos, read)
        batch, target = tf.nest.map_structure(lambda values: values[begin:end], (batch, target))
        for name in {"num_frames", "student_num_frames"} & batch.keys():
            batch[name] = tf.where(count > 0, batch[name], 0)  # a video that does not count has no frames
        share = tf.cast(count, tf.float32) / tf.cast(videos, tf.float32)
    return (batch, target["labels"], target.get("label_weights")), share


def _on_cpu(batch: Batch, *signatures: dict[str, tf.TensorSpec]) -> tuple[dict[str, tf.Tensor], ...]:
    return tuple({name: tf.convert_to_tensor(batch[name]) for name in names} for names in signatures)
