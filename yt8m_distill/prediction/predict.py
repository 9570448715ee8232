"""Compiled predictions of Keras models."""

import contextlib
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from yt8m_distill.data.batches import Batch
from yt8m_distill.models.video_model import VideoModel
from yt8m_distill.models.xla import SteadyShapes, check_xla

INPUTS = ("frames", "num_frames")
INPUTS_WITH_CHOICES = (*INPUTS, "choices")  # of a model that chooses its frames itself
# Up to so many videos TensorFlow on a CPU multiplies by a transposed matrix faster: reading it is all that takes time.
SMALL_BATCH = 2
LEAST_TRANSPOSED = 1 << 22  # weights of a matrix, 16 MB; smaller ones are read fast enough


def prediction_function(
    model: keras.Model, xla: bool = False, *, small_batches: bool = False
) -> Callable[[Batch], np.ndarray]:
    """A function from a batch of `VideoFiles` to predictions (batch, classes), compiled once for all shapes.

    Args:
        model: to predict with.
        xla: compile with XLA, for each shape; there are few, because batches are padded to the largest one so far.
        small_batches: there will be many of at most `SMALL_BATCH` videos, and the model's weights stay as they are:
            the first such batch makes transposed copies of `VideoModel.video_kernels`, where they are faster.

    Raises:
        UserError: XLA cannot compile the model.
    """
    if xla:
        check_xla([model])

    @functools.cache
    def compiled(names: tuple[str, ...], transposed: bool) -> Callable:
        kernels = [kernel for kernel in model.video_kernels if _is_large(kernel)] if transposed else []
        return compiled_output(model, "predictions", names, kernels, jit_compile=xla or None)

    transposes = small_batches and not xla and _reads_transposed_faster(model)
    shapes = SteadyShapes({"frames": (0, 1), "num_frames": (0,), "choices": (0, 1)} if xla else {})

    def predict_batch(batch: Batch) -> np.ndarray:
        padded = shapes.padded(batch)
        names = INPUTS_WITH_CHOICES if "choices" in batch else INPUTS
        videos = len(batch["num_frames"])
        predict = compiled(names, transposes and videos <= SMALL_BATCH)
        return predict({name: padded[name] for name in names}).numpy()[:videos]

    return predict_batch


def _reads_transposed_faster(model: keras.Model) -> bool:
    on_cpu = not tf.config.list_physical_devices("GPU")
    in_float32 = model.compute_dtype == model.variable_dtype == "float32"  # others are converted in every call
    return on_cpu and in_float32 and isinstance(model, VideoModel) and any(map(_is_large, model.video_kernels))


def _is_large(kernel: keras.Variable) -> bool:
    return math.prod(kernel.shape) >= LEAST_TRANSPOSED


def compiled_output(
    model: keras.Model,
    output: str,
    names: Sequence[str],
    transposed: Sequence[keras.Variable] = (),
    **options: Any,
) -> Callable:
    """One of a model's outputs as a graph for all shapes.

    Args:
        model: whose output.
        output: its name.
        names: of the model's inputs.
        transposed: matrices of which the graph reads transposed copies that are made now, so that it does not see
            later changes.
        **options: of `tf.function`.
    """
    frames = tf.float32 if model.video_level else tf.uint8
    signature = {
        "frames": tf.TensorSpec([None, None, sum(model.feature_sizes)], frames),
        "num_frames": tf.TensorSpec([None], tf.int32),
        "choices": tf.TensorSpec([None, None], tf.bool),
    }

    copies = [(kernel, tf.transpose(kernel.value)) for kernel in transposed]

    @tf.function(input_signature=[{name: signature[name] for name in names}], autograph=False, **options)
    def outputs(inputs):
        # TensorFlow makes one operation of this transposition and the product.
        values = [(kernel, tf.transpose(copy)) for kernel, copy in copies]
        with keras.StatelessScope(values) if values else contextlib.nullcontext():
            return model(inputs, training=False)[output]

    return outputs
