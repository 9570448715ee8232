"""Prefetching: batches are read, and their frames copied to a GPU, while the batch before is used."""

import contextlib
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor

import tensorflow as tf

from yt8m_distill.data.batches import Batch

BATCHES_AHEAD = 2  # read while one is used


def prefetched(batches: Iterator[Batch]) -> Generator[Batch]:
    """The same batches, made in a thread of their own, `BATCHES_AHEAD` before they are used."""
    with ThreadPoolExecutor(1, "reader") as reader:
        waiting = deque(reader.submit(next, batches, None) for _ in range(BATCHES_AHEAD))
        try:
            while (batch := waiting.popleft().result()) is not None:
                waiting.append(reader.submit(next, batches, None))
                yield batch
        finally:
            reader.shutdown(cancel_futures=True)


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
