"""Films as requests: decoded by processes of limited memory and time, their features computed, and predicted."""

import asyncio
import dataclasses
import json
import pathlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

import numpy as np

from yt8m_distill.config.dataset import RANGES_FILE
from yt8m_distill.config.deployment import ServeConfig
from yt8m_distill.config.films import FeatureSettings
from yt8m_distill.config.json import to_values
from yt8m_distill.deployment.manifest import Manifest
from yt8m_distill.errors import UserError
from yt8m_distill.ranking import ranked_classes
from yt8m_distill.serving import film_process
from yt8m_distill.serving.answers import Labels
from yt8m_distill.serving.batching import Batcher
from yt8m_distill.serving.film_exchange import BadFilmError, DecodedFilm, read_film
from yt8m_distill.serving.parser_pool import ParsingProcess, ProcessPool
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
    settings = {"backbone": config.films.backbone, "backbone_weights": config.films.backbone_weights}
    features = load_feature_set(folder, FeatureSettings(**settings))
    if features.file.extraction != manifest.data.extraction:
        raise UserError(f"'{folder / RANGES_FILE}' is not that of the model.")
    if type(features.backbone).prepare is not Backbone.prepare:
        raise UserError(f"the backbone {features.backbone.name} prepares images in its own way.")
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

    async def parse(self, content_type: str, body: BinaryIO) -> DecodedFilm:
        """The film of a request, see `ParserPool.parse`."""
        if len(content_type) > film_process.MOST_MESSAGE_BYTES // 2:
            raise BadFilmError("the Content-Type is too long")
        try:
            return await self._parsed(content_type, body, self._seconds)
        except CostlyBodyError:
            raise BadFilmError(film_process.TOO_COSTLY, 413) from None


class FilmPredictor:
    """Labels of decoded films.

    Args:
        features: that the model takes.
        manifest: of the model.
        batcher: runs it.
        observe: is told the classes and scores of each answer.
    """

    def __init__(
        self,
        features: FeatureSet,
        manifest: Manifest,
        batcher: Batcher,
        observe: Callable[[np.ndarray, np.ndarray], None],
    ):
        self._features = features
        self._manifest = manifest
        self._batcher = batcher
        self._observe = observe
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="images")

    async def answer(self, film: DecodedFilm, top_k: int, start: float) -> dict[str, Any]:
        """The labels of a film, the frames looked at, and milliseconds.

        Args:
            film: decoded.
            top_k: labels to give.
            start: of the request, of `time.perf_counter`.
        """
        decoded = time.perf_counter()
        videos = await asyncio.get_running_loop().run_in_executor(self._thread, self._videos, film)
        computed = time.perf_counter()
        predictions = await self._batcher.predictions(videos)
        classes, scores = ranked_classes(videos.ids, predictions, top_k)
        self._observe(classes, scores)
        labels = Labels(videos.ids, videos.num_frames, classes, scores, self._manifest.class_names)
        end = time.perf_counter()
        facts = dataclasses.asdict(film.facts)
        facts.pop("video_id")
        milliseconds = {
            "receiving_and_decoding": decoded - start,
            "features": computed - decoded,
            "prediction": end - computed,
            "all": end - start,
        }
        return {
            **json.loads(b"".join(labels.pieces())),
            "film": facts,
            "milliseconds": {name: round(1000 * seconds, 1) for name, seconds in milliseconds.items()},
        }

    def _videos(self, film: DecodedFilm) -> Videos:
        """Computes the features of the frames."""
        audio = self._features.audio
        sound = None
        if audio is not None and film.sound is not None:
            sound = audio(film.sound, SAMPLE_RATE)
        images = self._features.backbone(list(film.images))
        name = film.facts.video_id or "film"
        of_film = FilmFeatures(Film(name, name), images=images, sound=sound)
        frames = self._features.quantizer.frames(of_film)
        joined = np.concatenate([frames[feature] for feature in self._manifest.data.feature_names], axis=1)
        return selected([video_of_frames(name, joined, self._manifest.data)], self._manifest)
