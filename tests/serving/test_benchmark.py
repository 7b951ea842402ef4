"""benchmarks/serving.py: what it measures, and that it ends when there is nothing to measure."""

import asyncio
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from imagetext.serving.loading import Opens

from .served import Served
from .stand_ins import StandInCaptioner, StandInMatcher, StandInSearcher

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "serving.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("benchmarks_serving", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def asked(**given) -> SimpleNamespace:
    return SimpleNamespace(**dict.fromkeys(("caption", "match", "index", "photos", "text")) | given)


def test_a_model_that_cannot_be_loaded_ends_it(benchmark):
    def broken(tell):
        raise OSError("damaged")

    running = SimpleNamespace(poll=lambda: None)
    with Served(captioner=Opens(broken)) as served, pytest.raises(SystemExit, match="caption"):
        benchmark.wait_until_ready(served.port, running)


@pytest.mark.parametrize(
    ("given", "model"),
    [
        ({"caption": "run"}, "caption"),
        ({"match": "run", "text": "a red star"}, "match"),
        ({"index": "index", "text": "a red star"}, "search"),
        ({"index": "index"}, "search"),
    ],
)
def test_each_model_is_asked_and_counted(benchmark, given, model):
    services = StandInCaptioner(), StandInMatcher(), StandInSearcher()
    names = ("captioner", "matcher", "searcher")
    with Served(**dict(zip(names, services, strict=True))) as served:
        requests = benchmark.requests(asked(**given))
        found = asyncio.run(benchmark.load(served.port, requests, 3, 0.3))
        answered, passes = benchmark.batches(served.port)
    assert found["errors"] == 0 and found["requests"] == answered >= 3
    assert 1 <= passes <= answered
    assert f'model="{model}"'.encode() in served.app.state.desk.measures.text()
    asked_photo = [query.photo for query in services[2].asked]
    assert all(asked_photo) if given == {"index": "index"} else not any(asked_photo)


def test_the_stand_in_is_measured_only_when_it_is_asked_for():
    ended = subprocess.run([sys.executable, str(PATH)], capture_output=True, text=True)
    assert ended.returncode == 2 and "--stand-in" in ended.stderr
