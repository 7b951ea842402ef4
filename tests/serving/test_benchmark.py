"""benchmarks/serving.py: what it measures, and when it gives up."""

import asyncio
import subprocess
import sys
from types import SimpleNamespace

import pytest

from benchmarks import serving as benchmark
from benchmarks.common import ROOT
from imagetext.serving.loading import LazyService

from .served import Served
from .stand_ins import StandInCaptions, StandInMatches, StandInSearch


def options(**values) -> SimpleNamespace:
    names = ("caption", "match", "index", "photos", "text")
    return SimpleNamespace(**dict.fromkeys(names) | values)


def test_a_model_that_cannot_be_loaded_ends_the_benchmark():
    def broken(progress):
        raise OSError("damaged")

    running = SimpleNamespace(poll=lambda: None)
    with Served(caption=LazyService(broken)) as served, pytest.raises(SystemExit, match="caption"):
        benchmark.wait_until_ready(served.port, running)


@pytest.mark.parametrize(
    ("values", "model"),
    [
        ({"caption": "run"}, "caption"),
        ({"match": "run", "text": "a red star"}, "match"),
        ({"index": "index", "text": "a red star"}, "search"),
        ({"index": "index"}, "search"),
    ],
)
def test_each_model_is_measured(values, model):
    services = StandInCaptions(), StandInMatches(), StandInSearch()
    names = ("caption", "match", "search")
    with Served(**dict(zip(names, services, strict=True))) as served:
        requests = benchmark.build_requests(options(**values))
        result = asyncio.run(benchmark.measure(served.port, requests, 3, 0.3))
        answered, passes = benchmark.count_batches(served.port)
    assert result["errors"] == 0 and result["requests"] == answered >= 3
    assert 1 <= passes <= answered
    assert f'model="{model}"'.encode() in served.app.state.dispatcher.metrics.text()
    photos = [query.photo for query in services[2].queries]
    assert all(photos) if values == {"index": "index"} else not any(photos)


def test_a_model_must_be_chosen():
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.serving"], cwd=ROOT, capture_output=True, text=True
    )
    assert process.returncode == 2 and "--stand-in" in process.stderr
