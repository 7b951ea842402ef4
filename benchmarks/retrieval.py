"""An index of a million photos, compared with exact search in NumPy: recall, speed, memory, build.

    pip install -e '.[search]'
    python -m benchmarks.retrieval                                   # 1,000,000 x 256
    python -m benchmarks.retrieval --rows 100000 --run runs/best-1 --like flickr8k.index

The vectors are SYNTHETIC unless `--like` names an index: clusters of very unequal size around
random centres, in 64 dimensions of decreasing weight that are rotated into all dimensions, with a
little noise. Queries are new draws: "photos" from the same distribution, "texts" with more noise
and an offset, as captions lie apart from photos. With `--like` they are the vectors of real photos,
repeated with noise, and the texts are vectors of real captions, half of which were used for tuning.

The baseline is the obvious code: `scores = vectors @ query`, `np.argpartition`, sorted, with all
vectors in memory; for many queries at once, `queries @ vectors.T` in blocks. The index is measured
with all of `Index.search`: candidates, exact scores, paths and captions read from disk. Both take
turns in one process, and both may use every core: the BLAS of NumPy and FAISS have as many threads
as there are cores, unless OMP_NUM_THREADS is set. If other processes are running, these threads
wait for each other, those of NumPy most; so the benchmark refuses to run on a busy machine.

The index is built in a child process, whose peak memory is reported. The memory of the reader is
reported without mapped files, which the system may drop at any time, and the resident part of these
separately; the memory of exact search is reported as well.
"""

import json
import multiprocessing
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

#: NumPy and FAISS read their number of threads when they are imported.
THREADS = int(os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count())))
for _library in ("OPENBLAS", "MKL", "BLIS"):
    os.environ[f"{_library}_NUM_THREADS"] = str(THREADS)

import numpy as np  # noqa: E402

from benchmarks.common import make_parser  # noqa: E402
from imagetext.retrieval.index import exact  # noqa: E402
from imagetext.retrieval.index.approximate import KINDS, IndexSettings, import_faiss  # noqa: E402
from imagetext.retrieval.index.edits import first_manifest, new_part  # noqa: E402
from imagetext.retrieval.index.manifest import write_manifest, writing  # noqa: E402
from imagetext.retrieval.index.reader import Index  # noqa: E402
from imagetext.retrieval.index.segment import Entry, File, Row  # noqa: E402

BLOCK, TOP, BATCH = 1 << 16, 10, 64
#: Goals: recall, speed relative to exact search, and milliseconds to embed a query.
GOALS = {"recall": 0.95, "times_exact": 50, "query_ms": 30}
#: Highest load average of the last minute at which the benchmark runs.
MAX_LOAD = 0.5


class Synthetic:
    """Synthetic vectors, reproducible block by block."""

    name = "synthetic"

    def __init__(self, width: int):
        self.width, inner = width, min(64, width)
        rng = np.random.default_rng(0)
        self.centres = rng.standard_normal((5000, inner))
        self.scale = 1 / np.sqrt(1 + np.arange(inner))
        self.rotation = np.linalg.qr(rng.standard_normal((width, inner)))[0].T
        self.offset = 0.5 * exact.normalise(rng.standard_normal((1, width)))

    def _draw(self, rng: np.random.Generator, rows: int, noise: float) -> np.ndarray:
        # Cluster sizes fall as 1 / rank: a few are crowded, most are nearly empty.
        ranks = np.exp(rng.random(rows) * np.log(len(self.centres))).astype(np.int64)
        inner = self.centres[ranks - 1] + 0.6 * rng.standard_normal((rows, len(self.scale)))
        vectors = (inner * self.scale) @ self.rotation
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / length + noise * rng.standard_normal(vectors.shape) / self.width**0.5

    def block(self, number: int, rows: int) -> np.ndarray:
        return exact.normalise(self._draw(np.random.default_rng([1, number]), rows, 0.2))

    def photos(self, rows: int) -> np.ndarray:
        return exact.normalise(self._draw(np.random.default_rng(2), rows, 0.2))

    def texts(self, rows: int, tuning: bool) -> np.ndarray:
        drawn = self._draw(np.random.default_rng(3 + tuning), rows, 0.6)
        return exact.normalise(drawn + self.offset)


class FromIndex:
    """The vectors of an index, repeated with noise."""

    def __init__(self, folder: str):
        self.name = f"from {folder}, repeated with noise"
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


def open_source(options):
    return FromIndex(options.like) if options.like else Synthetic(options.width)


