"""What Prometheus reads at /metrics.

measures = Measures()
measures.request("/v1/caption", 200, seconds=0.03)
measures.text()                                  # -> bytes
"""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

disable_created_metrics()  # a line for each number, of when it was first counted

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Measures:
    """One registry an app: several in one process, as in tests, do not mix."""

    def __init__(self):
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "imagetext_requests", "Requests answered", ["route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "imagetext_request_seconds",
            "Time to answer",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self._sizes = Histogram(
            "imagetext_batch_size",
            "Requests that shared a forward pass",
            ["model"],
            buckets=SIZES,
            registry=registry,
        )
        self._waiting = Gauge(
            "imagetext_waiting", "Requests that wait for a model", ["model"], registry=registry
        )
        self._ready = Gauge(
            "imagetext_ready", "Models that are loaded", ["model"], registry=registry
        )

    def request(self, route: str, status: int, seconds: float) -> None:
        """`route` is the path's pattern, not the path: strangers choose paths."""
        self._requests.labels(route, status or "gone").inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, model: str, size: int) -> None:
        self._sizes.labels(model).observe(size)

    def watch(self, model: str, waiting: Callable[[], int]) -> None:
        self._waiting.labels(model).set_function(waiting)

    def ready(self, model: str, there: Callable[[], bool]) -> None:
        self._ready.labels(model).set_function(lambda: float(there()))

    def text(self) -> bytes:
        return generate_latest(self.registry)
