"""The access log: one line for each request."""

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

MOST_PATH_CHARACTERS = 200


class AccessLog:
    """Logs each request once it has been answered; ASGI middleware.

    Args:
        app: the ASGI application that answers them.
    """

    def __init__(self, app: Callable):
        self._app = app

    async def __call__(self, scope: dict, receive: Callable, send: Callable):
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status, num_bytes = time.perf_counter(), 500, 0

        async def counted(message: dict):
            nonlocal status, num_bytes
            status = message.get("status", status)
            num_bytes += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, counted)
        finally:
            seconds = time.perf_counter() - start
            log_request(scope.get("client"), scope["method"], _target(scope), status, num_bytes, seconds)


def log_request(client: tuple | None, method: str, target: str, status: int, num_bytes: int, seconds: float):
    """One line: client, method, path, status, bytes of the answer, milliseconds.

    Args:
        client: address and port; None: unknown.
        method: of the request; "-" where it had none.
        target: path and query, as they were sent.
        status: of the answer.
        num_bytes: of the answer's body.
        seconds: until the answer was complete.
    """
    address = client[0] if client else "-"
    log.info("%s %s %s %d %d %.1f", address, method[:20], target, status, num_bytes, 1000 * seconds)


def _target(scope: dict) -> str:
    """The path and query, as one word of printable characters."""
    raw = scope.get("raw_path") or scope["path"].encode()
    target = raw + (b"?" + scope["query_string"] if scope.get("query_string") else b"")
    text = target[:MOST_PATH_CHARACTERS].decode("ascii", "backslashreplace")
    return "".join(each if each.isprintable() and each != " " else repr(each)[1:-1] for each in text)
