"""What the process that parses a request hands to the service: plain bytes in a file in memory, never objects."""

import contextlib
import json
import math
import mmap
import os
import tempfile
from typing import BinaryIO

import numpy as np

from yt8m_distill.serving.requests import BadBodyError, CostlyBodyError, Videos

_LENGTH_BYTES = 4


def memory_file() -> BinaryIO:
    """An empty file without a name, whose memory is free as soon as nobody has it open or mapped."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("yt8m_request", os.MFD_CLOEXEC), "w+b")
    return tempfile.TemporaryFile()


def write_videos(file: BinaryIO, videos: Videos):
    """Writes the videos of a request."""
    positions = videos.positions
    places = None if positions is None else positions.shape
    _write_head(file, {"ids": list(videos.ids), "shape": videos.frames.shape, "positions": places})
    for numbers in (videos.num_frames, videos.all_frames, positions):
        if numbers is not None:
            file.write(np.ascontiguousarray(numbers, np.int32))
    file.write(np.ascontiguousarray(videos.frames, np.uint8))
    file.flush()


def write_refusal(file: BinaryIO, error: BadBodyError):
    """Writes why there are no videos, in place of whatever has been written."""
    with contextlib.suppress(OSError):
        file.flush()
    file.seek(0)
    file.truncate()
    _write_head(file, {"status": error.status, "detail": str(error)})
    file.flush()


def read_videos(file: BinaryIO) -> Videos:
    """The videos in a file; their arrays keep its memory.

    Raises:
        BadBodyError: the file says why there are no videos.
    """
    content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    begin = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    head = json.loads(content[_LENGTH_BYTES:begin])
    if "detail" in head:
        raise CostlyBodyError if head["status"] == CostlyBodyError.status else BadBodyError(head["detail"])
    ids, shape, places = head["ids"], tuple(head["shape"]), head["positions"]
    sizes = [len(ids)] if places is None else [len(ids), len(ids), math.prod(places)]
    end = begin + 4 * sum(sizes)
    num_frames, *others = np.split(np.frombuffer(content[begin:end], np.int32), np.cumsum(sizes)[:-1])
    frames = np.frombuffer(content, np.uint8, math.prod(shape), end).reshape(shape)
    if places is None:
        return Videos(ids, frames, num_frames)
    all_frames, positions = others
    return Videos(ids, frames, num_frames, all_frames, positions.reshape(places))


def _write_head(file: BinaryIO, head: dict):
    text = json.dumps(head).encode()
    file.write(len(text).to_bytes(_LENGTH_BYTES, "little") + text)
