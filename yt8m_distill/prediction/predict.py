"""Compiled predictions of Keras models."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from yt8m_distill.data.batches import Batch
from yt8m_distill.models.xla import SteadyShapes, check_xla

INPUTS = ("frames", "num_frames")
INPUTS_WITH_CHOICES = (*INPUTS, "choices")  # of a model that chooses its frames itself


def prediction_function(model: keras.Model, xla: bool = False) -> Callable[[Batch], np.ndarray]:
    """A function from a batch of `VideoFiles` to predictions (batch, classes), compiled once for all shapes.

    Args:
        model: to predict with.
        xla: compile with XLA, for each shape; there are few, because batches are padded to the largest one so far.

    Raises:
        UserError: XLA cannot compile the model.
    """
    if xla:
        check_xla([model])
    predict = {
        names: compiled_output(model, "predictions", names, jit_compile=xla or None)
        for names in (INPUTS, INPUTS_WITH_CHOICES)
    }
    shapes = SteadyShapes({"frames": (0, 1), "num_frames": (0,), "choices": (0, 1)} if xla else {})

    def predict_batch(batch: Batch) -> np.ndarray:
        padded = shapes.padded(batch)
        names = INPUTS_WITH_CHOICES if "choices" in batch else INPUTS
        return predict[names]({name: padded[name] for name in names}).numpy()[: len(batch["num_frames"])]

    return predict_batch


def compiled_output(model: keras.Model, output: str, names: Sequence[str], **options: Any) -> Callable:
    """One of a model's outputs as a graph for all shapes, of its inputs with these names."""
    values = tf.float32 if model.video_level else tf.uint8
    signature = {
        "frames": tf.TensorSpec([None, None, sum(model.feature_sizes)], values),
        "num_frames": tf.TensorSpec([None], tf.int32),
        "choices": tf.TensorSpec([None, None], tf.bool),
    }

    @tf.function(input_signature=[{name: signature[name] for name in names}], autograph=False, **options)
    def outputs(inputs):
        return model(inputs, training=False)[output]

    return outputs
