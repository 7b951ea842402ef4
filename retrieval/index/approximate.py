"""Searching a part of the vectors only, by FAISS, as carefully as a measured recall demands.

    plan = choose(vectors, IndexSettings(), texts)     # None: search exactly
    plan.about["recall"], plan.write(file)
    searcher = Approximate.read(file, plan.about)
    scores, rows = searcher.best(vectors, queries, 10)

FAISS only names candidates, from codes of a few bytes a photo; their scores are computed anew from
the whole vectors, of which the rest is never read. So scores are exact, and what may be missing is
a photo that was no candidate: recall. How many lists and candidates are looked at is tuned on
queries held out of nothing but their own answer, until what is found of the ten best of an exact
search reaches the target by two standard errors, for photos as queries and for captions each.
"""

import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from imagetext.errors import UserError
from imagetext.retrieval.index import exact

KINDS = ("auto", "exact", "ivfpq", "hnsw")
NO_FAISS = "FAISS is not installed -- pip install -e '.[search]'"
#: Photos found are compared with the so many best.
AT = 10
QUERIES = 512
#: Candidates that are scored anew for each query.
DEPTHS = (64, 128, 256, 1024)
_ADDED = 1 << 16
#: Sooner than compare scores that two ways of adding up make differ in their last bits.
_EQUAL = 1e-5


@dataclass(frozen=True)
class IndexSettings:
    """How an index is searched; recorded in it, and kept as it grows.

    Args:
        kind: auto, or one of exact, ivfpq, hnsw at any size.
        exact_bytes: Vectors of up to so many bytes are searched exactly: at 256 numbers a photo
            262,144 photos, in some 30 ms.
        recall: Of the ten best that shall be found on average.
    """

    kind: str = "auto"
    exact_bytes: int = 1 << 28
    recall: float = 0.95

    def __post_init__(self):
        if self.kind not in KINDS:
            raise UserError(f"unknown kind of index {self.kind!r} -- one of {', '.join(KINDS)}")
        if not 0 < self.recall < 1:
            raise UserError(f"recall {self.recall} -- must lie between 0 and 1")


def faiss_or_none() -> ModuleType | None:
    with warnings.catch_warnings():
        # Python 3.12 deprecates how SWIG, which wraps FAISS, names its types.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            import faiss
        except ImportError:
            return None
    return faiss


class Approximate:
    """A FAISS index over the rows of one segment with how it is searched, `about`."""

    def __init__(self, index, about: dict):
        self.index, self.about = index, about

    @classmethod
    def read(cls, content: np.ndarray, about: dict) -> "Approximate":
        """The bytes of its file, uint8 [n]; they must be known to be whole."""
        try:
            return cls(faiss_or_none().deserialize_index(content), about)
        except RuntimeError as error:
            raise ValueError(f"FAISS cannot read it: {str(error).splitlines()[0]}") from error

    def write(self, file: Path) -> None:
        file.write_bytes(faiss_or_none().serialize_index(self.index).data)

    def best(
        self, vectors: np.ndarray, queries: np.ndarray, top: int, live: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `exact.best`, but a photo may be missing."""
        depth = max(self.about["depth"], 4 * top)
        if depth * 4 > len(vectors):  # so many candidates are hardly fewer than all
            return exact.best(vectors, queries, top, live)
        found = []
        for start in range(0, len(queries), 64):
            found.append(self._best(vectors, queries[start : start + 64], top, live, depth))
        scores, rows = (np.concatenate(part) for part in zip(*found, strict=True))
        return scores, rows

    def _best(self, vectors, queries, top, live, depth):
        queries = np.ascontiguousarray(queries, np.float32)
        _, rows = self.index.search(queries, depth, params=self._how())
        there = rows >= 0
        scores = np.empty(rows.shape, np.float32)
        for scored, query, near in zip(scores, queries, rows, strict=True):
            scored[:] = vectors[near] @ query
        if live is not None:
            there &= live[rows]
        scores[~there] = -np.inf
        scores, found = exact.in_order(scores, rows, top)
        # Where most of what is near was removed, too little is left of the candidates.
        count = there.sum(axis=1)
        lacking = (count < top) | (count < (rows >= 0).sum(axis=1) / 2)
        if lacking.any():
            scores[lacking], found[lacking] = exact.best(vectors, queries[lacking], top, live)
        return scores, found

    def _how(self):
        faiss = faiss_or_none()
        if self.about["kind"] == "hnsw":
            return faiss.SearchParametersHNSW(efSearch=self.about["effort"])
        return faiss.SearchParametersIVF(nprobe=self.about["effort"])


def choose(
    vectors: np.ndarray, settings: IndexSettings, texts: np.ndarray | None = None
) -> Approximate | None:
    """What finds enough of the best quickest; None to search exactly, as few vectors always are.

    `texts` [m, d] are vectors of captions: they lie apart from those of photos, and what finds the
    neighbours of photos may miss those of words.
    """
    if settings.kind == "exact" or len(vectors) < 4 * DEPTHS[0]:
        return None
    if settings.kind == "auto" and vectors.nbytes <= settings.exact_bytes:
        return None
    if faiss_or_none() is None:
        return None
    held_out = _HeldOut(vectors, texts)
    for kind in ("ivfpq", "hnsw") if settings.kind == "auto" else (settings.kind,):
        tuned = held_out.tune(BUILDERS[kind](vectors), kind, settings.recall)
        # Less is not worth a miss; who names a kind shall have it.
        worth = tuned.about["reached"] and tuned.about["times_exact"] >= 4
        if worth or settings.kind != "auto":
            return tuned
    return None


def _sample(vectors: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Row numbers int64 [at most count], in order."""
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(len(vectors), min(count, len(vectors)), replace=False))


