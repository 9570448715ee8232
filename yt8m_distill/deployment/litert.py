"""LiteRT (formerly TensorFlow Lite) files, for phones and small devices: builtin operators only."""

import pathlib
import tempfile
from collections.abc import Sequence

import tensorflow as tf

from yt8m_distill.deployment.exported_model import FRAMES_SIGNATURE, Network, portable, write_saved_model

BATCHES = {"": None, "_batch1": 1}  # by the suffix of the file name


def write(network: Network, folder: pathlib.Path, precisions: Sequence[str]) -> list[pathlib.Path]:
    """Writes `PRECISION.tflite`, for any number of videos, and `PRECISION_batch1.tflite`, for one, which is faster.

    Their only signature, "frames", is that of `Network.predict` with a fixed number of frames; recurrent layers are
    unrolled. Weights are float32, float16, or int8, the latter with a scale for each column ("dynamic range"): inputs,
    outputs and statistics keep their types.

    Args:
        network: the model.
        folder: to create.
        precisions: those of `ExportConfig.litert_precisions`.

    Returns:
        The files.

    Raises:
        UserError: the number of frames has no limit.
    """
    frames = network.checked_frames("litert")
    folder.mkdir()
    files = []
    for suffix, batch in BATCHES.items():
        with tempfile.TemporaryDirectory() as name, portable(network.model, unroll=True):
            function = network.predict, network.signature(batch, frames)
            write_saved_model(pathlib.Path(name), {FRAMES_SIGNATURE: function})
            for precision in precisions:
                files.append(folder / f"{precision}{suffix}.tflite")
                files[-1].write_bytes(_converted(name, precision))
    return files


def _converted(saved_model: str, precision: str) -> bytes:
    converter = tf.lite.TFLiteConverter.from_saved_model(saved_model, signature_keys=[FRAMES_SIGNATURE])
    # So that an operator that is not builtin is an error now, instead of a file that most interpreters refuse.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    return converter.convert()
