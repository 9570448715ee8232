"""The HTTP service: what it answers, and with which status."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import numpy as np
from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse

from yt8m_distill.config.deployment import ServeConfig
from yt8m_distill.deployment.manifest import Description
from yt8m_distill.ranking import ranked_classes
from yt8m_distill.serving.batching import Batcher, OverloadedError
from yt8m_distill.serving.counters import Counters
from yt8m_distill.serving.requests import PARSERS, BadBodyError, Videos, parse

log = logging.getLogger(__name__)

SECONDS_TO_SEND = 30.0  # that a client has for its request
BODIES_AT_ONCE = 8  # of the largest size, that are received or parsed at a time
PARSERS_AT_ONCE = 2
CLIENT_HAS_GONE = 499  # as servers count it; nobody reads it


class ClientGoneError(Exception):
    """Nobody waits for the answer."""


def create_app(described: Description, predict: Callable[[np.ndarray, np.ndarray], np.ndarray], config: ServeConfig):
    """The service as an ASGI application.

    Args:
        described: the model.
        predict: see `runners.load`.
        config: its limits.
    """
    app = FastAPI(title=f"{described.model}, {described.which}")
    counters, batcher = Counters(), Batcher(predict, config.max_batch, config.max_waiting)
    intake = Intake(described, config, batcher)

    @app.exception_handler(RequestValidationError)
    async def explain(_: Request, error: RequestValidationError) -> JSONResponse:
        counters.note(400, 0.0)
        problems = ", ".join(f"{each['loc'][-1]}: {each['msg']}" for each in error.errors())
        return JSONResponse({"detail": problems}, status_code=400)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "model": described.model, "which": described.which, "frames": described.frames_text()}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> str:
        return counters.text(batcher.batches, batcher.videos, batcher.waiting)

    @app.post("/predict")
    async def answer(request: Request, top_k: int | None = None) -> JSONResponse:
        start = time.perf_counter()
        status = 500
        try:
            k = _checked_top_k(top_k, described)
            videos = await intake.videos(request)
            predictions = await _while_connected(request, batcher.predictions(videos))
            response = JSONResponse(_labels(videos, predictions, k, described))
            status = 200
        except OverloadedError:
            status = 503
            raise HTTPException(503, "too many videos are waiting; try again later", {"Retry-After": "1"}) from None
        except ClientGoneError:
            status = CLIENT_HAS_GONE
            return JSONResponse({}, status_code=status)
        except HTTPException as error:
            status = error.status_code
            raise
        finally:
            counters.note(status, time.perf_counter() - start)
        return response

    return app


def _checked_top_k(given: int | None, described: Description) -> int:
    classes = described.data.num_classes
    if given is not None and not 1 <= given <= classes:
        raise HTTPException(400, f"top_k must be from 1 to {classes}, not {given}")
    return given or described.top_k


async def _while_connected(request: Request, predictions: Awaitable[np.ndarray]) -> np.ndarray:
    """The predictions, which nobody has to compute any more when the client has gone.

    Raises:
        ClientGoneError: it has.
    """
    answer, gone = asyncio.ensure_future(predictions), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientGoneError
        return answer.result()
    finally:
        answer.cancel()
        gone.cancel()


async def _disconnected(request: Request):
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _received(request: Request) -> AsyncIterator[bytes]:
    """The request's body, part after part.

    Raises:
        ClientGoneError: it broke off.
    """
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        more = message.get("more_body", False)
        yield message.get("body", b"")


class Intake:
    """Receives and parses requests, so many at a time that they fit into memory.

    Args:
        described: the model that is to see them.
        config: the service's limits.
        batcher: while it is full, nothing is parsed.
    """

    def __init__(self, described: Description, config: ServeConfig, batcher: Batcher):
        self._described = described
        self._config = config
        self._batcher = batcher
        self._left = int(BODIES_AT_ONCE * config.max_request_mb * 1e6)  # bytes
        self._parsers = asyncio.Semaphore(PARSERS_AT_ONCE)

    async def videos(self, request: Request) -> Videos:
        """The videos of a request.

        Raises:
            HTTPException: what is wrong with it.
            OverloadedError: too many videos wait, or too much is being received.
            ClientGoneError: it broke off.
        """
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type not in PARSERS:
            raise HTTPException(415, f"Content-Type must be one of {', '.join(PARSERS)}, not '{content_type}'")
        parts: list[bytes] = []
        try:
            async with asyncio.timeout(SECONDS_TO_SEND):
                await self._receive(request, parts)
            body = b"".join(parts)
            async with self._parsers:
                return await run_in_threadpool(parse, content_type, body, self._described, self._config.max_batch)
        except TimeoutError as error:
            raise HTTPException(408, f"the request was not there within {SECONDS_TO_SEND:.0f} seconds") from error
        except BadBodyError as error:
            raise HTTPException(400, str(error)) from error
        finally:
            self._left += sum(map(len, parts))

    async def _receive(self, request: Request, parts: list[bytes]):
        """No more of it is kept than is taken, whatever its header says.

        What is refused for want of room is still received: a client that cannot send does not read the answer.
        """
        most, received = int(self._config.max_request_mb * 1e6), 0
        kept = self._batcher.waiting < self._config.max_waiting
        async for part in _received(request):
            received += len(part)
            if received > most:
                raise HTTPException(
                    413, f"the request is larger than {self._config.max_request_mb:g} MB", {"Connection": "close"}
                )
            kept = kept and len(part) <= self._left
            if kept:
                self._left -= len(part)
                parts.append(part)
        if not kept:
            raise OverloadedError


def _labels(videos: Videos, predictions: np.ndarray, top_k: int, described: Description) -> dict[str, Any]:
    classes, scores = ranked_classes(videos.ids, predictions, top_k)
    rows = zip(videos.ids, videos.num_frames.tolist(), classes.tolist(), scores.tolist(), strict=True)
    return {
        "videos": [
            {"id": video_id, "frames": frames, "labels": _named(row_classes, row_scores, described.class_names)}
            for video_id, frames, row_classes, row_scores in rows
        ]
    }


def _named(classes: list[int], scores: list[float], names: tuple[str, ...] | None) -> list[dict[str, Any]]:
    pairs = zip(classes, scores, strict=True)
    return [{"index": i, **({} if names is None else {"name": names[i]}), "score": score} for i, score in pairs]
