"""benchmarks/retrieval.py on a few photos: what it measures and what it refuses."""

import importlib.util
import queue
import types
from pathlib import Path

import pytest

from imagetext.retrieval.index.build import build
from tests.retrieval.index.toy import Toy, listed, write_photos

FILE = Path(__file__).parents[3] / "benchmarks" / "retrieval.py"


@pytest.fixture
def benchmark(monkeypatch):
    for library in ("OMP", "OPENBLAS", "MKL", "BLIS"):
        monkeypatch.setenv(f"{library}_NUM_THREADS", "2")
    spec = importlib.util.spec_from_file_location("retrieval_benchmark", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("captions", [(), ("red", "green")])
def test_the_vectors_of_an_index_with_and_without_captions(benchmark, tmp_path, captions):
    photos = listed(write_photos(tmp_path / "photos", range(12)))
    build(Toy(), dict.fromkeys(photos, captions), tmp_path / "index")
    options = types.SimpleNamespace(
        like=str(tmp_path / "index"), rows=300, kind="exact", queries=20, repeats=2, seconds=0.01
    )
    options.flat = False
    results = queue.Queue()
    benchmark.build(options, tmp_path / "built", results)
    result = benchmark.measure(options, tmp_path / "built")
    assert result["recall"] == {"photos": 1.0} | ({"texts": 1.0} if captions else {})
    assert results.get()["build_seconds"] > 0
    together = "26 at once" if captions else "20 at once"  # as many queries as there are
    assert list(result["ms"]) == ["one", together]
    assert f"| {together} | index |" in benchmark.format_table(result)
    assert result["exact_mb"] == 300 * Toy.width * 4 / 2**20 and result["reader_mapped_mb"] >= 0


def test_it_reports_ratios_and_refuses_a_busy_machine(benchmark):
    each = {"numpy": [10.0, 12.0, 30.0], "index": [5.0, 3.0, 10.0]}
    assert benchmark.times_numpy(each, "index") == 3.0
    with pytest.raises(SystemExit, match=r"load 0\.9: .* wait until it is below 0\.5"):
        benchmark.refuse_if_busy(0.9, anyway=False)
    benchmark.refuse_if_busy(0.9, anyway=True)
    benchmark.refuse_if_busy(0.4, anyway=False)
