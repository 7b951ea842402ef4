"""At which place the right one is found, from a matrix of similarities.

    ranks = ranks_of(similarities, owner, captions)   # [n, m] of photos and captions; int [m]; [m]
    ranks.of_photos                            # [m]: place of the photo, for each caption
    ranks.of_captions                          # [n]: place of the first own caption, for each photo

The standard protocol: every photo stands once, with all its captions. A caption searches among all
photos; a photo among all captions, and what counts is the first of its own. What two photos have
word for word is right for both: nobody could tell whose it is. Places count from 1, and what is
wrong but as similar as the right one stands before it: who says the same of all finds nothing.
"""

from collections.abc import Hashable, Sequence
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


def ranks_of(
    similarities: np.ndarray, owner: np.ndarray, captions: Sequence[Hashable] | None = None
) -> Ranks:
    """float [n, m], int [m], [m] -> the places. Every photo must have a caption. `captions` are
    what they say, or numbers that are the same where they say the same; else they all differ."""
    photos, count = similarities.shape
    owner = np.asarray(owner)
    if owner.shape != (count,) or set(np.unique(owner)) != set(range(photos)):
        raise ValueError("every caption needs its photo, and every photo a caption")
    if not np.isfinite(similarities).all():
        raise ValueError("similarities that are no numbers: the model has diverged")
    said = _numbered(range(count) if captions is None else captions)
    rows = max(1, _AT_ONCE // count)
    blocks = [(start, min(photos, start + rows)) for start in range(0, photos, rows)]
    nearest_photo = np.full(count, -np.inf, similarities.dtype)
    nearest_caption = np.full(photos, -np.inf, similarities.dtype)
    for start, end in blocks:
        right = _right(owner, said, start, end)
        known = np.where(right, similarities[start:end], -np.inf)
        nearest_photo = np.maximum(nearest_photo, known.max(axis=0))
        nearest_caption[start:end] = known.max(axis=1)
    of_photos, of_captions = np.ones(count, np.int64), np.ones(photos, np.int64)
    for start, end in blocks:
        block, wrong = similarities[start:end], ~_right(owner, said, start, end)
        of_photos += ((block >= nearest_photo) & wrong).sum(axis=0)
        before = (block >= nearest_caption[start:end, None]) & wrong
        of_captions[start:end] += before.sum(axis=1)
    return Ranks(of_photos, of_captions, owner)


def _numbered(captions: Sequence[Hashable]) -> np.ndarray:
    """The same number for the same, int [m]."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(caption, len(numbers)) for caption in captions])


def _right(owner: np.ndarray, said: np.ndarray, start: int, end: int) -> np.ndarray:
    """Whether each photo from `start` to `end` has a caption that says the same: bool [rows, m]."""
    has = np.zeros((end - start, said.max() + 1), bool)
    inside = (start <= owner) & (owner < end)
    has[owner[inside] - start, said[inside]] = True
    return has[:, said]


def mean_recall(
    similarities: np.ndarray, owner: np.ndarray, captions: Sequence[Hashable] | None = None
) -> float:
    """The mean of the six shares: found among the first 1, 5 and 10, in both directions."""
    return mean_recall_of(ranks_of(similarities, owner, captions))


def mean_recall_of(ranks: Ranks) -> float:
    shares = [(places <= k).mean() for places in (ranks.of_photos, ranks.of_captions) for k in AT]
    return float(np.mean(shares))
