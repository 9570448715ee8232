"""What the process that decodes films hands to the service: plain bytes in a file in memory, never objects.

Images, then sound, then a text in JSON that says how many of them there are, then the length of that text.
"""

import contextlib
import json
import math
import mmap
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import BinaryIO

import numpy as np

from yt8m_distill.serving.requests import BadBodyError

_LENGTH_BYTES = 4


class BadFilmError(BadBodyError):
    """A film that cannot be used; the message says why.

    Args:
        detail: the message.
        status: of the answer.
    """

    def __init__(self, detail: str, status: int = 400):
        super().__init__(detail)
        self.status = status


@dataclass(frozen=True)
class FilmFacts:
    """What is known of a film when it has been decoded.

    Attributes:
        video_id: name of its file, as the client says.
        seconds: its duration.
        all_frames: frames that a whole extraction looks at.
        times: seconds of the frames that were looked at.
        has_sound: whether it has sound.
        problems: what could not be decoded, in words.
    """

    video_id: str
    seconds: float
    all_frames: int
    times: tuple[float, ...]
    has_sound: bool
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class DecodedFilm:
    """A film, decoded.

    Attributes:
        facts: of the film.
        images: prepared for the network, uint8 (frames, height, width, 3).
        sound: float32 (samples,), a second for each frame; None: it has none.
    """

    facts: FilmFacts
    images: np.ndarray
    sound: np.ndarray | None


class FilmWriter:
    """Writes a film into a file, image by image."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._shape = None

    def write_images(self, images: Iterable[np.ndarray]) -> int:
        """Writes images of one shape; returns how many."""
        count = 0
        for image in images:
            if self._shape not in (None, image.shape):
                raise BadFilmError("the size of its frames changes")
            self._shape = image.shape
            self._file.write(np.ascontiguousarray(image))
            count += 1
        return count

    def finish(self, facts: FilmFacts, frames: int, sound: np.ndarray | None):
        """Writes sound and facts, after all images."""
        if sound is not None:
            self._file.write(np.ascontiguousarray(sound, np.float32))
        shape = [frames, *(self._shape or (0, 0, 3))]
        _write_end(self._file, {"facts": asdict(facts), "shape": shape, "samples": 0 if sound is None else sound.size})


def write_film_refusal(file: BinaryIO, error: BadBodyError):
    """Writes why there is no film, in place of whatever has been written."""
    with contextlib.suppress(OSError):
        file.flush()
    file.seek(0)
    file.truncate()
    _write_end(file, {"status": error.status, "detail": str(error)})


def read_film(file: BinaryIO) -> DecodedFilm:
    """The film in a file; its arrays keep the file's memory.

    Raises:
        BadFilmError: the file says why there is no film.
    """
    content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    length = int.from_bytes(content[-_LENGTH_BYTES:], "little")
    end = json.loads(content[-_LENGTH_BYTES - length : -_LENGTH_BYTES])
    if "detail" in end:
        raise BadFilmError(end["detail"], end["status"])
    facts = {name: tuple(value) if isinstance(value, list) else value for name, value in end["facts"].items()}
    num_bytes = math.prod(end["shape"])
    images = np.frombuffer(content, np.uint8, num_bytes).reshape(end["shape"])
    sound = np.frombuffer(content[num_bytes : num_bytes + 4 * end["samples"]], np.float32) if end["samples"] else None
    return DecodedFilm(FilmFacts(**facts), images, sound)


def _write_end(file: BinaryIO, values: dict):
    text = json.dumps(values).encode()
    file.write(text + len(text).to_bytes(_LENGTH_BYTES, "little"))
    file.flush()
