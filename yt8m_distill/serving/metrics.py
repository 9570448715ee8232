"""The metrics of a service, as Prometheus reads them from `/metrics`."""

from collections.abc import Iterator, Mapping

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Histogram, Info, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from yt8m_distill.serving.batching import Batcher

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)  # seconds
SCORE_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)


class ServiceMetrics:
    """Requests to `/predict` by status and time, the batches that they became, and the labels in their answers.

    In a registry of its own, so that several services can run in one process.

    Args:
        batcher: whose batches, videos and waiting videos are reported.
        num_classes: of the model.
        class_names: by index; None: classes have no names.
        model: what is said of the model, by name.

    Example:
        >>> metrics = ServiceMetrics(Batcher(lambda frames, num_frames: frames, max_batch=8, max_waiting=8), 5)
        >>> metrics.observe_request(status=200, seconds=0.02)
        >>> 'yt8m_requests_total{status="200"} 1.0' in metrics.text().decode()
        True
    """

    def __init__(
        self,
        batcher: Batcher,
        num_classes: int,
        class_names: tuple[str, ...] | None = None,
        model: Mapping[str, str] | None = None,
    ):
        self._registry = CollectorRegistry()
        Info("yt8m_model", "The model, and what runs it.", registry=self._registry).info(dict(model or {}))
        self._requests = Counter(
            "yt8m_requests", "Requests to /predict by HTTP status.", ["status"], registry=self._registry
        )
        self._seconds = Histogram(
            "yt8m_request_seconds",
            "Seconds from a request to /predict to its answer.",
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._labels = _LabelCollector(num_classes, class_names)
        self._registry.register(_BatcherCollector(batcher))
        self._registry.register(self._labels)

    def observe_request(self, status: int, seconds: float):
        """Counts a request that has been answered with `status` after so many seconds."""
        self._requests.labels(status).inc()
        self._seconds.observe(seconds)

    def observe_labels(self, classes: np.ndarray, scores: np.ndarray):
        """Counts the labels of an answer.

        Args:
            classes: indices (videos, labels), best first.
            scores: of these, likewise.
        """
        self._labels.observe(classes, scores)

    def text(self) -> bytes:
        """All metrics, in the format of `prometheus_client.CONTENT_TYPE_LATEST`."""
        return generate_latest(self._registry)


class _BatcherCollector:
    """The numbers that a batcher keeps anyway, read when they are asked for."""

    def __init__(self, batcher: Batcher):
        self._batcher = batcher

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily("yt8m_batches", "Batches predicted.", value=self._batcher.batches)
        yield CounterMetricFamily("yt8m_videos", "Videos predicted.", value=self._batcher.videos)
        yield GaugeMetricFamily("yt8m_waiting_videos", "Videos waiting for the model.", value=self._batcher.waiting)


class _ScoreHistogram:
    """Counts scores by `SCORE_BUCKETS`, many at a time."""

    def __init__(self):
        self._counts = np.zeros(len(SCORE_BUCKETS) + 1, np.int64)
        self._sum = 0.0

    def observe(self, scores: np.ndarray):
        places = np.searchsorted(SCORE_BUCKETS, scores.ravel())
        self._counts += np.bincount(places, minlength=len(self._counts))
        self._sum += float(scores.sum(dtype=np.float64))

    def family(self, name: str, description: str) -> HistogramMetricFamily:
        bounds = [*map(str, SCORE_BUCKETS), "+Inf"]
        buckets = list(zip(bounds, np.cumsum(self._counts).tolist(), strict=True))
        return HistogramMetricFamily(name, description, buckets=buckets, sum_value=self._sum)


class _LabelCollector:
    """What has been answered: where it drifts, so have the videos or the model."""

    def __init__(self, num_classes: int, class_names: tuple[str, ...] | None):
        self._names = class_names
        self._counts = np.zeros(num_classes, np.int64)
        self._scores, self._top_scores = _ScoreHistogram(), _ScoreHistogram()

    def observe(self, classes: np.ndarray, scores: np.ndarray):
        self._counts += np.bincount(classes.ravel(), minlength=len(self._counts))
        self._scores.observe(scores)
        self._top_scores.observe(scores[:, 0])

    def collect(self) -> Iterator[Metric]:
        yield self._scores.family("yt8m_label_score", "Scores of the labels in answers.")
        yield self._top_scores.family("yt8m_top_score", "Scores of the best label of each video in answers.")
        labels = CounterMetricFamily(
            "yt8m_labels", "Labels in answers by class index and name.", labels=["index", "name"]
        )
        for index in np.flatnonzero(self._counts).tolist():
            name = self._names[index] if self._names else ""
            labels.add_metric([str(index), name], int(self._counts[index]))
        yield labels
