"""Approximate search with FAISS, tuned to a measured recall.

    plan = choose_search(vectors, IndexSettings(), texts)     # None: search exactly
    plan.about["recall"], plan.write(file)
    approximate = ApproximateSearch.read(content, plan.about)
    scores, rows = approximate.search(vectors, queries, 10)

FAISS only proposes candidates, from codes of a few bytes a photo; they are scored exactly with the
full vectors, and the rest is never read. So scores are exact, but a photo may be missing that was
not a candidate. The number of lists and candidates is tuned on held-out queries until recall@10
against an exact search reaches the target by two standard errors, for photos and for captions.
"""

import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from imagetext.errors import UserError
from imagetext.retrieval.index import exact

KINDS = ("auto", "exact", "ivfpq", "hnsw")
NO_FAISS = "FAISS is not installed: pip install 'imagetext[search]'"
#: Recall is measured on this many best results.
AT = 10
#: Held-out queries of each kind.
QUERIES = 512
#: Numbers of candidates that are tried.
DEPTHS = (64, 128, 256, 1024)
#: Vectors that FAISS is given at a time.
_BATCH = 1 << 16
#: Queries that FAISS is given at a time.
_QUERIES_PER_BATCH = 64
#: Scores may differ in their last bits by the order of summation.
_EQUAL = 1e-5


@dataclass(frozen=True)
class IndexSettings:
    """How an index is searched; recorded in the index and kept as it grows.

    Args:
        kind: auto, or one of exact, ivfpq, hnsw at any size.
        exact_bytes: Vectors of up to this many bytes are searched exactly: with a width of 256,
            262,144 photos in about 30 ms.
        recall: The recall@10 to reach.
    """

    kind: str = "auto"
    exact_bytes: int = 1 << 28
    recall: float = 0.95

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"kind: expected one of {', '.join(KINDS)}, got {self.kind!r}")
        if not 0 < self.recall < 1:
            raise UserError(f"recall: must be between 0 and 1, got {self.recall}")


def import_faiss() -> ModuleType | None:
    """The faiss module, or None if it is not installed."""
    with warnings.catch_warnings():
        # Python 3.12 deprecates how SWIG, which wraps FAISS, names its types.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            import faiss
        except ImportError:
            return None
    return faiss


class ApproximateSearch:
    """A FAISS index over the rows of one segment.

    Args:
        index: The FAISS index.
        about: How it is searched, and the recall that was measured.
    """

    def __init__(self, index: Any, about: dict[str, Any]):
        self.index, self.about = index, about

    @classmethod
    def read(cls, content: np.ndarray, about: dict[str, Any]) -> "ApproximateSearch":
        """Read it from the bytes of its file, uint8 [n], whose hash has been checked."""
        try:
            return cls(_faiss().deserialize_index(content), about)
        except RuntimeError as error:
            raise ValueError(f"FAISS cannot read it: {str(error).splitlines()[0]}") from error

    def write(self, file: Path) -> None:
        file.write_bytes(_faiss().serialize_index(self.index).data)

    def search(
        self, vectors: np.ndarray, queries: np.ndarray, top: int, live: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Like `exact.search`, but results may be missing."""
        depth = max(self.about["depth"], 4 * top)
        if depth * 4 > len(vectors):  # almost as many candidates as rows
            return exact.search(vectors, queries, top, live)
        results = [
            self._search(vectors, queries[start : start + _QUERIES_PER_BATCH], top, live, depth)
            for start in range(0, len(queries), _QUERIES_PER_BATCH)
        ]
        scores, rows = zip(*results, strict=True)
        return np.concatenate(scores), np.concatenate(rows)

    def _search(
        self,
        vectors: np.ndarray,
        queries: np.ndarray,
        top: int,
        live: np.ndarray | None,
        depth: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        queries = np.ascontiguousarray(queries, np.float32)
        _, candidates = self.index.search(queries, depth, params=self._parameters())
        valid = candidates >= 0
        scores = np.empty(candidates.shape, np.float32)
        for row_scores, query, near in zip(scores, queries, candidates, strict=True):
            row_scores[:] = vectors[near] @ query
        if live is not None:
            valid &= live[candidates]
        scores[~valid] = -np.inf
        scores, rows = exact.sort_results(scores, candidates, top)
        # Search exactly where most candidates have been removed from the index.
        count = valid.sum(axis=1)
        lacking = (count < top) | (count < (candidates >= 0).sum(axis=1) / 2)
        if lacking.any():
            scores[lacking], rows[lacking] = exact.search(vectors, queries[lacking], top, live)
        return scores, rows

    def _parameters(self) -> Any:
        if self.about["kind"] == "hnsw":
            return _faiss().SearchParametersHNSW(efSearch=self.about["effort"])
        return _faiss().SearchParametersIVF(nprobe=self.about["effort"])


def choose_search(
    vectors: np.ndarray, settings: IndexSettings, texts: np.ndarray | None = None
) -> ApproximateSearch | None:
    """Choose the fastest search that reaches the target recall.

    Args:
        vectors: Vectors of photos, float32 [n, d].
        settings: The kind of search and the target.
        texts: Vectors of captions [m, d]. They lie apart from those of photos, so a search that
            finds the neighbours of photos may miss those of captions.

    Returns:
        The approximate search, or None to search exactly, as always for few vectors.
    """
    if settings.kind == "exact" or len(vectors) < 4 * DEPTHS[0]:
        return None
    if settings.kind == "auto" and vectors.nbytes <= settings.exact_bytes:
        return None
    if import_faiss() is None:
        return None
    trial = _Trial(vectors, texts)
    for kind in ("ivfpq", "hnsw") if settings.kind == "auto" else (settings.kind,):
        tuned = trial.tune(BUILDERS[kind](vectors), kind, settings.recall)
        # A smaller gain is not worth missing results, unless the kind was asked for.
        worthwhile = tuned.about["reached"] and tuned.about["times_exact"] >= 4
        if worthwhile or settings.kind != "auto":
            return tuned
    return None


def _faiss() -> Any:
    return import_faiss()


def _sample(vectors: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Row numbers int64 [at most count], in order."""
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(len(vectors), min(count, len(vectors)), replace=False))


