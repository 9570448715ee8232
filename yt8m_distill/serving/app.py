"""The HTTP service: its routes, and the status of each answer."""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from yt8m_distill import __version__
from yt8m_distill.config.deployment import ServeConfig
from yt8m_distill.deployment.export_files import engine_of
from yt8m_distill.deployment.manifest import ExportedFile, Manifest
from yt8m_distill.ranking import ranked_classes
from yt8m_distill.serving.access_log import AccessLog
from yt8m_distill.serving.answers import LabelsResponse, in_milliseconds, labels_of
from yt8m_distill.serving.asking import Asked, checked
from yt8m_distill.serving.batching import Batcher, OverloadedError
from yt8m_distill.serving.limits import return_memory
from yt8m_distill.serving.metrics import ServiceMetrics
from yt8m_distill.serving.page import Description, Page, describe
from yt8m_distill.serving.parser_pool import ParserPool, ProcessPool
from yt8m_distill.serving.receiving import ClientGoneError, Receiver, while_connected
from yt8m_distill.serving.schema import film_description, predict_description

SECONDS_BETWEEN_RETURNS = 10.0  # of memory, which takes some milliseconds
CLIENT_HAS_GONE = 499  # as servers count it; nobody reads it


def create_app(
    manifest: Manifest,
    predict: Callable[[np.ndarray, np.ndarray], np.ndarray],
    config: ServeConfig,
    checksum: str | None = None,
    features: Any = None,
    file: ExportedFile | None = None,
) -> FastAPI:
    """The service as an ASGI application.

    Args:
        manifest: of the model.
        predict: see `runners.load`.
        config: its limits.
        checksum: SHA-256 of the model's file; None: unknown.
        features: of films, a `video.feature_set.FeatureSet`; None: films are not taken.
        file: of the export that predicts; None: unknown.
    """
    parsers = ParserPool(manifest, config)
    batcher = Batcher(predict, config.max_batch, config.max_waiting)
    routes = _Routes(_health(manifest, checksum, file), manifest, config, batcher, parsers)
    pools = [parsers]
    if features is not None:
        routes.take_films(features)
        pools.append(routes.films.pool)
    app = FastAPI(title=f"{manifest.model}, {manifest.which}", version=__version__, lifespan=_lifespan(pools))
    app.add_exception_handler(RequestValidationError, routes.explain)
    page = Page(describe(manifest, config, films=features is not None))
    app.add_api_route("/", page.response, response_class=HTMLResponse, include_in_schema=False)
    app.add_api_route("/model", page.model, response_model=Description)
    app.add_api_route("/health", routes.health, response_model=Health)
    app.add_api_route("/metrics", routes.metrics, response_class=PlainTextResponse)
    app.add_api_route("/predict", routes.predict, methods=["POST"], **predict_description(manifest, config))
    if features is not None:
        app.add_api_route("/predict_film", routes.predict_film, methods=["POST"], **film_description(manifest, config))
    if config.access_log:
        app.add_middleware(AccessLog)
    return app


@dataclass(frozen=True)
class Health:
    """That the service runs, and its model.

    Attributes:
        model: name in the registry.
        which: student or teacher.
        frames: that the model sees of a video.
        version: of yt8m_distill.
        sha256: checksum of the model's file; of a folder, of all its files.
        engine: what runs the file: tensorflow, litert or onnxruntime.
        precision: of the file's weights.
        status: always "ok": a service that does not run does not answer.
    """

    model: str
    which: str
    frames: str
    version: str
    sha256: str | None
    engine: str | None = None
    precision: str | None = None
    status: str = "ok"


def _health(manifest: Manifest, checksum: str | None, file: ExportedFile | None) -> Health:
    return Health(
        model=manifest.model,
        which=manifest.which,
        frames=manifest.selection.describe(),
        version=__version__,
        sha256=checksum,
        engine=None if file is None else engine_of(file),
        precision=None if file is None else file.precision,
    )


def _told_of_model(health: Health) -> dict[str, str]:
    """What the metrics say of the model, as text."""
    return {name: value or "" for name, value in vars(health).items() if name != "status"}


