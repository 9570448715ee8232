"""The process that parses requests, within limits: `python -m yt8m_distill.serving.parser_process SOCKET`.

It imports neither TensorFlow nor the HTTP server. What it is to parse for comes as JSON on its standard input; then
every message on the socket is a content type, and after a line break the number of frames where one is asked for, with
two open files: the body, and the one to write the videos to.
"""

import gc
import json
import os
import signal
import socket
import sys
from typing import BinaryIO

from yt8m_distill.config.json import from_values
from yt8m_distill.deployment.manifest import Manifest
from yt8m_distill.plugins.loading import load_plugins
from yt8m_distill.serving.exchange import write_refusal, write_videos
from yt8m_distill.serving.limits import ParsingLimits, memory_in_use, return_memory
from yt8m_distill.serving.requests import BadBodyError, CostlyBodyError, parse

READY, DONE, LAST = b"r", b"d", b"l"  # LAST: done, and the process ends, because its memory has grown
MOST_MESSAGE_BYTES = 100
_SMALL_BODY_BYTES = 1 << 20  # after which no memory is worth returning
_MOST_GROWTH_BYTES = 1 << 24
_NICENESS = 5  # the service itself comes first where all processors are busy


def main():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the service, which closes the socket
    os.nice(_NICENESS)
    options = json.load(sys.stdin)
    load_plugins(options["manifest"]["plugins"])  # the service has checked that the user asked for them
    manifest = from_values(Manifest, options["manifest"], "the manifest")
    limits = ParsingLimits(options["body_bytes"])
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        gc.freeze()
        limits.apply()
        requests.send(READY)
        _serve(requests, manifest, options["most_videos"], limits)


def _serve(requests: socket.socket, manifest: Manifest, most_videos: int, limits: ParsingLimits):
    """Parses requests until the service is gone, or until the memory has grown."""
    idle_bytes = memory_in_use()[1]
    answer = DONE
    while answer == DONE:
        received, files, _, _ = socket.recv_fds(requests, MOST_MESSAGE_BYTES, 2)
        if not received:
            return
        with os.fdopen(files[0], "rb") as body, os.fdopen(files[1], "r+b") as result:
            num_bytes = os.fstat(body.fileno()).st_size
            limits.start_clock(num_bytes)
            _parse(received.decode(), body, result, manifest, most_videos)
        if num_bytes > _SMALL_BODY_BYTES:
            return_memory()
        answer = DONE if memory_in_use()[1] - idle_bytes < _MOST_GROWTH_BYTES else LAST
        requests.send(answer)


def message(content_type: str, k: int | None) -> str:
    """A message: the type of a body, and the number of frames; None: it is not asked for."""
    return content_type if k is None else f"{content_type}\n{k}"


def parts_of(text: str) -> tuple[str, int | None]:
    """The parts of a message."""
    content_type, _, k = text.partition("\n")
    return content_type, int(k) if k else None


def _parse(text: str, body: BinaryIO, result: BinaryIO, manifest: Manifest, most_videos: int):
    gc.disable()  # parsing makes many objects and no cycles
    content_type, k = parts_of(text)
    try:
        body.seek(0)
        write_videos(result, parse(content_type, body.read(), manifest, most_videos, k))
    except BadBodyError as error:
        write_refusal(result, error)
    except (MemoryError, OSError):  # OSError: more frames than a file may have
        write_refusal(result, CostlyBodyError())
    finally:
        gc.enable()


if __name__ == "__main__":
    main()
