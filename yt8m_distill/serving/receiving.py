"""Receives requests, so many at a time that they fit into memory, and notices clients that have gone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Collection
from typing import Any, BinaryIO, Protocol, TypeVar

from fastapi import HTTPException, Request

from yt8m_distill.config.deployment import ServeConfig
from yt8m_distill.serving.batching import Batcher, OverloadedError
from yt8m_distill.serving.exchange import memory_file
from yt8m_distill.serving.film_body import MULTIPART
from yt8m_distill.serving.requests import PARSERS, BadBodyError

BODIES_AT_ONCE = 8  # of the largest size, received or parsed at a time

Result = TypeVar("Result")


class BodyParser(Protocol):
    """Makes something of a body of a content type; see `ParserPool.parse`."""

    async def parse(self, content_type: str, body: BinaryIO, k: int | None = None) -> Any: ...


class ClientGoneError(Exception):
    """The client has disconnected and does not wait for the answer."""


class Receiver:
    """Receives requests, with a bound on the memory of all of them together, and has them parsed.

    Args:
        config: the service's limits.
        parsers: parse the bodies.
        batcher: while it is full, nothing is parsed.
        content_types: of bodies.
        bodies_at_once: of the largest size, received or parsed at a time; None: `BODIES_AT_ONCE`.
    """

    def __init__(
        self,
        config: ServeConfig,
        parsers: BodyParser,
        batcher: Batcher,
        content_types: Collection[str] = PARSERS,
        bodies_at_once: int | None = None,
    ):
        self._config = config
        self._parsers = parsers
        self._batcher = batcher
        self._content_types = content_types
        self._free_bytes = int((bodies_at_once or BODIES_AT_ONCE) * config.max_request_mb * 1e6)

    async def parsed(self, request: Request, k: int | None = None) -> Any:
        """What the parsers make of a request, with k frames of each video where k is given: its videos.

        Raises:
            HTTPException: a bad request, with the reason.
            OverloadedError: too many videos are waiting, or too much is being received or parsed.
            ClientGoneError: the client disconnected while sending.
        """
        async with self.received(request) as (content_type, body):
            return await self._parsers.parse(content_type, body, k)

    @contextlib.asynccontextmanager
    async def received(self, request: Request) -> AsyncIterator[tuple[str, BinaryIO]]:
        """The content type of a request, and its body in a file, whose memory is free afterwards.

        A `BadBodyError` in this context becomes the answer. Raises as `parsed`.
        """
        header = request.headers.get("content-type", "")
        content_type = header.partition(";")[0].strip().lower()
        if content_type not in self._content_types:
            allowed = ", ".join(self._content_types)
            raise HTTPException(415, f"Content-Type must be one of {allowed}, not '{content_type[:100]}'")
        content_type = header if content_type == MULTIPART else content_type
        with memory_file() as body:
            try:
                await self._receive_in_time(request, body)
                yield content_type, body
            except BadBodyError as error:
                raise HTTPException(error.status, str(error)) from error
            finally:
                self._free_bytes += body.tell()

    async def _receive_in_time(self, request: Request, body: BinaryIO):
        seconds = self._config.body_timeout
        try:
            async with asyncio.timeout(seconds):
                await self._receive(request, body)
        except TimeoutError as error:
            problem = f"the request was not received within {seconds:g} seconds"
            raise HTTPException(408, problem, {"Connection": "close"}) from error

    async def _receive(self, request: Request, body: BinaryIO):
        """Writes the body to a file; never more than the limit, whatever its header says.

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
                body.write(chunk)
        if not kept:
            raise OverloadedError
        body.flush()


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
