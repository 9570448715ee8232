"""Receives requests, so many at a time that they fit into memory, and notices clients that have gone."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool

from yt8m_distill.config.deployment import ServeConfig
from yt8m_distill.deployment.manifest import Manifest
from yt8m_distill.serving.batching import Batcher, OverloadedError
from yt8m_distill.serving.requests import PARSERS, BadBodyError, Videos, parse

SECONDS_TO_SEND = 30.0  # that a client has for its request
BODIES_AT_ONCE = 8  # of the largest size, received or parsed at a time
PARSERS_AT_ONCE = 2

Result = TypeVar("Result")


class ClientGoneError(Exception):
    """The client has disconnected and does not wait for the answer."""


class Receiver:
    """Receives and parses requests, with a bound on the memory of all of them together.

    Args:
        manifest: of the model that is to see them.
        config: the service's limits.
        batcher: while it is full, nothing is parsed.
    """

    def __init__(self, manifest: Manifest, config: ServeConfig, batcher: Batcher):
        self._manifest = manifest
        self._config = config
        self._batcher = batcher
        self._free_bytes = int(BODIES_AT_ONCE * config.max_request_mb * 1e6)
        self._parsers = asyncio.Semaphore(PARSERS_AT_ONCE)

    async def videos(self, request: Request) -> Videos:
        """The videos of a request.

        Raises:
            HTTPException: a bad request, with the reason.
            OverloadedError: too many videos are waiting, or too much is being received.
            ClientGoneError: the client disconnected while sending.
        """
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type not in PARSERS:
            raise HTTPException(415, f"Content-Type must be one of {', '.join(PARSERS)}, not '{content_type}'")
        chunks: list[bytes] = []
        try:
            async with asyncio.timeout(SECONDS_TO_SEND):
                await self._receive(request, chunks)
            body = b"".join(chunks)
            async with self._parsers:
                return await run_in_threadpool(parse, content_type, body, self._manifest, self._config.max_batch)
        except TimeoutError as error:
            raise HTTPException(408, f"the request was not received within {SECONDS_TO_SEND:.0f} seconds") from error
        except BadBodyError as error:
            raise HTTPException(400, str(error)) from error
        finally:
            self._free_bytes += sum(map(len, chunks))

    async def _receive(self, request: Request, chunks: list[bytes]):
        """Appends the body to `chunks`; never more than the limit, whatever its header says.

        What is refused for lack of memory is still received: a client that cannot send does not read the answer.
        """
        limit, received = int(self._config.max_request_mb * 1e6), 0
        kept = self._batcher.waiting < self._config.max_waiting
        async for chunk in _body(request):
            received += len(chunk)
            if received > limit:
                raise HTTPException(
                    413, f"the request is larger than {self._config.max_request_mb:g} MB", {"Connection": "close"}
                )
            kept = kept and len(chunk) <= self._free_bytes
            if kept:
                self._free_bytes -= len(chunk)
                chunks.append(chunk)
        if not kept:
            raise OverloadedError


async def while_connected(request: Request, result: Awaitable[Result]) -> Result:
    """The result, whose computation is cancelled when the client disconnects.

    Raises:
        ClientGoneError: it has disconnected.
    """
    answer, gone = asyncio.ensure_future(result), asyncio.ensure_future(_disconnected(request))
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


async def _body(request: Request) -> AsyncIterator[bytes]:
    """The chunks of a request's body.

    Raises:
        ClientGoneError: the client disconnected before the end.
    """
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        more = message.get("more_body", False)
        yield message.get("body", b"")
