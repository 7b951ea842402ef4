"""Metrics of the server, as Prometheus reads them at /metrics.

metrics = ServerMetrics()
metrics.count_request("/v1/caption", 200, seconds=0.03)
metrics.text()                                   # bytes
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

disable_created_metrics()  # an extra line for every metric, with the time of its first value

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ServerMetrics:
    """The metrics of one app, in a registry of their own: tests run several apps in one process."""

    def __init__(self):
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "imagetext_requests", "Requests answered", ["route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "imagetext_request_seconds",
            "Time to answer a request",
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
            "imagetext_waiting", "Requests waiting for a model", ["model"], registry=registry
        )
        self._ready = Gauge(
            "imagetext_ready", "Whether a model is loaded", ["model"], registry=registry
        )

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """Count an answered request. `route` is a pattern and not a path, which clients choose."""
        self._requests.labels(route, status or "gone").inc()
        self._seconds.labels(route).observe(seconds)

    def count_batch(self, model: str, size: int) -> None:
        self._sizes.labels(model).observe(size)

    def watch_queue(self, model: str, waiting: Callable[[], int]) -> None:
        """Report the number of waiting requests whenever the metrics are read."""
        self._waiting.labels(model).set_function(waiting)

    def watch_ready(self, model: str, ready: Callable[[], bool]) -> None:
        self._ready.labels(model).set_function(lambda: float(ready()))

    def text(self) -> bytes:
        return generate_latest(self.registry)
