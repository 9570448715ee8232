"""Features of many films: they are decoded side by side, and one image network computes the frames of all of them."""

import contextlib
import itertools
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from yt8m_distill.errors import UserError
from yt8m_distill.files.processes import processors
from yt8m_distill.quantization import quantize
from yt8m_distill.video.decoding import SAMPLE_RATE, Decoding
from yt8m_distill.video.film_list import Film
from yt8m_distill.video.films import open_film
from yt8m_distill.video.projection import Projection

_QUEUED_BATCHES = 4
_SECONDS_UNTIL_PART = 0.2  # without a new frame, after which the network computes those that there are
_POLL_SECONDS = 0.1


@dataclass
class FilmFeatures:
    """What has been computed of a film.

    Attributes:
        film: the one in the list.
        seconds: its duration.
        all_frames: frames that a whole extraction looks at.
        images: features of the frames, float32 (frames, size).
        sound: features of the sound at the same times, float32 (frames, size); None: it has none, or none is asked for.
        problems: what could not be decoded, in words.
        is_lost: whether there is nothing of it.
    """

    film: Film
    seconds: float = 0.0
    all_frames: int = 0
    images: np.ndarray | None = None
    sound: np.ndarray | None = None
    problems: tuple[str, ...] = ()
    is_lost: bool = False

    @property
    def frames(self) -> int:
        return 0 if self.images is None else len(self.images)


