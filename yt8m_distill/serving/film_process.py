"""The process that decodes films, within limits: `python -m yt8m_distill.serving.film_process SOCKET`.

It imports neither TensorFlow nor the HTTP server. As JSON on its standard input it reads `Options`; then every message
on the socket is as for `parser_process`, with two open files: the body, and the one to write the film to.
"""

import dataclasses
import json
import mmap
import os
import shutil
import signal
import socket
import sys
import traceback
from dataclasses import dataclass
from typing import BinaryIO

from yt8m_distill.config.films import FilmFrames
from yt8m_distill.config.json import from_values
from yt8m_distill.errors import UserError
from yt8m_distill.serving.exchange import memory_file
from yt8m_distill.serving.film_body import film_part
from yt8m_distill.serving.film_exchange import BadFilmError, FilmFacts, FilmWriter, write_film_refusal
from yt8m_distill.serving.limits import ProcessLimits, memory_in_use, return_memory
from yt8m_distill.serving.parser_process import DONE, LAST, READY, parts_of
from yt8m_distill.serving.requests import BadBodyError
from yt8m_distill.video.backbones.images import prepared
from yt8m_distill.video.decoding import SAMPLE_RATE, Decoding
from yt8m_distill.video.films import open_film

MOST_MESSAGE_BYTES = 1000
TOO_COSTLY = "the film takes more memory or time to decode than one may take"
_MOST_GROWTH_BYTES = 1 << 28
_NICENESS = 5  # the service itself comes first where all processors are busy


@dataclass(frozen=True)
class Options:
    """What is decoded of films, and within which limits.

    Attributes:
        frames_per_second, max_frames, student_frames, positions: see `video.decoding.Decoding`.
        image_size: height and width of the images that the network takes; None: any.
        crop: share of the frame that it sees.
        has_audio: whether the sound is looked at.
        most_seconds: duration of a film.
        memory_bytes: beside what the process has when it is idle.
        file_bytes: of a film, and of what is decoded of it.
        processor_seconds: for one film.
    """

    frames_per_second: float
    max_frames: int
    student_frames: int | None
    positions: str
    image_size: tuple[int, ...] | None
    crop: float
    has_audio: bool
    most_seconds: float
    memory_bytes: int
    file_bytes: int
    processor_seconds: float

    def with_frames(self, k: int) -> "Options":
        """The same, of k frames, where not all are decoded."""
        return self if self.student_frames is None else dataclasses.replace(self, student_frames=k)

    @property
    def decoding(self) -> Decoding:
        return Decoding(self.frames_per_second, self.max_frames, FilmFrames(self.student_frames, self.positions))


def main():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the service, which closes the socket
    os.nice(_NICENESS)
    options = from_values(Options, json.load(sys.stdin), "the options")
    limits = ProcessLimits(options.memory_bytes, options.file_bytes)
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        limits.apply()
        requests.send(READY)
        _serve(requests, options, limits)


def _serve(requests: socket.socket, options: Options, limits: ProcessLimits):
    """Decodes films until the service is gone, or until the memory has grown."""
    idle_bytes = memory_in_use()[1]
    answer = DONE
    while answer == DONE:
        received, files, _, _ = socket.recv_fds(requests, MOST_MESSAGE_BYTES, 2)
        if not received:
            return
        with os.fdopen(files[0], "rb") as body, os.fdopen(files[1], "r+b") as result:
            limits.start_clock(options.processor_seconds)
            content_type, k = parts_of(received.decode(errors="replace"))
            _decode(content_type, body, result, options if k is None else options.with_frames(k))
        return_memory()
        answer = DONE if memory_in_use()[1] - idle_bytes < _MOST_GROWTH_BYTES else LAST
        requests.send(answer)


def _decode(content_type: str, body: BinaryIO, result: BinaryIO, options: Options):
    try:
        if not os.fstat(body.fileno()).st_size:
            raise BadFilmError("the body is empty")
        with memory_file() as file:
            with mmap.mmap(body.fileno(), 0, access=mmap.ACCESS_READ) as content:
                name, start, end = film_part(content_type, content)
                body.seek(start)
                _copy(body, file, end - start)
            _write_film(name, f"/dev/fd/{file.fileno()}", result, options)
    except BadBodyError as error:
        write_film_refusal(result, error)
    except UserError as error:
        write_film_refusal(result, BadFilmError(_in_a_client_s_words(error)))
    except (MemoryError, OSError):  # OSError: larger than a file may be
        write_film_refusal(result, BadFilmError(TOO_COSTLY, 413))
    except Exception:  # whatever a library makes of bytes that nobody has thought of: the film is bad, not the process
        traceback.print_exc()
        write_film_refusal(result, BadFilmError("the film cannot be read"))


def _write_film(name: str, path: str, result: BinaryIO, options: Options):
    with open_film(path, threads=1) as film:
        if film.seconds > options.most_seconds:
            raise BadFilmError(
                f"the film is {film.seconds:,.0f} seconds long; at most {options.most_seconds:g} are taken", 413
            )
        all_frames, times = options.decoding.times(film)
        writer = FilmWriter(result)
        frames = writer.write_images(
            prepared(image, options.image_size, options.crop) for image in film.frames_at(times)
        )
        if not frames:
            raise BadFilmError("not one frame of the film can be decoded")
        sound = None
        if options.has_audio and film.has_sound:
            samples = film.sound_at(times[:frames], rate=SAMPLE_RATE).ravel()
            sound = samples if film.has_sound else None
        facts = FilmFacts(name, film.seconds, all_frames, tuple(times[:frames]), film.has_sound, tuple(film.problems))
        writer.finish(facts, frames, sound)


def _copy(source: BinaryIO, target: BinaryIO, num_bytes: int):
    shutil.copyfileobj(_Part(source, num_bytes), target, 1 << 20)
    target.flush()


class _Part:
    """The next bytes of a file, so many of them."""

    def __init__(self, file: BinaryIO, num_bytes: int):
        self._file, self._left = file, num_bytes

    def read(self, num_bytes: int) -> bytes:
        content = self._file.read(min(num_bytes, self._left))
        self._left -= len(content)
        return content


def _in_a_client_s_words(error: UserError) -> str:
    """The message without the path, which the client does not know."""
    words = str(error).replace("\n", " ").split("' ", 1)
    return f"the film {words[-1]}".removesuffix(".") if len(words) > 1 else str(error).removesuffix(".")


if __name__ == "__main__":
    main()
