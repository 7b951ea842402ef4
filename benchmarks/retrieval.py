"""An index of a million photos against exact search with NumPy: recall, speed, memory, build time.

    pip install -e '.[search]'
    python benchmarks/retrieval.py                                   # 1,000,000 x 256
    python benchmarks/retrieval.py --rows 100000 --run runs/best-1 --like flickr8k.index

The vectors are SYNTHETIC unless `--like` names an index: clusters of very unequal size around
random centres, in 64 dimensions of falling weight turned into all, with a little noise in each.
Queries are new draws: "photos" from among them, "texts" with more noise and an offset, as captions
lie apart from photos. With `--like` they are the vectors of real photos, over and over with noise,
and texts are real captions' vectors, of which the other half served for tuning.

The opponent is what one would write down: `scores = vectors @ query`, `np.argpartition`, sorted,
with all vectors in memory; for many queries at once `queries @ vectors.T` in blocks. Ours is all of
`Index.search`: candidates, exact scores, paths and captions read from disk. Both take turns in one
process, and both may use every core: NumPy's BLAS and FAISS have as many threads as there are
cores, unless OMP_NUM_THREADS says otherwise. Where something else computes meanwhile, these threads
wait for each other, NumPy's most: on a busy machine nothing is measured.

Building happens in a process of its own, whose peak memory is told; that of the reader is what it
holds besides mapped files, which the system may drop at will: what of those it had looked at is
told apart, and so is what exact search holds.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

#: How many threads NumPy and FAISS use is read when they are imported.
THREADS = int(os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count())))
for _library in ("OPENBLAS", "MKL", "BLIS"):
    os.environ[f"{_library}_NUM_THREADS"] = str(THREADS)

import numpy as np  # noqa: E402

# Python looks for `retrieval` beside this file first, and would find this file.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from imagetext.retrieval.index import exact  # noqa: E402
from imagetext.retrieval.index.approximate import KINDS, IndexSettings, import_faiss  # noqa: E402
from imagetext.retrieval.index.edits import first_manifest, new_part  # noqa: E402
from imagetext.retrieval.index.manifest import write_manifest, writing  # noqa: E402
from imagetext.retrieval.index.reader import Index  # noqa: E402
from imagetext.retrieval.index.segment import Entry, File, Row  # noqa: E402

BLOCK, TOP, TOGETHER = 1 << 16, 10, 64
#: What is asked of it: recall, times exact search, milliseconds to embed a query.
GOALS = {"recall": 0.95, "times_exact": 50, "query_ms": 30}
#: Nothing is measured where more processes than this wanted a core, in the mean of the last minute.
MOST_LOAD = 0.5


class Synthetic:
    """Vectors by block number, the same every time."""

    name = "synthetic"

    def __init__(self, width: int):
        self.width, inner = width, min(64, width)
        rng = np.random.default_rng(0)
        self.centres = rng.standard_normal((5000, inner))
        self.scale = 1 / np.sqrt(1 + np.arange(inner))
        self.turn = np.linalg.qr(rng.standard_normal((width, inner)))[0].T
        self.offset = 0.5 * exact.normalise(rng.standard_normal((1, width)))

    def _draw(self, rng: np.random.Generator, rows: int, noise: float) -> np.ndarray:
        # Cluster sizes fall as 1 / rank, so that there are crowds and loners.
        ranks = np.exp(rng.random(rows) * np.log(len(self.centres))).astype(np.int64)
        inner = self.centres[ranks - 1] + 0.6 * rng.standard_normal((rows, len(self.scale)))
        whole = (inner * self.scale) @ self.turn
        length = np.linalg.norm(whole, axis=1, keepdims=True)
        return whole / length + noise * rng.standard_normal(whole.shape) / self.width**0.5

    def block(self, number: int, rows: int) -> np.ndarray:
        return exact.normalise(self._draw(np.random.default_rng([1, number]), rows, 0.2))

    def photos(self, rows: int) -> np.ndarray:
        return exact.normalise(self._draw(np.random.default_rng(2), rows, 0.2))

    def texts(self, rows: int, tuning: bool) -> np.ndarray:
        drawn = self._draw(np.random.default_rng(3 + tuning), rows, 0.6)
        return exact.normalise(drawn + self.offset)


class Like:
    """The vectors of an index, over and over with noise."""

    def __init__(self, folder: str):
        self.name = f"those of {folder}, repeated with noise"
        with Index.open(folder, approximate=False) as index:
            self.base = np.concatenate([s.vectors[s.live_rows()] for s in index.segments])
            self.captions = np.concatenate([segment.texts for segment in index.segments])
        self.width = self.base.shape[1]

    def _draw(self, rng: np.random.Generator, rows: int) -> np.ndarray:
        chosen = self.base[rng.integers(0, len(self.base), rows)]
        return exact.normalise(chosen + 0.3 * rng.standard_normal(chosen.shape) / self.width**0.5)

    def block(self, number: int, rows: int) -> np.ndarray:
        return self._draw(np.random.default_rng([1, number]), rows)

    def photos(self, rows: int) -> np.ndarray:
        return self._draw(np.random.default_rng(2), rows)

    def texts(self, rows: int, tuning: bool) -> np.ndarray:
        return np.array(self.captions[int(tuning) :: 2][:rows])


def source(options):
    return Like(options.like) if options.like else Synthetic(options.width)


def blocks(options) -> Iterator[np.ndarray]:
    made = source(options)
    for number, start in enumerate(range(0, options.rows, BLOCK)):
        yield made.block(number, min(BLOCK, options.rows - start))


def build(options, folder: Path, told) -> None:
    """Everything `imagetext index build` does once the photos are encoded."""
    made = source(options)

    def rows() -> Iterator[Row]:
        number = 0
        for block in blocks(options):
            for vector in block:
                file = File(f"/photos/{number // 1000:04}/{number:07}.jpg", 100_000, 0)
                line = Entry((file,), (f"caption of photo {number}",)).line()
                yield Row(number.to_bytes(4) * 8, line, vector)
                number += 1

    began, cpu = time.perf_counter(), time.process_time()
    settings = IndexSettings(options.kind, recall=GOALS["recall"])
    with writing(folder):
        manifest = first_manifest(folder, "benchmark", made.width, "", settings)
        part = new_part(folder, manifest, rows(), made.texts(512, tuning=True))
        write_manifest(folder, manifest.next([part]))
    told.put(
        {
            "build_seconds": time.perf_counter() - began,
            "build_cpu_seconds": time.process_time() - cpu,
            "build_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
    )


def resident_mb(kind: str = "RssAnon") -> float:
    """Memory of this process that is no mapped file; by "RssFile", what there is of these."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) / 1024


