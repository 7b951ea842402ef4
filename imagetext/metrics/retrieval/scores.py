"""Recall, median rank and mean reciprocal rank, both directions, each with its interval.

measured = score(ranks_of(similarities, owner, captions))
measured["text_r1"].value, measured["text_r1"].low
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from imagetext.metrics.matching import RESAMPLES, Measured, measured_by_draws, resampled_weights
from imagetext.metrics.retrieval.ranks import AT, Ranks, ranks_of
from imagetext.reports.report import SEED

MEAN = "mean_recall"
#: The scorer that knows nothing.
CHANCE = "chance"


def score(ranks: Ranks, resamples: int = RESAMPLES) -> dict[str, Measured]:
    """All figures by name: of searches by text "text_r1", ..., by photo "photo_r1", ...

    The bootstrap draws photos with all their captions; what is searched stays as it is.
    """
    sides = {
        "text": (ranks.of_photos, ranks.owner),
        "photo": (ranks.of_captions, np.arange(len(ranks.of_captions))),
    }
    values: dict[str, float] = {}
    draws: dict[str, np.ndarray] = {}
    for side, (places, owner) in sides.items():
        once = np.ones((1, len(places)))
        values |= {name: float(v[0]) for name, v in _figures(side, places, once)}
        drawn: dict[str, list] = {}
        for weights in resampled_weights(owner, resamples, SEED):
            for name, found in _figures(side, places, weights):
                drawn.setdefault(name, []).append(found)
        draws |= {name: np.concatenate(found) for name, found in drawn.items()}
    six = [f"{side}_r{k}" for side in sides for k in AT]
    values[MEAN] = float(np.mean([values[name] for name in six]))
    if draws:
        # The same photos are drawn for both directions: the same seed, and as many photos.
        draws[MEAN] = np.mean([draws[name] for name in six], axis=0)
    return {name: measured_by_draws(value, draws.get(name), "") for name, value in values.items()}


def _figures(
    side: str, places: np.ndarray, weights: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Each figure of places [n] under weights [b, n]: [b]."""
    total = weights.sum(axis=1)
    for k in AT:
        yield f"{side}_r{k}", weights @ (places <= k) / total
    order = np.argsort(places, kind="stable")
    reached = weights[:, order].cumsum(axis=1)
    # Of an even number the median is between two.
    low, high = (
        places[order][np.argmax(reached >= part[:, None], axis=1)]
        for part in (np.ceil(total / 2), np.floor(total / 2) + 1)
    )
    yield f"{side}_median", (low + high) / 2
    yield f"{side}_mrr", weights @ (1 / places) / total


def chance(photos: int, owner: np.ndarray) -> np.ndarray:
    """Similarities of one who knows nothing: float32 [n, m]."""
    return np.random.default_rng(SEED).random((photos, len(owner)), np.float32)


def score_all(
    similarities: Mapping[str, np.ndarray],
    owner: np.ndarray,
    captions: Sequence[str],
    resamples: int = RESAMPLES,
) -> tuple[dict[str, Ranks], dict[str, dict[str, Measured]]]:
    """Ranks and figures of several scorers by name."""
    ranks = {name: ranks_of(found, owner, captions) for name, found in similarities.items()}
    return ranks, {name: score(found, resamples) for name, found in ranks.items()}


def recall_curve(places: np.ndarray, most: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Share found among the first k, for k = 1 .. `most`."""
    counts = np.bincount(np.minimum(places, most + 1), minlength=most + 2)[1 : most + 1]
    return np.arange(1, most + 1), counts.cumsum() / len(places)
