"""Films as requests: decoded by processes of limited memory and time, their features computed, and predicted."""

import asyncio
import contextlib
import dataclasses
import json
import pathlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

import numpy as np
from fastapi import Request

from yt8m_distill.config.dataset import RANGES_FILE
from yt8m_distill.config.deployment import ServeConfig
from yt8m_distill.config.films import EXACT, FeatureSettings
from yt8m_distill.config.json import to_values
from yt8m_distill.deployment.manifest import Manifest
from yt8m_distill.errors import UserError
from yt8m_distill.ranking import ranked_classes
from yt8m_distill.serving import film_process
from yt8m_distill.serving.answers import in_milliseconds, labels_of
from yt8m_distill.serving.asking import Asked
from yt8m_distill.serving.batching import Batcher, OverloadedError
from yt8m_distill.serving.film_body import FILM_TYPES
from yt8m_distill.serving.film_exchange import BadFilmError, DecodedFilm, FilmFacts, read_film
from yt8m_distill.serving.parser_pool import ParsingProcess, ProcessPool
from yt8m_distill.serving.parser_process import message
from yt8m_distill.serving.receiving import Receiver, while_connected
from yt8m_distill.serving.requests import CostlyBodyError, Videos, selected, video_of_frames
from yt8m_distill.video.backbones.backbone import Backbone
from yt8m_distill.video.decoding import SAMPLE_RATE, frames_of_selection
from yt8m_distill.video.extractor import FilmFeatures
from yt8m_distill.video.feature_set import FeatureSet, load_feature_set
from yt8m_distill.video.film_list import Film

BODIES_AT_ONCE = 2


def load_features(manifest: Manifest, config: ServeConfig) -> FeatureSet:
    """The features of films that a model takes.

    Raises:
        UserError: it was not trained on features of films, or they cannot be computed here.
    """
    folder = pathlib.Path(config.model_dir)
    if not manifest.data.extraction or not (folder / RANGES_FILE).exists():
        raise UserError("the model was not trained on features of films (python -m yt8m_distill.extract_features).")
    films = config.films
    places = FeatureSettings(
        backbone=films.backbone, backbone_weights=films.backbone_weights, model_dir=films.google_dir
    )
    features = load_feature_set(folder, places)
    if features.file.extraction != manifest.data.extraction:
        raise UserError(f"'{folder / RANGES_FILE}' is not that of the model.")
    if type(features.backbone).prepare is not Backbone.prepare:
        raise UserError(
            f"the backbone {features.backbone.name} prepares images in its own way, which services cannot; "
            "inference.py --input_videos can."
        )
    height, width = features.backbone.image_size or (64, 64)
    features.backbone([np.zeros((height, width, 3), np.uint8)])  # the first call is slow
    return features


class FilmPool(ProcessPool):
    """Decodes films in processes of limited memory and time.

    Args:
        features: that are computed of them.
        manifest: of the model that is to see them.
        config: the service's limits.
    """

    def __init__(self, features: FeatureSet, manifest: Manifest, config: ServeConfig):
        films, recipe, backbone = config.films, features.recipe, features.backbone
        choice = frames_of_selection(manifest.selection, films.positions)
        if choice.student_frames is None and films.positions != EXACT:
            raise UserError(
                f"frame_positions={films.positions} is for models that see k frames of a film wherever they are; this "
                f"one needs all of them ({manifest.selection.describe()}): leave it out."
            )
        film_bytes, memory_bytes = int(films.max_film_mb * 1e6), int(films.film_memory_mb * 1e6)
        options = film_process.Options(
            frames_per_second=recipe.frames_per_second,
            max_frames=manifest.data.max_frames or recipe.max_frames,
            student_frames=choice.student_frames,
            positions=choice.positions,
            image_size=backbone.image_size,
            crop=backbone.crop,
            has_audio=features.audio is not None,
            most_seconds=films.max_film_seconds,
            memory_bytes=memory_bytes + film_bytes,
            file_bytes=max(film_bytes, memory_bytes),
            processor_seconds=films.film_timeout,
        )
        text = json.dumps(to_values(options))
        module = film_process.__name__
        super().__init__([ParsingProcess(text, module, read_film) for _ in range(films.film_workers)])
        self._seconds = films.film_timeout

    async def parse(self, content_type: str, body: BinaryIO, k: int | None = None) -> DecodedFilm:
        """The film of a request, see `ParserPool.parse`."""
        if len(content_type) > film_process.MOST_MESSAGE_BYTES // 2 or "\n" in content_type:
            raise BadFilmError("the Content-Type is too long, or has line breaks")
        try:
            return await self._parsed(message(content_type, k), body, self._seconds)
        except CostlyBodyError:
            raise BadFilmError(film_process.TOO_COSTLY, 413) from None


