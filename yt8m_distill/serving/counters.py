"""What /metrics tells, in the text format of Prometheus."""

from collections import Counter

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)  # seconds


class Counters:
    """Requests to /predict by status, and how long they took.

    Attributes:
        requests: by status.
    """

    def __init__(self):
        self.requests: Counter[int] = Counter()
        self._by_bucket: Counter[float] = Counter()
        self._seconds = 0.0

    def note(self, status: int, seconds: float):
        """A request has been answered."""
        self.requests[status] += 1
        self._seconds += seconds
        self._by_bucket.update(bucket for bucket in BUCKETS if seconds <= bucket)

    def text(self, batches: int, videos: int, waiting: int) -> str:
        """All numbers.

        Args:
            batches: predicted so far.
            videos: in them.
            waiting: videos that wait now.
        """
        total = sum(self.requests.values())
        by_status = [f'yt8m_requests_total{{status="{status}"}} {n}' for status, n in sorted(self.requests.items())]
        buckets = [f'yt8m_request_seconds_bucket{{le="{bucket:g}"}} {self._by_bucket[bucket]}' for bucket in BUCKETS]
        lines = [
            "# TYPE yt8m_requests_total counter",
            *by_status,
            "# TYPE yt8m_request_seconds histogram",
            *buckets,
            f'yt8m_request_seconds_bucket{{le="+Inf"}} {total}',
            f"yt8m_request_seconds_sum {self._seconds:.6f}",
            f"yt8m_request_seconds_count {total}",
            "# TYPE yt8m_batches_total counter",
            f"yt8m_batches_total {batches}",
            "# TYPE yt8m_videos_total counter",
            f"yt8m_videos_total {videos}",
            "# TYPE yt8m_waiting_videos gauge",
            f"yt8m_waiting_videos {waiting}",
        ]
        return "\n".join(lines) + "\n"
