"""Recall@k, median rank and mean reciprocal rank in both directions, with confidence intervals.

scores = score(compute_ranks(similarities, owner, captions))
scores["text_r1"].value, scores["text_r1"].low
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from imagetext.metrics.bootstrap import (
    RESAMPLES,
    SEED,
    Estimate,
    estimate_from_draws,
    resample_weights,
)
from imagetext.metrics.retrieval.ranks import AT, Ranks, compute_ranks

MEAN = "mean_recall"
#: The scorer of random similarities.
CHANCE = "chance"


def score(ranks: Ranks, resamples: int = RESAMPLES) -> dict[str, Estimate]:
    """Compute all metrics of one scorer.

    Args:
        ranks: The ranks of both directions.
        resamples: Number of bootstrap resamples. They draw photos together with their captions;
            the photos and captions that are searched stay the same.

    Returns:
        The metrics by name: "text_r1" and so on for searches by text, "photo_r1" and so on for
        searches by photo, and "mean_recall".
    """
    sides = {
        "text": (ranks.photo_ranks, ranks.owner),
        "photo": (ranks.caption_ranks, np.arange(len(ranks.caption_ranks))),
    }
    values: dict[str, float] = {}
    draws: dict[str, np.ndarray] = {}
    for side, (places, owner) in sides.items():
        once = np.ones((1, len(places)))
        values |= {name: float(v[0]) for name, v in _metrics(side, places, once)}
        drawn: dict[str, list[np.ndarray]] = {}
        for weights in resample_weights(owner, resamples, SEED):
            for name, chunk in _metrics(side, places, weights):
                drawn.setdefault(name, []).append(chunk)
        draws |= {name: np.concatenate(chunks) for name, chunks in drawn.items()}
    six = [f"{side}_r{k}" for side in sides for k in AT]
    values[MEAN] = float(np.mean([values[name] for name in six]))
    if draws:
        # Both directions draw the same photos: they share the seed and the number of photos.
        draws[MEAN] = np.mean([draws[name] for name in six], axis=0)
    return {name: estimate_from_draws(value, draws.get(name), "") for name, value in values.items()}


def _metrics(
    side: str, places: np.ndarray, weights: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Each metric of ranks [n] under weights [b, n]: [b]."""
    total = weights.sum(axis=1)
    for k in AT:
        yield f"{side}_r{k}", weights @ (places <= k) / total
    order = np.argsort(places, kind="stable")
    cumulative = weights[:, order].cumsum(axis=1)
    # The median of an even number of ranks is the mean of the two in the middle.
    low, high = (
        places[order][np.argmax(cumulative >= part[:, None], axis=1)]
        for part in (np.ceil(total / 2), np.floor(total / 2) + 1)
    )
    yield f"{side}_median", (low + high) / 2
    yield f"{side}_mrr", weights @ (1 / places) / total


def chance(photos: int, owner: np.ndarray) -> np.ndarray:
    """Random similarities, the baseline: float32 [n, m]."""
    return np.random.default_rng(SEED).random((photos, len(owner)), np.float32)


def score_all(
    similarities: Mapping[str, np.ndarray],
    owner: np.ndarray,
    captions: Sequence[str],
    resamples: int = RESAMPLES,
) -> tuple[dict[str, Ranks], dict[str, dict[str, Estimate]]]:
    """Ranks and metrics of several scorers, by name."""
    ranks = {name: compute_ranks(each, owner, captions) for name, each in similarities.items()}
    return ranks, {name: score(each, resamples) for name, each in ranks.items()}


def recall_curve(places: np.ndarray, most: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Recall@k for k = 1 .. `most`, from ranks [n]."""
    counts = np.bincount(np.minimum(places, most + 1), minlength=most + 2)[1 : most + 1]
    return np.arange(1, most + 1), counts.cumsum() / len(places)
