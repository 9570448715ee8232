"""Predicts requests that arrive at the same time together."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from yt8m_distill.serving.requests import Videos

MOST_BATCH_BYTES = 1 << 30  # of frames, padded to the longest video, that requests share
MOST_WAITING_BYTES = 1 << 28  # of frames; one request may have more


class OverloadedError(Exception):
    """Too many videos are waiting."""


@dataclass(frozen=True)
class _Waiting:
    videos: Videos
    answer: asyncio.Future


class Batcher:
    """Runs the model in a thread of its own; requests that arrive meanwhile wait, and are the next batch.

    So a single request is answered at once, and batches grow with the load. A request's videos stay together.

    Args:
        predict: function of frames and num_frames, see `runners.load`; never called concurrently.
        max_batch: videos of a batch; a request that has more is a batch by itself.
        max_waiting: videos that may wait.

    Attributes:
        batches: predicted so far.
        videos: predicted so far.
    """

    def __init__(self, predict: Callable[[np.ndarray, np.ndarray], np.ndarray], max_batch: int, max_waiting: int):
        self.batches = self.videos = 0
        self._predict = predict
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._queue: deque[_Waiting] = deque()
        self._waiting = self._waiting_bytes = 0
        self._runner: asyncio.Task | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")

    @property
    def waiting(self) -> int:
        """Videos that are waiting now."""
        return self._waiting

    async def predictions(self, videos: Videos) -> np.ndarray:
        """Predictions (videos, classes) of a request.

        Raises:
            OverloadedError: too many videos are waiting.
            Exception: raised by the model.
        """
        num_bytes = self._waiting_bytes + videos.frames.nbytes
        if self._waiting and (self._waiting + len(videos) > self._max_waiting or num_bytes > MOST_WAITING_BYTES):
            raise OverloadedError
        answer = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(videos, answer))
        self._waiting += len(videos)
        self._waiting_bytes = num_bytes
        if self._runner is None:
            self._runner = asyncio.create_task(self._run())
        return await answer

    async def _run(self):
        """Predicts batches until nothing is waiting."""
        loop = asyncio.get_running_loop()
        try:
            while batch := self._next_batch():
                try:
                    videos = [request.videos for request in batch]
                    _answer(batch, await loop.run_in_executor(self._thread, self._predicted, videos))
                except Exception as error:
                    _answer(batch, [error] * len(batch))
                    continue
                self.batches += 1
                self.videos += sum(map(len, videos))
                del batch, videos  # the memory of their frames is free while the next are waited for
        finally:
            self._runner = None

    def _predicted(self, requests: list[Videos]) -> list[np.ndarray]:
        """Predictions of each request, in the model's thread, which also joins the frames: that takes time, too."""
        predictions = self._predict(*_joined(requests))
        return np.split(predictions, np.cumsum(list(map(len, requests)))[:-1])

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        while self._queue and (not batch or self._fits(batch, self._queue[0])):
            first = self._queue.popleft()
            self._waiting -= len(first.videos)
            self._waiting_bytes -= first.videos.frames.nbytes
            if not first.answer.done():  # otherwise the client has disconnected
                batch.append(first)
        return batch

    def _fits(self, batch: list[_Waiting], candidate: _Waiting) -> bool:
        requests = [request.videos for request in (*batch, candidate)]
        videos, longest = sum(map(len, requests)), max(request.frames.shape[1] for request in requests)
        return videos <= self._max_batch and videos * longest * requests[0].frames.shape[2] <= MOST_BATCH_BYTES


def _answer(batch: list[_Waiting], results: list):
    """Hands its predictions, or an exception, to each request that still waits."""
    for request, result in zip(batch, results, strict=True):
        if request.answer.done():
            continue
        if isinstance(result, Exception):
            request.answer.set_exception(result)
        else:
            request.answer.set_result(result)


def _joined(requests: list[Videos]) -> tuple[np.ndarray, np.ndarray]:
    """Frames and num_frames of all requests, padded to the longest video."""
    longest = max(videos.frames.shape[1] for videos in requests)
    padded = [np.pad(videos.frames, ((0, 0), (0, longest - videos.frames.shape[1]), (0, 0))) for videos in requests]
    return np.concatenate(padded), np.concatenate([videos.num_frames for videos in requests])