def numpy_one(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    scores = vectors @ query
    near = np.argpartition(scores, -TOP)[-TOP:]
    return near[np.argsort(-scores[near])]


def numpy_many(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    return exact.search(vectors, queries, TOP)[1]


def milliseconds(call: Callable, queries: list, seconds: float) -> float:
    """Median over as many calls as fit, at least five."""
    times, began = [], time.perf_counter()
    for number in range(100_000):
        start = time.perf_counter()
        call(queries[number % len(queries)])
        times.append(time.perf_counter() - start)
        if number >= 4 and time.perf_counter() - began > seconds:
            break
    return 1000 * statistics.median(times)


def recall(index: Index, vectors: np.ndarray, queries: np.ndarray) -> float:
    """Of the ten best by an exact search, how many are found; equals count as one another."""
    tenth = exact.search(vectors, queries, TOP)[0][:, -1] - 1e-5
    found = index.search(queries, TOP)
    hits = [sum(hit.score >= least for hit in hits) for hits, least in zip(found, tenth)]  # noqa: B905
    return sum(hits) / (TOP * len(queries))


def measure(options, folder: Path) -> dict:
    before, mapped_before = resident_mb(), resident_mb("RssFile")
    start = time.perf_counter()
    index = Index.open(folder)
    result = {"open_ms": 1000 * (time.perf_counter() - start)}
    made = source(options)
    queries = {"photos": made.photos(options.queries)}
    texts = made.texts(options.queries, tuning=False)
    queries |= {"texts": texts} if len(texts) else {}  # an index of photos alone has none
    mixed = np.concatenate(list(queries.values()))
    mixed = mixed[np.random.default_rng(9).permutation(len(mixed))]
    index.search(mixed, TOP)
    result |= {"reader_mb": resident_mb() - before, "meta": index.meta}
    result["reader_mapped_mb"] = resident_mb("RssFile") - mapped_before
    result["near"] = [segment.facts["near"] for segment in index.segments]
    result["disk_mb"] = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6
    vectors = np.empty((options.rows, made.width), np.float32)
    result["exact_mb"] = vectors.nbytes / 2**20
    for number, block in enumerate(blocks(options)):
        vectors[number * BLOCK : number * BLOCK + len(block)] = block
    result["recall"] = {name: recall(index, vectors, some) for name, some in queries.items()}
    ones = list(mixed)
    together = min(TOGETHER, len(mixed))
    batches = [mixed[at : at + together] for at in range(0, len(mixed) - together + 1, together)]
    contenders = {
        "one": {
            "numpy": (lambda query: numpy_one(vectors, query), ones),
            "index": (lambda query: index.search(query[None], TOP), ones),
        },
        f"{together} at once": {
            "numpy": (lambda many: numpy_many(vectors, many), batches),
            "index": (lambda many: index.search(many, TOP), batches),
        },
    }
    flat = options.flat and import_faiss()
    if flat:
        whole = flat.IndexFlatIP(made.width)
        whole.add(vectors)
        contenders["one"]["FAISS exact"] = (lambda query: whole.search(query[None], TOP), ones)
    result["ms"] = {mode: {name: [] for name in each} for mode, each in contenders.items()}
    for _ in range(options.repeats):
        for mode, each in contenders.items():
            for name, (call, given) in each.items():
                taken = milliseconds(call, given, options.seconds)
                count = 1 if mode == "one" else together
                result["ms"][mode][name].append(taken / count)
    return result


def query_milliseconds(run: str) -> float:
    """From words to a vector, one query at a time, on this machine's CPU."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # read when TensorFlow is imported
    from imagetext.retrieval.predict import RetrievalModel

    encoder = RetrievalModel.load(run)
    words = "a dog in snow and two men who play football at night".split()  # noqa: SIM905
    sentences = [" ".join(words[at : at + 6]) for at in range(len(words) - 5)]
    for sentence in sentences:  # whatever is compiled by length is compiled now
        encoder.encode_texts([sentence])
    return milliseconds(lambda text: encoder.encode_texts([text]), sentences, 3)


def times_numpy(each: dict, name: str) -> float:
    """How many times as quick a contender is, by the median of the turns."""
    return statistics.median(a / b for a, b in zip(each["numpy"], each[name], strict=True))


def refuse_if_busy(load: float, anyway: bool) -> None:
    if load > MOST_LOAD and not anyway:
        raise SystemExit(
            f"load {load:.1f}: something else computes here, and the figures would be chance -- "
            f"wait until it is below {MOST_LOAD}, or add --busy: the load stands beside the figures"
        )


def table(result: dict) -> str:
    lines = ["| queries | contender | ms a query | times NumPy |", "|---|---|---|---|"]
    for mode, each in result["ms"].items():
        for name, taken in each.items():
            ratio = times_numpy(each, name)
            lines.append(f"| {mode} | {name} | {statistics.median(taken):.3f} | {ratio:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--kind", default="ivfpq", choices=KINDS, help="auto is exact while small")
    parser.add_argument("--like", help="an index whose vectors are repeated; else synthetic ones")
    parser.add_argument("--queries", type=int, default=1000, help="photos, and as many texts")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each contender and repeat")
    parser.add_argument("--flat", action="store_true", help="exact search by FAISS, too")
    parser.add_argument("--run", help="a retrieval run, whose embedding of a query is timed")
    parser.add_argument("--json", default="retrieval.json", help="where the figures go")
    parser.add_argument("--busy", action="store_true", help="measure on a busy machine as well")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    refuse_if_busy(load, options.busy)
    about = {
        "machine": f"{os.cpu_count()} cores of {platform.machine()}, load {load:.1f} before",
        "threads": THREADS,
        "numpy": np.__version__,
        "faiss": getattr(import_faiss(), "__version__", None),
        "rows": options.rows,
        "vectors": source(options).name,
        "width": source(options).width,
    }
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        spawned = multiprocessing.get_context("spawn")
        told = spawned.Queue()
        builder = spawned.Process(target=build, args=(options, index, told))
        builder.start()
        builder.join()
        if builder.exitcode:
            raise SystemExit("building failed")
        result = about | told.get() | measure(options, index)
    if options.run:
        result["query_ms"] = query_milliseconds(options.run)
    times = {mode: times_numpy(each, "index") for mode, each in result["ms"].items()}
    result |= {"times_exact": times["one"], "times_exact_by_queries": times}
    Path(options.json).parent.mkdir(parents=True, exist_ok=True)
    Path(options.json).write_text(json.dumps(result, indent=2) + "\n")
    print(
        f"{result['rows']:,} x {result['width']} vectors, {result['vectors']}; {about['machine']}"
    )
    print(f"kind {result['meta']['kind']}: {result['near']}")
    print(table(result))
    shown = ", ".join(f"{value:.3f} ({name})" for name, value in result["recall"].items())
    print(f"recall@{TOP}: {shown} -- goal {GOALS['recall']}")
    for mode, found in times.items():
        goal = f" -- goal {GOALS['times_exact']}" if mode == "one" else ""
        print(f"times exact NumPy, queries {mode}: {found:.1f}{goal}")
    print(
        f"built in {result['build_seconds']:.0f} s ({result['build_cpu_seconds']:.0f} s of CPU), "
        f"peak {result['build_peak_mb']:,.0f} MB with mapped files; {result['disk_mb']:,.0f} MB on "
        f"disk; opened in {result['open_ms']:.0f} ms, reader holds {result['reader_mb']:,.0f} MB "
        f"and has {result['reader_mapped_mb']:,.0f} MB of files mapped; exact search holds "
        f"{result['exact_mb']:,.0f} MB"
    )
    if options.run:
        print(f"embedding a query: {result['query_ms']:.1f} ms -- goal {GOALS['query_ms']}")


if __name__ == "__main__":
    main()