class FilmPredictor:
    """Labels of decoded films.

    Args:
        features: that the model takes.
        manifest: of the model.
        config: the service's limits.
        batcher: runs the model.
        observe: is told the classes and scores of each answer.

    Attributes:
        pool: decodes films.
    """

    def __init__(
        self,
        features: FeatureSet,
        manifest: Manifest,
        config: ServeConfig,
        batcher: Batcher,
        observe: Callable[[np.ndarray, np.ndarray], None],
    ):
        self.pool = FilmPool(features, manifest, config)
        of_films = dataclasses.replace(config, max_request_mb=config.films.max_film_mb)
        self._receiver = Receiver(of_films, self.pool, batcher, FILM_TYPES, BODIES_AT_ONCE)
        self._free = config.films.film_workers + config.films.max_waiting_films
        self._features = features
        self._manifest = manifest
        self._batcher = batcher
        self._observe = observe
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="images")
        self._turn = asyncio.Lock()  # the thread has no queue, which would keep the films of clients that have gone

    async def answer(self, request: Request, asked: Asked, start: float) -> dict[str, Any]:
        """The labels of the film in a request, the frames looked at, and milliseconds.

        Args:
            request: not yet received.
            asked: by the address.
            start: of the request, of `time.perf_counter`.

        Raises:
            HTTPException: a bad request, with the reason.
            OverloadedError: too many films are decoded or wait, or as `Receiver.parsed`.
            ClientGoneError: the client has disconnected; nothing more is computed for it.
        """
        videos, facts, decoded = await self._computed(request, asked.frames)
        computed = time.perf_counter()
        predictions = await while_connected(request, self._batcher.predictions(videos))
        classes, scores = ranked_classes(videos.ids, predictions, asked.top_k)
        self._observe(classes, scores)
        labels = labels_of(videos, classes, scores, self._manifest.class_names, details=asked.details)
        end = time.perf_counter()
        told = dataclasses.asdict(facts)
        told.pop("video_id")
        milliseconds = {
            "receiving_and_decoding": decoded - start,
            "features": computed - decoded,
            "prediction": end - computed,
            "all": end - start,
        }
        return {
            **json.loads(b"".join(labels.pieces())),
            "film": told,
            "milliseconds": in_milliseconds(milliseconds),
        }

    async def _computed(self, request: Request, k: int | None) -> tuple[Videos, FilmFacts, float]:
        """The features and facts of the film in a request, and when it was decoded, of `time.perf_counter`."""
        with contextlib.ExitStack() as held:
            async with self._receiver.received(request) as (content_type, body):
                held.enter_context(self._place())
                film = await while_connected(request, self.pool.parse(content_type, body, k))
            decoded = time.perf_counter()
            return await while_connected(request, self._in_turn(film, k)), film.facts, decoded

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        """One of the places for films, of which each has one while its frames are in memory."""
        if not self._free:
            raise OverloadedError
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1

    async def _in_turn(self, film: DecodedFilm, k: int | None) -> Videos:
        """The features of a film, as soon as those before it are computed; a cancellation ends the computation."""
        stopped = threading.Event()
        async with self._turn:
            try:
                return await asyncio.get_running_loop().run_in_executor(self._thread, self._videos, film, k, stopped)
            finally:
                stopped.set()

    def _videos(self, film: DecodedFilm, k: int | None, stopped: threading.Event) -> Videos | None:
        """Computes the features of the frames; None where nobody waits for them any more."""
        images = self._of_images(film.images, stopped)
        if stopped.is_set():
            return None
        audio = self._features.audio
        sound = None
        if audio is not None and film.sound is not None:
            sound = audio(film.sound, SAMPLE_RATE)
        name = film.facts.video_id or "film"
        of_film = FilmFeatures(Film(name, name), images=images, sound=sound)
        frames = self._features.quantizer.frames(of_film)
        joined = np.concatenate([frames[feature] for feature in self._manifest.data.feature_names], axis=1)
        return selected([video_of_frames(name, joined, self._manifest.data)], self._manifest, k)

    def _of_images(self, images: np.ndarray, stopped: threading.Event) -> np.ndarray:
        """Features (frames, size), computed by the batch; those after the stop are missing."""
        backbone = self._features.backbone
        parts = []
        for start in range(0, len(images), backbone.batch_size):
            if stopped.is_set():
                break
            parts.append(backbone(list(images[start : start + backbone.batch_size])))
        return np.concatenate(parts) if parts else np.zeros((0, backbone.size), np.float32)