def _lifespan(pools: Sequence[ProcessPool]) -> Callable[[FastAPI], contextlib.AbstractAsyncContextManager]:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tidying = asyncio.create_task(_return_memory())
        try:
            await asyncio.gather(*(pool.start() for pool in pools))
            yield
        finally:
            tidying.cancel()
            for pool in pools:
                pool.stop()

    return lifespan


async def _return_memory():
    """Gives back what the model and large answers leave behind, which otherwise grows with the highest load so far."""
    while True:
        await asyncio.sleep(SECONDS_BETWEEN_RETURNS)
        await asyncio.to_thread(return_memory)


class _Routes:
    """What is answered to each request."""

    def __init__(self, health: Health, manifest: Manifest, config: ServeConfig, batcher: Batcher, parsers: ParserPool):
        self._health = health
        self._manifest = manifest
        self._batcher = batcher
        self._config = config
        self.films: Any = None
        self._receiver = Receiver(config, parsers, batcher)
        self._metrics = ServiceMetrics(batcher, manifest.data.num_classes, manifest.class_names, _told_of_model(health))
        self._free = config.max_connections

    async def explain(self, _: Request, error: RequestValidationError) -> JSONResponse:
        """Of parameters in the address that have the wrong type."""
        self._metrics.observe_request(400, 0.0)
        problems = ", ".join(f"{problem['loc'][-1]}: {problem['msg']}" for problem in error.errors())
        return JSONResponse({"detail": problems}, status_code=400)

    async def health(self) -> Health:
        """That the service runs, and its model."""
        return self._health

    def metrics(self) -> Response:
        """Counts, times, and the labels and scores in answers, for Prometheus."""
        return Response(self._metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    def take_films(self, features: Any):
        """From now on films are taken, too."""
        from yt8m_distill.serving.films import FilmPredictor  # needs the extra for films

        self.films = FilmPredictor(features, self._manifest, self._config, self._batcher, self._metrics.observe_labels)

    async def predict(
        self, request: Request, top_k: int | None = None, frames: int | None = None, details: bool = False
    ) -> Response:
        """The best classes of each video in the body."""
        start = time.perf_counter()
        return await self._observed(lambda: self._labels(request, self._asked(top_k, frames, details), start))

    async def predict_film(
        self, request: Request, top_k: int | None = None, frames: int | None = None, details: bool = False
    ) -> Response:
        """The best classes of the film in the body."""
        start = time.perf_counter()
        return await self._observed(lambda: self._film_labels(request, self._asked(top_k, frames, details), start))

    def _asked(self, top_k: int | None, frames: int | None, details: bool) -> Asked:
        return checked(self._manifest, top_k, frames, details)

    async def _observed(self, answer: Callable[[], Awaitable[Response]]) -> Response:
        start = time.perf_counter()
        status = 500
        self._free -= 1
        try:
            response = await self._answer(answer)
            status = response.status_code
        except HTTPException as error:
            status = error.status_code
            raise
        finally:
            self._free += 1
            self._metrics.observe_request(status, time.perf_counter() - start)
        return response

    async def _answer(self, answer: Callable[[], Awaitable[Response]]) -> Response:
        if self._free < 0:
            raise HTTPException(
                503, "too many connections; try again later", {"Retry-After": "1", "Connection": "close"}
            )
        try:
            return await answer()
        except OverloadedError:
            raise HTTPException(503, "too many videos are waiting; try again later", {"Retry-After": "1"}) from None
        except ClientGoneError:
            return JSONResponse({}, status_code=CLIENT_HAS_GONE)

    async def _labels(self, request: Request, asked: Asked, start: float) -> Response:
        videos = await self._receiver.parsed(request, asked.frames)
        parsed = time.perf_counter()
        predictions = await while_connected(request, self._batcher.predictions(videos))
        classes, scores = ranked_classes(videos.ids, predictions, asked.top_k)
        self._metrics.observe_labels(classes, scores)
        labels = labels_of(videos, classes, scores, self._manifest.class_names, details=asked.details)
        if asked.details:
            end = time.perf_counter()
            seconds = {"receiving_and_parsing": parsed - start, "prediction": end - parsed, "all": end - start}
            labels = dataclasses.replace(labels, milliseconds=in_milliseconds(seconds))
        return LabelsResponse(labels)

    async def _film_labels(self, request: Request, asked: Asked, start: float) -> Response:
        return JSONResponse(await self.films.answer(request, asked, start))
