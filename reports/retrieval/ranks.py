"""At which place the right one is found, from a matrix of similarities.

    ranks = ranks_of(similarities, owner)      # [n, m] of photos and captions; owner int [m]
    ranks.of_photos                            # [m]: place of the photo, for each caption
    ranks.of_captions                          # [n]: place of the first own caption, for each photo

The standard protocol: every photo stands once, with all its captions. A caption searches among all
photos; a photo among all captions, and what counts is the first of its own. Places count from 1,
and what is as similar as the right one stands before it: who says the same of all finds nothing.
"""

from dataclasses import dataclass

import numpy as np

AT = (1, 5, 10)
#: Similarities that are compared at once.
_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Ranks:
    """Places of the right ones; `owner` [m] says which photo a caption is of."""

    of_photos: np.ndarray  # int [m]
    of_captions: np.ndarray  # int [n]
    owner: np.ndarray  # int [m]


def ranks_of(similarities: np.ndarray, owner: np.ndarray) -> Ranks:
    """float [n, m], int [m] -> the places. Every photo must have a caption."""
    photos, captions = similarities.shape
    owner = np.asarray(owner)
    if owner.shape != (captions,) or set(np.unique(owner)) != set(range(photos)):
        raise ValueError("every caption needs its photo, and every photo a caption")
    if not np.isfinite(similarities).all():
        raise ValueError("similarities that are no numbers: the model has diverged")
    right = similarities[owner, np.arange(captions)]  # of each caption with its photo
    best = np.full(photos, -np.inf, similarities.dtype)
    np.maximum.at(best, owner, right)
    of_photos, of_captions = np.zeros(captions, np.int64), np.zeros(photos, np.int64)
    rows = max(1, _AT_ONCE // captions)
    for start in range(0, photos, rows):
        block = similarities[start : start + rows]
        of_photos += (block >= right).sum(axis=0)  # the right photo itself included
        before = block >= best[start : start + rows, None]
        own = owner == np.arange(start, start + len(block))[:, None]
        of_captions[start : start + rows] = 1 + (before & ~own).sum(axis=1)
    return Ranks(of_photos, of_captions, owner)


def mean_recall(similarities: np.ndarray, owner: np.ndarray) -> float:
    """The mean of the six shares: found among the first 1, 5 and 10, in both directions."""
    ranks = ranks_of(similarities, owner)
    shares = [(places <= k).mean() for places in (ranks.of_photos, ranks.of_captions) for k in AT]
    return float(np.mean(shares))
