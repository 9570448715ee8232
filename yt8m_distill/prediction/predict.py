"""Compiled predictions."""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from yt8m_distill.config.dataset import SEGMENT
from yt8m_distill.data.batches import Batch, View
from yt8m_distill.data.device_copies import copied_ahead
from yt8m_distill.data.reading_order import BEGINNING, Position
from yt8m_distill.data.video_files import VideoFiles
from yt8m_distill.files.progress_bar import ProgressBar
from yt8m_distill.models.xla import SteadyShapes, check_xla

log = logging.getLogger(__name__)

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


def predictions(
    predict: Callable,
    videos: VideoFiles,
    view: View,
    *,
    batch_size: int,
    seed: int,
    description: str,
    start: Position = BEGINNING,
    done: int = 0,
) -> Iterator[tuple[Batch, np.ndarray]]:
    """Predicts videos in the order of the files, with a progress bar.

    Args:
        predict: from `prediction_function`.
        videos: to predict.
        view: the frames to read.
        batch_size: videos at a time.
        seed: of the frames of a "random" selection.
        description: of the progress bar.
        start: position to start at.
        done: videos before it, for the progress bar.

    Yields:
        Each batch with its predictions (batch, classes).
    """
    without_frames = 0
    unit = " segments" if view.in_segments or videos.spec.level == SEGMENT else " videos"
    total = max(done, videos.estimated_videos(view=view))
    with ProgressBar(total, description, unit, is_estimate=True, initial=done) as bar:
        for batch in copied_ahead(videos.ordered_batches(view, batch_size, seed, start)):
            yield batch, predict(batch)
            bar.update(len(batch["video_id"]))
            without_frames += int(np.count_nonzero(batch["num_frames"] == 0))
    if without_frames:
        log.warning("%d%s have no frames: their predictions are meaningless.", without_frames, unit)
