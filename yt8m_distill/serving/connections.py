"""Connections that cost little: idle and slow ones are closed, and so is one whose bytes take long to read.

uvicorn closes a connection that is idle after an answer, but neither one that sends nothing, or its headers slowly, nor
one that does not read its answer. One whose request is refused before all of it has come is reset by the system, so
that the client may never see the answer.
"""

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from yt8m_distill.config.deployment import ServeConfig
from yt8m_distill.serving.access_log import log_request

MOST_HEAD_BYTES = 1 << 14  # of a request: its line and its headers
FREE_PIECES = 256  # of a body, before their size counts
LEAST_PIECE_BYTES = 64  # on average
ARRIVAL_SECONDS = 0.5  # in which a connection's request comes; until then it is not closed to make room for others
LINGER_SECONDS = 2.0  # that a refused client has to stop sending
_SMALL_PIECES = "the pieces of the body are too small"


class _Messages(h11.Connection):
    """A connection's messages; a body in tiny pieces, each of which costs as much as a large one, is refused."""

    def next_event(self):
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._pieces = self._piece_bytes = 0
        elif isinstance(event, h11.Data):
            self._pieces += 1
            self._piece_bytes += len(event.data)
            if self._pieces > FREE_PIECES + self._piece_bytes / LEAST_PIECE_BYTES:
                raise h11.RemoteProtocolError(_SMALL_PIECES)
        return event


class _LingeringTransport:
    """A transport that is closed only after what a refused client still sends: otherwise it would lose its answer.

    Args:
        transport: the connection's.
        is_sending: whether the client has not sent all of its request.
    """

    def __init__(self, transport: asyncio.Transport, is_sending: Callable[[], bool]):
        self._transport = transport
        self._is_sending = is_sending
        self.lingers = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self.lingers or self._transport.is_closing()

    def close(self):
        if self.is_closing():
            return
        if not (self._is_sending() and self._transport.can_write_eof()):
            self._transport.close()
            return
        self.lingers = True
        self._transport.write_eof()
        self._transport.resume_reading()
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self._transport.abort)


class GuardedProtocol(H11Protocol):
    """uvicorn's protocol for one connection, with bounds on its time.

    Args:
        config: the service's limits.
        **options: uvicorn's.
    """

    def __init__(self, limits: ServeConfig, **options):
        super().__init__(**options)
        self.conn = _Messages(h11.SERVER, MOST_HEAD_BYTES)
        self._limits = limits
        self._idle: asyncio.TimerHandle | None = None  # runs while no request is being answered
        self._unread: asyncio.TimerHandle | None = None  # runs from where the client does not take an answer

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered: nothing, or no complete head, has come."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def idle_seconds(self) -> float:
        """Since when no request is being answered; 0 where one is."""
        return self.loop.time() - self._idle.when() + self._limits.idle_timeout if self._idle is not None else 0.0

    def connection_made(self, transport: asyncio.Transport):
        super().connection_made(_LingeringTransport(transport, self._is_sending))
        self._watch()
        surplus = len(self.connections) - self._limits.max_connections
        if surplus > 0:
            longest_first = sorted(self.connections, key=lambda each: each.idle_seconds, reverse=True)
            for connection in longest_first[:surplus]:
                if connection.idle_seconds > ARRIVAL_SECONDS:
                    connection.transport.abort()

    def connection_lost(self, error: Exception | None):
        self._stop_idle()
        self._stop_unread()
        super().connection_lost(error)

    def data_received(self, data: bytes):
        for begin in range(0, len(data), MOST_HEAD_BYTES):  # so that h11 sees that a head is too long
            if not self.transport.is_closing():
                super().data_received(data[begin : begin + MOST_HEAD_BYTES])
        self._watch()

    def on_response_complete(self):
        super().on_response_complete()
        self._watch()

    def pause_writing(self):
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self._limits.body_timeout, self.transport.abort)

    def resume_writing(self):
        super().resume_writing()
        if self.is_idle:
            self._stop_unread()

    def send_400_response(self, msg: str):
        """To what is not HTTP; without an answer where one is on its way already."""
        if self.is_idle and self._limits.access_log:
            log_request(self.client, "-", "-", 400, len(msg), 0.0)
        elif not self.is_idle:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def _is_sending(self) -> bool:
        return self.conn.their_state in (h11.SEND_BODY, h11.ERROR)

    def _watch(self):
        """Starts the clock of an idle connection, which only a request stops: not some bytes of one."""
        if not self.is_idle:
            self._stop_idle()
        elif self._idle is None and not self.transport.is_closing():
            if not self.flow.write_paused:
                self._stop_unread()
            self._idle = self.loop.call_later(self._limits.idle_timeout, self.transport.abort)

    def _stop_idle(self):
        if self._idle is not None:
            self._idle.cancel()
        self._idle = None

    def _stop_unread(self):
        if self._unread is not None:
            self._unread.cancel()
        self._unread = None


def create_server(application: FastAPI, config: ServeConfig) -> uvicorn.Server:
    """The HTTP server of a service, with the bounds of its configuration."""
    return uvicorn.Server(
        uvicorn.Config(
            application,
            host=config.host,
            port=config.port,
            http=functools.partial(GuardedProtocol, config),
            ws="none",
            timeout_keep_alive=config.idle_timeout,
            log_level="error",
            access_log=False,  # the service has its own
        )
    )
