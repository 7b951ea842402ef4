"""Exact nearest-neighbour search, which all faster methods are measured against.

    scores, rows = search(vectors, queries, 10)     # float32 [q, 10], int64 [q, 10], best first

The vectors may be a memory map larger than memory: they are read once, in blocks, for all queries.
"""

from collections.abc import Sequence

import numpy as np

_BLOCK_BYTES, _QUERIES = 64 << 20, 256


def search(
    vectors: np.ndarray, queries: np.ndarray, top: int, live: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Find the rows with the largest inner products.

    Args:
        vectors: float32 [n, d].
        queries: float32 [q, d].
        top: Number of results for each query.
        live: bool [n], the rows that may be found; all by default.

    Returns:
        Scores and rows, [q, min(top, n)] each, best first; equal scores in the order of their
        rows. Where there are too few live rows, scores are -inf and rows -1.
    """
    chunks = range(0, len(queries), _QUERIES)
    results = [_search(vectors, queries[start : start + _QUERIES], top, live) for start in chunks]
    if not results:
        width = min(top, len(vectors))
        return np.empty((0, width), np.float32), np.empty((0, width), np.int64)
    scores, rows = zip(*results, strict=True)
    return np.concatenate(scores), np.concatenate(rows)


def _search(
    vectors: np.ndarray, queries: np.ndarray, top: int, live: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    top = min(top, len(vectors))
    scores = np.full((len(queries), 0), -np.inf, np.float32)
    rows = np.full((len(queries), 0), -1, np.int64)
    step = max(1, _BLOCK_BYTES // (4 * vectors.shape[1]))
    for start in range(0, len(vectors), step):
        block = queries @ np.asarray(vectors[start : start + step]).T
        if live is not None:
            block[:, ~live[start : start + step]] = -np.inf
        columns = _top_columns(block, top)
        scores = np.concatenate([scores, np.take_along_axis(block, columns, 1)], axis=1)
        rows = np.concatenate([rows, columns + start], axis=1)
    return sort_results(scores, rows, top)


def _top_columns(scores: np.ndarray, top: int) -> np.ndarray:
    """Columns of the `top` highest scores of each row, in any order."""
    if scores.shape[1] <= top:
        return np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    return np.argpartition(scores, -top, axis=1)[:, -top:]


def sort_results(scores: np.ndarray, rows: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """The `top` best of scores [q, k] and their rows, best first; row -1 for -inf."""
    order = np.lexsort((rows, -scores), axis=1)[:, :top]
    scores, rows = np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)
    return scores, np.where(np.isneginf(scores), -1, rows)


def normalise(vectors: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Scale vectors [n, d] to length 1, float32; ValueError for zero, NaN or infinity."""
    vectors = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if not np.isfinite(lengths).all() or (lengths < 1e-12).any():
        raise ValueError("a vector is zero, NaN or infinite")
    return vectors / lengths
