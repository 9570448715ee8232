"""Requests that come at the same time are predicted together."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from yt8m_distill.serving.requests import Videos

MOST_BATCH_BYTES = 1 << 30  # of frames, padded to the longest video, that requests share


class OverloadedError(Exception):
    """More videos are waiting than may."""


@dataclass(frozen=True)
class _Waiting:
    videos: Videos
    answer: asyncio.Future


class Batcher:
    """Runs the model in a thread of its own; what comes meanwhile waits, and is the next batch.

    So a request that comes alone is answered at once, and batches grow with the load. A request's videos stay together.

    Args:
        predict: function of frames and num_frames, see `runners.load`; never called twice at a time.
        max_batch: videos of a batch; a request that has more is a batch by itself.
        max_waiting: videos that may wait.

    Attributes:
        batches: how many have been predicted.
        videos: in them.
    """

    def __init__(self, predict: Callable[[np.ndarray, np.ndarray], np.ndarray], max_batch: int, max_waiting: int):
        self.batches = self.videos = 0
        self._predict = predict
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._queue: deque[_Waiting] = deque()
        self._waiting = 0
        self._runner: asyncio.Task | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")

    @property
    def waiting(self) -> int:
        """Videos that wait now."""
        return self._waiting

    async def predictions(self, videos: Videos) -> np.ndarray:
        """Predictions (videos, classes) of a request.

        Raises:
            OverloadedError: too many videos are waiting.
            Exception: what the model has raised.
        """
        if self._waiting and self._waiting + len(videos) > self._max_waiting:
            raise OverloadedError
        answer = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(videos, answer))
        self._waiting += len(videos)
        if self._runner is None:
            self._runner = asyncio.create_task(self._run())
        return await answer

    async def _run(self):
        """Until nothing waits."""
        loop = asyncio.get_running_loop()
        try:
            while batch := self._next_batch():
                try:
                    frames, num_frames = _joined([each.videos for each in batch])
                    predictions = await loop.run_in_executor(self._thread, self._predict, frames, num_frames)
                    ends = np.cumsum([len(each.videos) for each in batch])[:-1]
                    _give(batch, np.split(predictions, ends))
                except Exception as error:
                    _give(batch, [error] * len(batch))
                    continue
                self.batches += 1
                self.videos += len(frames)
        finally:
            self._runner = None

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        while self._queue and (not batch or self._fits(batch, self._queue[0])):
            first = self._queue.popleft()
            self._waiting -= len(first.videos)
            if not first.answer.done():  # else the client has gone
                batch.append(first)
        return batch

    def _fits(self, batch: list[_Waiting], following: _Waiting) -> bool:
        together = [each.videos for each in (*batch, following)]
        videos, longest = sum(map(len, together)), max(each.frames.shape[1] for each in together)
        return videos <= self._max_batch and videos * longest * together[0].frames.shape[2] <= MOST_BATCH_BYTES


def _give(batch: list[_Waiting], results: list):
    for each, result in zip(batch, results, strict=True):
        if each.answer.done():
            continue
        if isinstance(result, Exception):
            each.answer.set_exception(result)
        else:
            each.answer.set_result(result)


def _joined(requests: list[Videos]) -> tuple[np.ndarray, np.ndarray]:
    """The videos of all requests, padded to the longest."""
    longest = max(each.frames.shape[1] for each in requests)
    padded = [np.pad(each.frames, ((0, 0), (0, longest - each.frames.shape[1]), (0, 0))) for each in requests]
    return np.concatenate(padded), np.concatenate([each.num_frames for each in requests])
