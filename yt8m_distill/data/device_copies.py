"""Copying ahead: the frames of a batch are copied to a GPU while the batch before is used.

Not in `prefetch`, so that commands that only read files do not import TensorFlow.
"""

import contextlib
from collections.abc import Generator, Iterator

import tensorflow as tf

from yt8m_distill.data.batches import Batch
from yt8m_distill.data.prefetch import prefetched


def copied_ahead(batches: Generator[Batch], device: str | None = None) -> Iterator[Batch]:
    """The same batches, with their frames on the device: copied, as bytes, while the batch before is used.

    Args:
        batches: closed at the end.
        device: its name; None: the first GPU; without a GPU nothing is copied.
    """
    gpus = tf.config.list_logical_devices("GPU") if device is None else []
    device = gpus[0].name if gpus else device
    with contextlib.closing(batches):
        yield from prefetched(_with_frames_on(device, batches)) if device else batches


def _with_frames_on(device: str, batches: Iterator[Batch]) -> Iterator[Batch]:
    @tf.function(reduce_retracing=True, autograph=False)
    def copy(frames: tf.Tensor) -> tf.Tensor:
        # A GPU fetches from page-locked memory without the CPU's help. TensorFlow allocates it for what an operation
        # on the CPU hands to one on a GPU, hence first a copy there, and both in one function.
        with tf.device("/CPU:0"):
            page_locked = tf.raw_ops.DeepCopy(x=frames)
        with tf.device(device):
            return tf.identity(page_locked)

    for batch in batches:
        with tf.device("/CPU:0"):
            frames = tf.convert_to_tensor(batch["frames"])
        with tf.device(device):
            copied = copy(frames)
        yield {**batch, "frames": copied}