def _build_ivfpq(vectors: np.ndarray) -> Any:
    """Lists of photos around centres; four bits for every two numbers of the difference between a
    photo and its centre."""
    faiss = _faiss()
    rows, width = vectors.shape
    lists = 2 ** round(np.log2(4 * rows**0.5)) if rows >= 1024 else max(1, rows // 32)
    numbers = 1 if width % 2 else 2
    centres = faiss.IndexFlatIP(width)
    metric = faiss.METRIC_INNER_PRODUCT
    index = faiss.IndexIVFPQFastScan(centres, width, lists, width // numbers, 4, metric)
    centres.this.disown()
    index.own_fields, index.by_residual = True, True
    index.cp.niter, index.cp.seed = 10, 0
    index.cp.min_points_per_centroid = 1
    index.train(vectors[_sample(vectors, 64 * lists, seed=0)])
    return _add_all(index, vectors)


def _build_hnsw(vectors: np.ndarray) -> Any:
    """A graph of neighbours, with eight bits for every number of a photo."""
    faiss = _faiss()
    kind, metric = faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    index = faiss.IndexHNSWSQ(vectors.shape[1], kind, 32, metric)
    index.hnsw.efConstruction = 80
    index.train(vectors[_sample(vectors, _BATCH, seed=0)])
    return _add_all(index, vectors)


BUILDERS = {"ivfpq": _build_ivfpq, "hnsw": _build_hnsw}


def _add_all(index: Any, vectors: np.ndarray) -> Any:
    for start in range(0, len(vectors), _BATCH):
        index.add(np.ascontiguousarray(vectors[start : start + _BATCH]))
    return index


class _Trial:
    """Held-out queries, with the scores of their exact results."""

    def __init__(self, vectors: np.ndarray, texts: np.ndarray | None):
        self.vectors = vectors
        rows = _sample(vectors, QUERIES, seed=1)
        #: Queries of each kind, and the row that each query is itself (-1 for none).
        self.groups = {"photos": (vectors[rows], rows)}
        if texts is not None and len(texts):
            sample = texts[_sample(texts, QUERIES, seed=2)]
            self.groups["texts"] = (sample, np.full(len(sample), -1))
        start = time.perf_counter()
        #: The lowest score among the best results of each query.
        self.thresholds = {}
        for name, (queries, rows) in self.groups.items():
            scores = self._without_self(exact.search(vectors, queries, AT + 1), rows)
            self.thresholds[name] = scores[:, -1:] if scores.size else scores
        self.exact_seconds = (time.perf_counter() - start) / self._count

    @property
    def _count(self) -> int:
        return sum(len(queries) for queries, _ in self.groups.values())

    def _without_self(
        self, results: tuple[np.ndarray, np.ndarray], own_rows: np.ndarray
    ) -> np.ndarray:
        """Scores [q, AT] of all results but the photo that was the query."""
        scores, rows = results
        return -np.sort(-np.where(rows == own_rows[:, None], -np.inf, scores), axis=1)[:, :AT]

    def measure(
        self, approximate: ApproximateSearch
    ) -> tuple[dict[str, float], dict[str, float], float]:
        """Recall by kind of query, its standard error, and seconds a query."""
        recall, error = {}, {}
        start = time.perf_counter()
        for name, (queries, rows) in self.groups.items():
            results = approximate.search(self.vectors, queries, AT + 1)
            scores = self._without_self(results, rows)
            hits = (scores >= self.thresholds[name] - _EQUAL).mean(axis=1)
            recall[name], error[name] = float(hits.mean()), float(hits.std() / len(hits) ** 0.5)
        return recall, error, (time.perf_counter() - start) / self._count

    def tune(self, index: Any, kind: str, target: float) -> ApproximateSearch:
        """The fastest search that reaches the target, or the one with the highest recall."""
        best: ApproximateSearch | None = None
        for depth in DEPTHS:
            for effort in _efforts(index, kind, depth):
                if best and best.about["reached"] and effort >= best.about["effort"]:
                    break  # more candidates are only worth it with less effort
                about = {"kind": kind, "effort": effort, "depth": depth, "target": target}
                approximate = ApproximateSearch(index, about)
                recall, error, seconds = self.measure(approximate)
                reached = all(recall[name] - 2 * error[name] >= target for name in recall)
                about |= {
                    "reached": reached,
                    "recall": {name: round(value, 4) for name, value in recall.items()},
                    "times_exact": round(self.exact_seconds / seconds, 1),
                }
                if best is None or _is_better(approximate, best):
                    best = approximate
                if reached:  # more effort takes longer
                    break
        assert best is not None
        return best


def _efforts(index: Any, kind: str, depth: int) -> Iterator[int]:
    """Numbers of lists to probe, or of nodes to remember."""
    if kind == "hnsw":
        yield from (max(depth, 2**power) for power in range(5, 11) if 2 * 2**power > depth)
        return
    effort = 1
    while effort <= max(1, index.nlist // 4):
        yield effort
        effort *= 2


def _is_better(first: ApproximateSearch, second: ApproximateSearch) -> bool:
    if first.about["reached"] != second.about["reached"]:
        return first.about["reached"]
    if first.about["reached"]:
        return first.about["times_exact"] > second.about["times_exact"]
    return min(first.about["recall"].values()) > min(second.about["recall"].values())
