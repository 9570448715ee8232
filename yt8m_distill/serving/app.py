"""The HTTP service: its routes, and the status of each answer."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from yt8m_distill.config.deployment import ServeConfig
from yt8m_distill.deployment.manifest import Manifest
from yt8m_distill.ranking import ranked_classes
from yt8m_distill.serving.batching import Batcher, OverloadedError
from yt8m_distill.serving.metrics import ServiceMetrics
from yt8m_distill.serving.receiving import ClientGoneError, Receiver, while_connected
from yt8m_distill.serving.requests import Videos

CLIENT_HAS_GONE = 499  # as servers count it; nobody reads it


def create_app(
    manifest: Manifest, predict: Callable[[np.ndarray, np.ndarray], np.ndarray], config: ServeConfig
) -> FastAPI:
    """The service as an ASGI application.

    Args:
        manifest: of the model.
        predict: see `runners.load`.
        config: its limits.
    """
    routes = _Routes(manifest, Batcher(predict, config.max_batch, config.max_waiting), config)
    app = FastAPI(title=f"{manifest.model}, {manifest.which}")
    app.add_exception_handler(RequestValidationError, routes.explain)
    app.add_api_route("/health", routes.health)
    app.add_api_route("/metrics", routes.metrics, response_class=PlainTextResponse)
    app.add_api_route("/predict", routes.predict, methods=["POST"])
    return app


class _Routes:
    """What is answered to each request."""

    def __init__(self, manifest: Manifest, batcher: Batcher, config: ServeConfig):
        self._manifest = manifest
        self._batcher = batcher
        self._receiver = Receiver(manifest, config, batcher)
        self._metrics = ServiceMetrics(batcher)

    async def explain(self, _: Request, error: RequestValidationError) -> JSONResponse:
        """Of parameters in the address that have the wrong type."""
        self._metrics.observe_request(400, 0.0)
        problems = ", ".join(f"{problem['loc'][-1]}: {problem['msg']}" for problem in error.errors())
        return JSONResponse({"detail": problems}, status_code=400)

    async def health(self) -> dict[str, Any]:
        """That the service runs, and its model."""
        manifest = self._manifest
        frames = manifest.selection.describe()
        return {"status": "ok", "model": manifest.model, "which": manifest.which, "frames": frames}

    async def metrics(self) -> Response:
        """Counts and times, for Prometheus."""
        return Response(self._metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def predict(self, request: Request, top_k: int | None = None) -> JSONResponse:
        """The best classes of each video in the body."""
        start = time.perf_counter()
        status = 500
        try:
            response = await self._answer(request, top_k)
            status = response.status_code
        except HTTPException as error:
            status = error.status_code
            raise
        finally:
            self._metrics.observe_request(status, time.perf_counter() - start)
        return response

    async def _answer(self, request: Request, top_k: int | None) -> JSONResponse:
        try:
            top_k = _checked_top_k(top_k, self._manifest)
            videos = await self._receiver.videos(request)
            predictions = await while_connected(request, self._batcher.predictions(videos))
        except OverloadedError:
            raise HTTPException(503, "too many videos are waiting; try again later", {"Retry-After": "1"}) from None
        except ClientGoneError:
            return JSONResponse({}, status_code=CLIENT_HAS_GONE)
        return JSONResponse(_labels(videos, predictions, top_k, self._manifest.class_names))


def _checked_top_k(top_k: int | None, manifest: Manifest) -> int:
    classes = manifest.data.num_classes
    if top_k is not None and not 1 <= top_k <= classes:
        raise HTTPException(400, f"top_k must be from 1 to {classes}, not {top_k}")
    return top_k or manifest.top_k


def _labels(videos: Videos, predictions: np.ndarray, top_k: int, names: tuple[str, ...] | None) -> dict[str, Any]:
    classes, scores = ranked_classes(videos.ids, predictions, top_k)
    rows = zip(videos.ids, videos.num_frames.tolist(), classes.tolist(), scores.tolist(), strict=True)
    return {
        "videos": [
            {"id": video_id, "frames": frames, "labels": _named(row_classes, row_scores, names)}
            for video_id, frames, row_classes, row_scores in rows
        ]
    }


def _named(classes: list[int], scores: list[float], names: tuple[str, ...] | None) -> list[dict[str, Any]]:
    pairs = zip(classes, scores, strict=True)
    return [{"index": i, **({} if names is None else {"name": names[i]}), "score": score} for i, score in pairs]