class Extractor:
    """Computes features of films.

    Args:
        backbone: the image network; see `video.backbones`.
        audio: computes features of sound, see `video.audio_features`; None: sound is not looked at.
        decoding: which frames.
        workers: films decoded at once.
    """

    def __init__(self, backbone: Any, audio: Any | None, decoding: Decoding, workers: int = 1):
        self.backbone = backbone
        self.audio = audio
        self.decoding = decoding
        self.workers = workers

    def features(self, films: Iterable[Film]) -> Iterator[FilmFeatures]:
        """Features of each film, in their order; those that cannot be decoded are `is_lost`.

        The features of a frame do not depend on the other frames and films.
        """
        with _Decoders(self._decode, films, self.workers, self.backbone.batch_size) as decoders:
            yield from _in_order(self._computed(decoders), decoders)

    def _computed(self, decoders: "_Decoders") -> Iterator[tuple[int, FilmFeatures]]:
        """Number and features of each film, as soon as all of its frames are computed."""
        batch: list[tuple[int, np.ndarray]] = []
        rows: dict[int, list[np.ndarray]] = {}
        ended: dict[int, FilmFeatures] = {}
        for event in decoders.events():
            if isinstance(event, _Image):
                batch.append((event.film, event.image))
            elif isinstance(event, _End):
                ended[event.film] = event.features
            if len(batch) == self.backbone.batch_size or (batch and event is None):
                for (film, _), row in zip(batch, self.backbone([image for _, image in batch]), strict=True):
                    rows.setdefault(film, []).append(row)
                batch = []
            waiting = {film for film, _ in batch}
            for film in [film for film in ended if film not in waiting]:
                yield film, self._completed(ended.pop(film), rows.pop(film, []))

    def _completed(self, features: FilmFeatures, rows: Sequence[np.ndarray]) -> FilmFeatures:
        features.images = np.stack(rows) if rows else np.zeros((0, self.backbone.size), np.float32)
        features.is_lost = not rows
        if features.sound is not None:
            features.sound = features.sound[: len(rows)]
        if features.is_lost and not features.problems:
            features.problems = ("not one frame could be decoded",)
        return features

    def _decode(self, film: Film, send: Callable[[np.ndarray], None]) -> FilmFeatures:
        """Decodes a film, in a thread of its own."""
        features = FilmFeatures(film)
        try:
            with open_film(film.path, threads=max(processors() // self.workers, 1)) as opened:
                features.seconds = opened.seconds
                features.all_frames, times = self.decoding.times(opened)
                for image in opened.frames_at(times):
                    send(self.backbone.prepare(image))
                if self.audio is not None and opened.has_sound:
                    samples = opened.sound_at(times)
                    if opened.has_sound:
                        features.sound = self.audio(np.ravel(samples), SAMPLE_RATE)
                features.problems = tuple(opened.problems)
        except (UserError, OSError) as error:
            features.problems += (_without_path(error, film.path),)
        return features


@dataclass(frozen=True)
class Quantizer:
    """Turns features of films into the bytes of records.

    Attributes:
        projections: of each feature, by name: of images first, then of sound.
    """

    projections: Mapping[str, Projection]

    def frames(self, features: FilmFeatures) -> dict[str, np.ndarray]:
        """uint8 (frames, size) of each feature. Where there is no sound it is 0 everywhere, the mean of all sound."""
        values = dict(zip(self.projections, (features.images, features.sound), strict=False))
        return {name: self._quantized(name, value, features.frames) for name, value in values.items()}

    def _quantized(self, name: str, values: np.ndarray | None, frames: int) -> np.ndarray:
        projection = self.projections[name]
        if values is not None:
            return projection.to_bytes(values)
        low, high = projection.range
        return quantize(np.zeros((frames, projection.size)), high, low)


@dataclass(frozen=True)
class _Image:
    film: int
    image: np.ndarray


@dataclass(frozen=True)
class _End:
    film: int
    features: FilmFeatures


class _Decoders:
    """Threads that decode films, at most so many films ahead of those that are taken from them."""

    def __init__(self, decode: Callable, films: Iterable[Film], workers: int, batch_size: int):
        self._decode = decode
        self._films = enumerate(films)
        self._queue: queue.Queue = queue.Queue(_QUEUED_BATCHES * batch_size)
        self._ahead = threading.Semaphore(4 * (workers + batch_size))
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]

    def __enter__(self) -> "_Decoders":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def release(self):
        """One film has been taken."""
        self._ahead.release()

    def events(self) -> Iterator[_Image | _End | None]:
        """Images and ends of films, as they come; None where none has come for a while, and at the end."""
        running = len(self._threads)
        while running:
            try:
                event = self._queue.get(timeout=_SECONDS_UNTIL_PART)
            except queue.Empty:
                yield None
                continue
            if isinstance(event, BaseException):
                raise event
            if event is None:
                running -= 1
            else:
                yield event
        yield None

    def _work(self):
        try:
            while (item := self._next()) is not None:
                number, film = item
                self._put(
                    _End(number, self._decode(film, lambda image, number=number: self._put(_Image(number, image))))
                )
            self._put(None)
        except _Stopped:
            pass
        except BaseException as error:  # raised again where the events are read
            self._put_last(error)

    def _next(self) -> tuple[int, Film] | None:
        while not self._ahead.acquire(timeout=_POLL_SECONDS):
            self._check()
        with self._lock:
            return next(self._films, None)

    def _put(self, event: Any):
        while True:
            self._check()
            try:
                return self._queue.put(event, timeout=_POLL_SECONDS)
            except queue.Full:
                continue

    def _put_last(self, error: BaseException):
        with contextlib.suppress(_Stopped):
            self._put(error)

    def _check(self):
        if self._stopped.is_set():
            raise _Stopped


class _Stopped(Exception):
    """Nobody takes any more."""


def _in_order(results: Iterator[tuple[int, FilmFeatures]], decoders: _Decoders) -> Iterator[FilmFeatures]:
    waiting: dict[int, FilmFeatures] = {}
    numbers = itertools.count()
    number = next(numbers)
    for place, features in results:
        waiting[place] = features
        while number in waiting:
            yield waiting.pop(number)
            decoders.release()
            number = next(numbers)


def _without_path(error: Exception, path: str) -> str:
    return " ".join(str(error).replace(f"'{path}'", "it").split()).removesuffix(".")
