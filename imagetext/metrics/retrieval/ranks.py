"""Ranks of the correct results, from a matrix of similarities.

    ranks = compute_ranks(similarities, owner, captions)   # [n, m] photos by captions; int [m]; [m]
    ranks.photo_ranks                  # [m]: rank of the photo, for each caption
    ranks.caption_ranks                # [n]: rank of the first of its captions, for each photo
    ranks.mean_recall

The standard protocol: every photo occurs once, with all its captions. A caption searches among all
photos; a photo searches among all captions, and the first of its own counts. A caption that two
photos share word for word is correct for both. Ranks start at 1, and a wrong result with the same
similarity as the correct one ranks before it: a model that scores everything alike finds nothing.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

#: The k of recall@k.
AT = (1, 5, 10)
#: Similarities that are compared at a time.
_BLOCK = 4_000_000


@dataclass(frozen=True)
class Ranks:
    """Ranks of the correct results in both directions.

    Args:
        photo_ranks: Rank of the correct photo for each caption, int [m].
        caption_ranks: Rank of the first correct caption for each photo, int [n].
        owner: The photo that each caption belongs to, int [m].
    """

    photo_ranks: np.ndarray
    caption_ranks: np.ndarray
    owner: np.ndarray

    @property
    def mean_recall(self) -> float:
        """The mean of recall@1, @5 and @10 in both directions."""
        each = (self.photo_ranks, self.caption_ranks)
        return float(np.mean([(ranks <= k).mean() for ranks in each for k in AT]))


def compute_ranks(
    similarities: np.ndarray, owner: np.ndarray, captions: Sequence[Hashable] | None = None
) -> Ranks:
    """Rank the photos for every caption and the captions for every photo.

    Args:
        similarities: float [n, m], n photos by m captions.
        owner: int [m], the photo that each caption belongs to; every photo has a caption.
        captions: The texts, or any values that are equal where the texts are; by default all
            captions differ.

    Returns:
        The ranks, as `Ranks`.
    """
    photos, count = similarities.shape
    owner = np.asarray(owner)
    if owner.shape != (count,) or set(np.unique(owner)) != set(range(photos)):
        raise ValueError("every caption needs a photo, and every photo a caption")
    if not np.isfinite(similarities).all():
        raise ValueError("similarities must be finite: the model has diverged")
    texts = _number_equal(range(count) if captions is None else captions)
    rows = max(1, _BLOCK // count)
    blocks = [(start, min(photos, start + rows)) for start in range(0, photos, rows)]
    best_photo = np.full(count, -np.inf, similarities.dtype)
    best_caption = np.full(photos, -np.inf, similarities.dtype)
    for start, end in blocks:
        correct = _find_correct(owner, texts, start, end)
        scores = np.where(correct, similarities[start:end], -np.inf)
        best_photo = np.maximum(best_photo, scores.max(axis=0))
        best_caption[start:end] = scores.max(axis=1)
    photo_ranks, caption_ranks = np.ones(count, np.int64), np.ones(photos, np.int64)
    for start, end in blocks:
        block, wrong = similarities[start:end], ~_find_correct(owner, texts, start, end)
        photo_ranks += ((block >= best_photo) & wrong).sum(axis=0)
        before = (block >= best_caption[start:end, None]) & wrong
        caption_ranks[start:end] += before.sum(axis=1)
    return Ranks(photo_ranks, caption_ranks, owner)


def _number_equal(captions: Sequence[Hashable]) -> np.ndarray:
    """The same number for equal captions, int [m]."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(caption, len(numbers)) for caption in captions])


def _find_correct(owner: np.ndarray, texts: np.ndarray, start: int, end: int) -> np.ndarray:
    """Whether each photo from `start` to `end` has a caption of this text: bool [rows, m]."""
    has_text = np.zeros((end - start, texts.max() + 1), bool)
    inside = (start <= owner) & (owner < end)
    has_text[owner[inside] - start, texts[inside]] = True
    return has_text[:, texts]


def mean_recall(
    similarities: np.ndarray, owner: np.ndarray, captions: Sequence[Hashable] | None = None
) -> float:
    """The mean of recall@1, @5 and @10 in both directions; arguments as in `compute_ranks`."""
    return compute_ranks(similarities, owner, captions).mean_recall