def iterate_blocks(options) -> Iterator[np.ndarray]:
    source = open_source(options)
    for number, start in enumerate(range(0, options.rows, BLOCK)):
        yield source.block(number, min(BLOCK, options.rows - start))


def build(options, folder: Path, results) -> None:
    """Do everything that `imagetext index build` does after encoding the photos."""
    source = open_source(options)

    def rows() -> Iterator[Row]:
        number = 0
        for block in iterate_blocks(options):
            for vector in block:
                file = File(f"/photos/{number // 1000:04}/{number:07}.jpg", 100_000, 0)
                line = Entry((file,), (f"caption of photo {number}",)).line()
                yield Row(number.to_bytes(4) * 8, line, vector)
                number += 1

    start, cpu = time.perf_counter(), time.process_time()
    settings = IndexSettings(options.kind, recall=GOALS["recall"])
    with writing(folder):
        manifest = first_manifest(folder, "benchmark", source.width, "", settings)
        part = new_part(folder, manifest, rows(), source.texts(512, tuning=True))
        write_manifest(folder, manifest.next([part]))
    results.put(
        {
            "build_seconds": time.perf_counter() - start,
            "build_cpu_seconds": time.process_time() - cpu,
            "build_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
    )


def resident_mb(kind: str = "RssAnon") -> float:
    """The memory of this process without mapped files, or with "RssFile" only these."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) / 1024


def numpy_one(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    scores = vectors @ query
    near = np.argpartition(scores, -TOP)[-TOP:]
    return near[np.argsort(-scores[near])]


def numpy_many(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    return exact.search(vectors, queries, TOP)[1]


def milliseconds(call: Callable, queries: list, seconds: float) -> float:
    """The median over as many calls as fit into `seconds`, and at least five."""
    times, begin = [], time.perf_counter()
    for number in range(100_000):
        start = time.perf_counter()
        call(queries[number % len(queries)])
        times.append(time.perf_counter() - start)
        if number >= 4 and time.perf_counter() - begin > seconds:
            break
    return 1000 * statistics.median(times)


def recall(index: Index, vectors: np.ndarray, queries: np.ndarray) -> float:
    """The share of the ten best photos by exact search that are found; ties are interchangeable."""
    tenth = exact.search(vectors, queries, TOP)[0][:, -1] - 1e-5
    results = index.search(queries, TOP)
    hits = [
        sum(photo.score >= lowest for photo in photos)
        for photos, lowest in zip(results, tenth, strict=True)
    ]
    return sum(hits) / (TOP * len(queries))


def measure(options, folder: Path) -> dict:
    before, mapped_before = resident_mb(), resident_mb("RssFile")
    start = time.perf_counter()
    index = Index.open(folder)
    result = {"open_ms": 1000 * (time.perf_counter() - start)}
    source = open_source(options)
    queries = {"photos": source.photos(options.queries)}
    texts = source.texts(options.queries, tuning=False)
    queries |= {"texts": texts} if len(texts) else {}  # an index may have no captions
    mixed = np.concatenate(list(queries.values()))
    mixed = mixed[np.random.default_rng(9).permutation(len(mixed))]
    index.search(mixed, TOP)
    result |= {"reader_mb": resident_mb() - before, "meta": index.meta}
    result["reader_mapped_mb"] = resident_mb("RssFile") - mapped_before
    result["near"] = [segment.facts["near"] for segment in index.segments]
    result["disk_mb"] = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6
    vectors = np.empty((options.rows, source.width), np.float32)
    result["exact_mb"] = vectors.nbytes / 2**20
    for number, block in enumerate(iterate_blocks(options)):
        vectors[number * BLOCK : number * BLOCK + len(block)] = block
    result["recall"] = {name: recall(index, vectors, some) for name, some in queries.items()}
    ones = list(mixed)
    batch_size = min(BATCH, len(mixed))
    batches = [
        mixed[at : at + batch_size] for at in range(0, len(mixed) - batch_size + 1, batch_size)
    ]
    contenders = {
        "one": {
            "numpy": (lambda query: numpy_one(vectors, query), ones),
            "index": (lambda query: index.search(query[None], TOP), ones),
        },
        f"{batch_size} at once": {
            "numpy": (lambda many: numpy_many(vectors, many), batches),
            "index": (lambda many: index.search(many, TOP), batches),
        },
    }
    flat = options.flat and import_faiss()
    if flat:
        exact_index = flat.IndexFlatIP(source.width)
        exact_index.add(vectors)
        contenders["one"]["FAISS exact"] = (
            lambda query: exact_index.search(query[None], TOP),
            ones,
        )
    result["ms"] = {mode: {name: [] for name in each} for mode, each in contenders.items()}
    for _ in range(options.repeats):
        for mode, each in contenders.items():
            for name, (call, arguments) in each.items():
                taken = milliseconds(call, arguments, options.seconds)
                count = 1 if mode == "one" else batch_size
                result["ms"][mode][name].append(taken / count)
    return result


def query_milliseconds(run: str) -> float:
    """The time to compute the vector of a query, one at a time, on the CPU."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # read when TensorFlow is imported
    from imagetext.retrieval.predict import RetrievalModel

    encoder = RetrievalModel.load(run)
    words = "a dog in snow and two men who play football at night".split()  # noqa: SIM905
    sentences = [" ".join(words[at : at + 6]) for at in range(len(words) - 5)]
    for sentence in sentences:  # trace the graphs for all lengths
        encoder.encode_texts([sentence])
    return milliseconds(lambda text: encoder.encode_texts([text]), sentences, 3)


def times_numpy(each: dict, name: str) -> float:
    """The speed of a contender relative to NumPy: the median over the repetitions."""
    return statistics.median(a / b for a, b in zip(each["numpy"], each[name], strict=True))


def refuse_if_busy(load: float, anyway: bool) -> None:
    if load > MAX_LOAD and not anyway:
        raise SystemExit(
            f"load {load:.1f}: the machine is busy, so the results would not be reliable; "
            f"wait until it is below {MAX_LOAD}, or add --busy: the load is part of the results"
        )


def format_table(result: dict) -> str:
    lines = [
        "| queries | contender | ms per query | speed relative to NumPy |",
        "|---|---|---|---|",
    ]
    for mode, each in result["ms"].items():
        for name, taken in each.items():
            ratio = times_numpy(each, name)
            lines.append(f"| {mode} | {name} | {statistics.median(taken):.3f} | {ratio:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="number of vectors")
    parser.add_argument("--width", type=int, default=256, help="of synthetic vectors")
    parser.add_argument(
        "--kind",
        default="ivfpq",
        choices=KINDS,
        help="kind of the index; auto is exact for small ones",
    )
    parser.add_argument("--like", help="an index whose vectors are used instead of synthetic ones")
    parser.add_argument("--queries", type=int, default=1000, help="number of photos, and of texts")
    parser.add_argument("--repeats", type=int, default=3, help="number of repetitions")
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="time for each contender and repetition"
    )
    parser.add_argument("--flat", action="store_true", help="also measure exact search with FAISS")
    parser.add_argument(
        "--run", help="a retrieval run, to measure how long it takes to embed a query"
    )
    parser.add_argument("--json", default="retrieval.json", help="file to write the results to")
    parser.add_argument("--busy", action="store_true", help="measure even if the machine is busy")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    refuse_if_busy(load, options.busy)
    about = {
        "machine": f"{os.cpu_count()} cores of {platform.machine()}, load {load:.1f} at start",
        "threads": THREADS,
        "numpy": np.__version__,
        "faiss": getattr(import_faiss(), "__version__", None),
        "rows": options.rows,
        "vectors": open_source(options).name,
        "width": open_source(options).width,
    }
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        context = multiprocessing.get_context("spawn")
        results = context.Queue()
        builder = context.Process(target=build, args=(options, index, results))
        builder.start()
        builder.join()
        if builder.exitcode:
            raise SystemExit("building the index failed")
        result = about | results.get() | measure(options, index)
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
    print(format_table(result))
    shown = ", ".join(f"{value:.3f} ({name})" for name, value in result["recall"].items())
    print(f"recall@{TOP}: {shown}; goal: {GOALS['recall']}")
    for mode, ratio in times.items():
        goal = f"; goal: {GOALS['times_exact']}" if mode == "one" else ""
        print(f"speed relative to exact search in NumPy, queries {mode}: {ratio:.1f}{goal}")
    print(
        f"built in {result['build_seconds']:.0f} s ({result['build_cpu_seconds']:.0f} s of CPU), "
        f"peak {result['build_peak_mb']:,.0f} MB with mapped files; {result['disk_mb']:,.0f} MB on "
        f"disk; opened in {result['open_ms']:.0f} ms; the reader uses {result['reader_mb']:,.0f} "
        f"MB and {result['reader_mapped_mb']:,.0f} MB of mapped files; exact search uses "
        f"{result['exact_mb']:,.0f} MB"
    )
    if options.run:
        print(f"embedding a query: {result['query_ms']:.1f} ms; goal: {GOALS['query_ms']}")


if __name__ == "__main__":
    main()
