"""Prefetching: batches are read while the batch before is used."""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor

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
