"""Processes that parse requests: started with the service, replaced where a request was too much for them."""

import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

from yt8m_distill.config.deployment import ServeConfig
from yt8m_distill.config.json import to_values
from yt8m_distill.deployment.manifest import Manifest
from yt8m_distill.files.processes import module_environment
from yt8m_distill.serving import parser_process
from yt8m_distill.serving.batching import OverloadedError
from yt8m_distill.serving.exchange import memory_file, read_videos
from yt8m_distill.serving.limits import ParsingLimits
from yt8m_distill.serving.requests import CostlyBodyError, Videos

log = logging.getLogger(__name__)

LARGE_BODY_BYTES = 4_000_000  # all processes but one parse such bodies: small ones never wait for large ones only
SECONDS_TO_WAIT = 10.0  # for a free process
_NO_THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # they would only take memory
ELAPSED_PER_SECOND = 10  # of processor time, where the machine is busy


class ProcessPool:
    """Processes of limited memory and time, each of which reads one request at a time.

    Args:
        processes: not yet started.
    """

    def __init__(self, processes: Sequence["ParsingProcess"]):
        self._parsers = processes
        self._free: asyncio.Queue[ParsingProcess] = asyncio.Queue()
        self._restarts: set[asyncio.Task] = set()
        for parser in self._parsers:
            self._free.put_nowait(parser)

    async def start(self):
        """Starts all processes, which otherwise start with the first requests."""
        await asyncio.gather(*(parser.start() for parser in self._parsers))

    def stop(self):
        """Ends all processes."""
        for task in self._restarts:
            task.cancel()
        for parser in self._parsers:
            parser.stop()

    async def _parsed(self, message: str, body: BinaryIO, seconds: float, turn: asyncio.Semaphore | None = None) -> Any:
        """What a free process reads of a request, within some processor time and where it is its turn.

        Raises:
            BadBodyError: as the process says, or the request takes too much memory or time.
            OverloadedError: no process became free in time.
        """
        async with contextlib.AsyncExitStack() as held:
            try:
                async with asyncio.timeout(SECONDS_TO_WAIT):
                    if turn is not None:
                        await held.enter_async_context(turn)
                    parser = await self._free.get()
            except TimeoutError:
                raise OverloadedError from None
            try:
                return await parser.parse(message, body, seconds)
            finally:
                self._put_back(parser)

    def _put_back(self, parser: "ParsingProcess"):
        if parser.is_running:
            self._free.put_nowait(parser)
            return
        task = asyncio.create_task(self._restart(parser))
        self._restarts.add(task)
        task.add_done_callback(self._restarts.discard)

    async def _restart(self, parser: "ParsingProcess"):
        try:
            await parser.start()
        except OSError as error:
            log.warning("a process that parses requests could not be started: %s", error)
        self._free.put_nowait(parser)  # the next request tries again


class ParserPool(ProcessPool):
    """Parses requests in processes of limited memory and time.

    Args:
        manifest: of the model that is to see the videos.
        config: the service's limits.

    Attributes:
        limits: of one request.
    """

    def __init__(self, manifest: Manifest, config: ServeConfig):
        self.limits = ParsingLimits(int(config.max_request_mb * 1e6))
        options = {
            "manifest": to_values(dataclasses.replace(manifest, class_names=None, files=())),
            "most_videos": config.max_batch,
            "body_bytes": self.limits.body_bytes,
        }
        super().__init__([ParsingProcess(json.dumps(options)) for _ in range(config.parsers)])
        self._large = asyncio.Semaphore(max(1, config.parsers - 1))

    async def parse(self, content_type: str, body: BinaryIO, k: int | None = None) -> Videos:
        """The videos of a request.

        Args:
            content_type: one of `requests.PARSERS`.
            body: a file with a descriptor, completely written.
            k: as of `requests.parse`.

        Raises:
            BadBodyError: as `requests.parse`, or the request takes too much memory or time.
            OverloadedError: no process became free in time.
        """
        num_bytes = os.fstat(body.fileno()).st_size
        large = self._large if num_bytes > LARGE_BODY_BYTES else None
        message = parser_process.message(content_type, k)
        return await self._parsed(message, body, self.limits.seconds(num_bytes), large)


class ParsingProcess:
    """One process, which parses one request at a time.

    Args:
        options: what it reads from its standard input, see `parser_process`.
        module: that it runs.
        read: reads its results.
    """

    def __init__(
        self, options: str, module: str = parser_process.__name__, read: Callable[[BinaryIO], Any] = read_videos
    ):
        self._options = options
        self._module = module
        self._read = read
        self._process: subprocess.Popen | None = None
        self._socket: socket.socket | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def start(self):
        """Starts the process, and waits until it is ready.

        Raises:
            OSError: it did not start.
        """
        self.stop()
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        with theirs:
            command = [sys.executable, "-m", self._module, str(theirs.fileno())]
            files = (theirs.fileno(),)
            environment = module_environment(**_NO_THREADS)
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=files, env=environment)
        with contextlib.suppress(BrokenPipeError), self._process.stdin as options:
            options.write(self._options.encode())
        if await asyncio.get_running_loop().sock_recv(self._socket, 1) != parser_process.READY:
            self.stop()
            raise OSError("it ended before it was ready")

    def stop(self):
        """Ends the process, whatever it does; its memory is returned meanwhile."""
        if self._process is not None:
            self._process.kill()
            self._socket.close()
            asyncio.get_running_loop().run_in_executor(None, self._process.wait)
        self._process = None

    async def parse(self, message: str, body: BinaryIO, seconds: float) -> Any:
        """See `ParserPool.parse`; whether the process still runs afterwards is in `is_running`."""
        if not self.is_running:
            try:
                await self.start()
            except OSError:
                raise OverloadedError from None
        with memory_file() as result:
            try:
                answer = await self._answer(message, (body.fileno(), result.fileno()), seconds)
            except BaseException:  # also a cancelled request's, whose answer nobody must take for another's
                self.stop()
                raise
            if answer != parser_process.DONE:
                self.stop()
            if not answer:
                raise CostlyBodyError
            return self._read(result)

    async def _answer(self, message: str, files: tuple[int, int], seconds: float) -> bytes:
        """One byte; nothing where the process has been killed."""
        try:
            async with asyncio.timeout(seconds * ELAPSED_PER_SECOND):
                socket.send_fds(self._socket, [message.encode()], files)
                return await asyncio.get_running_loop().sock_recv(self._socket, 1)
        except (TimeoutError, ConnectionError):
            return b""
