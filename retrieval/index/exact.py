"""The best rows for each query, exactly: what every quicker way is measured against.

    scores, rows = best(vectors, queries, 10)     # float32 [q, 10], int64 [q, 10], best first

Vectors may be a memory map larger than memory: they are read once for all queries, in blocks.
"""

from collections.abc import Sequence

import numpy as np

_BLOCK_BYTES, _QUERIES = 64 << 20, 256


def best(
    vectors: np.ndarray, queries: np.ndarray, top: int, live: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors [n, d], queries [q, d] -> inner products and rows, [q, min(top, n)] each.

    Rows that are not `live`, bool [n], are left out; -1 and -inf fill up where too few are.
    Equal scores are in the order of their rows.
    """
    chunks = range(0, len(queries), _QUERIES)
    found = [_best(vectors, queries[start : start + _QUERIES], top, live) for start in chunks]
    if not found:
        width = min(top, len(vectors))
        return np.empty((0, width), np.float32), np.empty((0, width), np.int64)
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))


def _best(vectors, queries, top, live):
    top = min(top, len(vectors))
    scores = np.full((len(queries), 0), -np.inf, np.float32)
    rows = np.full((len(queries), 0), -1, np.int64)
    step = max(1, _BLOCK_BYTES // (4 * vectors.shape[1]))
    for start in range(0, len(vectors), step):
        block = queries @ np.asarray(vectors[start : start + step]).T
        if live is not None:
            block[:, ~live[start : start + step]] = -np.inf
        chosen = _highest(block, top)
        scores = np.concatenate([scores, np.take_along_axis(block, chosen, 1)], axis=1)
        rows = np.concatenate([rows, chosen + start], axis=1)
    return in_order(scores, rows, top)


def _highest(scores: np.ndarray, top: int) -> np.ndarray:
    """Columns of the `top` highest of each row, in no order."""
    if scores.shape[1] <= top:
        return np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    return np.argpartition(scores, -top, axis=1)[:, -top:]


def in_order(scores: np.ndarray, rows: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """The `top` best of [q, k] scores with their rows, best first; -1 for a row at -inf."""
    order = np.lexsort((rows, -scores), axis=1)[:, :top]
    scores, rows = np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)
    return scores, np.where(np.isneginf(scores), -1, rows)


def unit(vectors: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """[n, d] at length one, float32; ValueError for zero, NaN and infinity."""
    vectors = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if not np.isfinite(lengths).all() or (lengths < 1e-12).any():
        raise ValueError("a vector is zero, NaN or infinite")
    return vectors / lengths
