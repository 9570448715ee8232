"""What one request may take: memory, processor time and bytes of a process that parses it."""

import contextlib
import ctypes
import math
import os
import resource
from dataclasses import dataclass

_FIXED_MEMORY_BYTES = 1 << 28  # beside what grows with the body
_MEMORY_PER_BODY_BYTE = 8  # a valid JSON body takes some 6: its text, and 8 bytes for each number
_LEAST_FRAME_BYTES = 1 << 28
_FIXED_SECONDS = 5.0
_SECONDS_PER_BYTE = 0.25e-6  # a valid JSON body takes some 0.04e-6


@dataclass(frozen=True)
class ProcessLimits:
    """The bounds of a process that reads what is not trusted.

    Attributes:
        memory_bytes: beside what the process has when it is idle.
        file_bytes: of what it writes.
    """

    memory_bytes: int
    file_bytes: int

    def apply(self):
        """Binds this process to the bounds, as far as the system supports them."""
        _limit(resource.RLIMIT_AS, memory_in_use()[0] + self.memory_bytes)
        _limit(resource.RLIMIT_FSIZE, self.file_bytes)
        _limit(resource.RLIMIT_CORE, 0)
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")  # where memory ends, this process is to be killed, not the service

    def start_clock(self, seconds: float):
        """From now on this process has so much processor time; after that the system kills it."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        _limit(resource.RLIMIT_CPU, math.ceil(usage.ru_utime + usage.ru_stime + seconds))


@dataclass(frozen=True)
class ParsingLimits:
    """The bounds of one request in the process that parses it.

    Attributes:
        body_bytes: the largest body.

    Example:
        >>> ParsingLimits(body_bytes=64_000_000).seconds(64_000_000)
        21.0
    """

    body_bytes: int

    @property
    def memory_bytes(self) -> int:
        """Beside what the process has when it is idle."""
        return _FIXED_MEMORY_BYTES + _MEMORY_PER_BODY_BYTE * self.body_bytes

    @property
    def frame_bytes(self) -> int:
        """Of a request's frames, padded to its longest video."""
        return max(_LEAST_FRAME_BYTES, self.body_bytes)

    def seconds(self, body_bytes: int) -> float:
        """Processor time for a body of so many bytes."""
        return _FIXED_SECONDS + _SECONDS_PER_BYTE * body_bytes

    @property
    def of_process(self) -> ProcessLimits:
        """The same for the process."""
        return ProcessLimits(self.memory_bytes, self.frame_bytes)

    def apply(self):
        """Binds this process to the bounds, as far as the system supports them."""
        self.of_process.apply()

    def start_clock(self, body_bytes: int):
        """From now on this process has `seconds` of processor time; after that the system kills it."""
        self.of_process.start_clock(self.seconds(body_bytes))


def memory_in_use() -> tuple[int, int]:
    """Bytes of this process's address space, and those that it has in memory; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm") as file:
            pages = list(map(int, file.read().split()))
    except OSError:
        return 0, 0
    return pages[0] * os.sysconf("SC_PAGE_SIZE"), pages[1] * os.sysconf("SC_PAGE_SIZE")


def return_memory():
    """Gives memory that is free in this process back to the system, where the C library can."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def allow_open_files(count: int):
    """Raises the number of files and connections that this process may have open, as far as the system lets it."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft != resource.RLIM_INFINITY and soft < count:
        _limit(resource.RLIMIT_NOFILE, count)


def _limit(kind: int, amount: int):
    """Sets the soft limit, at most to the hard one."""
    hard = resource.getrlimit(kind)[1]
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (amount if hard == resource.RLIM_INFINITY else min(amount, hard), hard))
