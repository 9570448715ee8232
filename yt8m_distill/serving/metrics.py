"""The metrics of a service, as Prometheus reads them from `/metrics`."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from yt8m_distill.serving.batching import Batcher

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)  # seconds


class ServiceMetrics:
    """Requests to `/predict` by status and time, and the batches that they became.

    In a registry of its own, so that several services can run in one process.

    Args:
        batcher: whose batches, videos and waiting videos are reported.

    Example:
        >>> metrics = ServiceMetrics(Batcher(lambda frames, num_frames: frames, max_batch=8, max_waiting=8))
        >>> metrics.observe_request(status=200, seconds=0.02)
        >>> 'yt8m_requests_total{status="200"} 1.0' in metrics.text().decode()
        True
    """

    def __init__(self, batcher: Batcher):
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "yt8m_requests", "Requests to /predict by HTTP status.", ["status"], registry=self._registry
        )
        self._seconds = Histogram(
            "yt8m_request_seconds",
            "Seconds from a request to /predict to its answer.",
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._registry.register(_BatcherCollector(batcher))

    def observe_request(self, status: int, seconds: float):
        """Counts a request that has been answered with `status` after so many seconds."""
        self._requests.labels(status).inc()
        self._seconds.observe(seconds)

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