def _build_ivfpq(vectors: np.ndarray):
    """Lists of photos around centres, and four bits for every two numbers of what a photo differs
    by from its centre."""
    faiss = faiss_or_none()
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
    return _filled(index, vectors)


def _build_hnsw(vectors: np.ndarray):
    """A graph of neighbours, over eight bits for every number of a photo."""
    faiss = faiss_or_none()
    kind, metric = faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    index = faiss.IndexHNSWSQ(vectors.shape[1], kind, 32, metric)
    index.hnsw.efConstruction = 80
    index.train(vectors[_sample(vectors, _ADDED, seed=0)])
    return _filled(index, vectors)


BUILDERS = {"ivfpq": _build_ivfpq, "hnsw": _build_hnsw}


def _filled(index, vectors: np.ndarray):
    for start in range(0, len(vectors), _ADDED):
        index.add(np.ascontiguousarray(vectors[start : start + _ADDED]))
    return index


class _HeldOut:
    """Queries with the scores of what an exact search finds for them."""

    def __init__(self, vectors: np.ndarray, texts: np.ndarray | None):
        self.vectors = vectors
        own = _sample(vectors, QUERIES, seed=1)
        self.groups = {"photos": (vectors[own], own)}
        if texts is not None and len(texts):
            chosen = texts[_sample(texts, QUERIES, seed=2)]
            self.groups["texts"] = (chosen, np.full(len(chosen), -1))
        began = time.perf_counter()
        self.tenth = {}
        for name, (queries, own) in self.groups.items():
            scores = self._without_own(exact.best(vectors, queries, AT + 1), own)
            self.tenth[name] = scores[:, -1:] if scores.size else scores
        self.exact_seconds = (time.perf_counter() - began) / self._count

    @property
    def _count(self) -> int:
        return sum(len(queries) for queries, _ in self.groups.values())

    def _without_own(self, found: tuple[np.ndarray, np.ndarray], own: np.ndarray) -> np.ndarray:
        """Scores [q, AT] of all but the photo that was the query."""
        scores, rows = found
        return -np.sort(-np.where(rows == own[:, None], -np.inf, scores), axis=1)[:, :AT]

    def measure(self, searcher: Approximate) -> tuple[dict, dict, float]:
        """Recall by kind of query, its standard error, and seconds a query."""
        recall, error = {}, {}
        began = time.perf_counter()
        for name, (queries, own) in self.groups.items():
            scores = self._without_own(searcher.best(self.vectors, queries, AT + 1), own)
            hit = (scores >= self.tenth[name] - _EQUAL).mean(axis=1)
            recall[name], error[name] = float(hit.mean()), float(hit.std() / len(hit) ** 0.5)
        return recall, error, (time.perf_counter() - began) / self._count

    def tune(self, index, kind: str, target: float) -> Approximate:
        """The quickest way to search that reaches the target; if none does, the most careful."""
        best = None
        for depth in DEPTHS:
            for effort in _efforts(index, kind, depth):
                if best and best.about["reached"] and effort >= best.about["effort"]:
                    break  # more candidates only pay if they save effort
                about = {"kind": kind, "effort": effort, "depth": depth, "target": target}
                searcher = Approximate(index, about)
                recall, error, seconds = self.measure(searcher)
                reached = all(recall[name] - 2 * error[name] >= target for name in recall)
                about |= {
                    "reached": reached,
                    "recall": {name: round(value, 4) for name, value in recall.items()},
                    "times_exact": round(self.exact_seconds / seconds, 1),
                }
                if best is None or _better(searcher, best):
                    best = searcher
                if reached:  # more effort takes longer
                    break
        return best


def _efforts(index, kind: str, depth: int) -> Iterator[int]:
    """Lists that are looked into, or nodes that are kept in mind."""
    if kind == "hnsw":
        yield from (max(depth, 2**power) for power in range(5, 11) if 2 * 2**power > depth)
        return
    effort = 1
    while effort <= max(1, index.nlist // 4):
        yield effort
        effort *= 2


def _better(one: Approximate, other: Approximate) -> bool:
    if one.about["reached"] != other.about["reached"]:
        return one.about["reached"]
    if one.about["reached"]:
        return one.about["times_exact"] > other.about["times_exact"]
    return min(one.about["recall"].values()) > min(other.about["recall"].values())
