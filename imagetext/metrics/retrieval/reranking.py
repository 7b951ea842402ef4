"""Re-ranking: the first candidates of every search, reordered by a model that scores pairs.

    candidates = Candidates.select(similarities, top=50)
    log_odds = matcher.log_odds(photos, captions, candidates.pairs)
    blend, _ = choose_blend(similarities, candidates, log_odds, owner, captions)          # on dev
    ranks = compute_reranked_ranks(similarities, candidates, log_odds, blend, owner, captions)

The candidates of a search are ordered by a weighted sum of similarity and log odds; everything else
follows in its previous order. Only the order within a search counts, so the two need a common scale
just for the sum: each is divided by its standard deviation over all candidates.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from imagetext.metrics.retrieval.ranks import Ranks, compute_ranks

#: Candidates of each search.
TOP = 50
#: Shares of the log odds that are tried: 0 keeps the order, 1 orders by the log odds alone.
SHARES = tuple(tenth / 10 for tenth in range(11))


@dataclass(frozen=True)
class PairMatcher:
    """A model that scores how well a photo and a caption match, pair by pair.

    Args:
        name: What reports call it.
        digest: Identifies its weights.
        log_odds: Takes photos (paths) [n], captions [m] and pairs int [p, 2] of their indices;
            returns float [p].
        training_photos: Takes photos (paths); returns which of them, or copies of them, the matcher
            was trained on ("train") and which chose its settings ("dev").
    """

    name: str
    digest: str
    log_odds: Callable[[Sequence[str], Sequence[str], np.ndarray], np.ndarray]
    training_photos: Callable[[Sequence[str]], dict[str, set[str]]]


@dataclass(frozen=True)
class Blend:
    """How similarity and log odds are added.

    Args:
        share: Weight of the log odds; the similarity has 1 - share.
        similarity_spread: Standard deviation of the similarities.
        odds_spread: Standard deviation of the log odds.
    """

    share: float
    similarity_spread: float
    odds_spread: float

    def combine(self, similarities: np.ndarray, log_odds: np.ndarray) -> np.ndarray:
        """Add two arrays of the same shape, in float64."""
        similarities, log_odds = (each.astype(np.float64) for each in (similarities, log_odds))
        weight = (1 - self.share) / self.similarity_spread
        return weight * similarities + self.share / self.odds_spread * log_odds

    def with_share(self, share: float) -> "Blend":
        return Blend(share, self.similarity_spread, self.odds_spread)

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True)
class Candidates:
    """The first results of every search.

    Args:
        photos: The best photos of each caption, int [m, k].
        captions: The best captions of each photo, int [n, k].
        pairs: All these pairs of a photo and a caption, each once, int [p, 2].
    """

    photos: np.ndarray
    captions: np.ndarray
    pairs: np.ndarray

    @classmethod
    def select(cls, similarities: np.ndarray, top: int = TOP) -> "Candidates":
        """The `top` first results by similarities [n, m], or all if there are fewer."""
        photos, captions = top_indices(similarities.T, top), top_indices(similarities, top)
        is_pair = np.zeros(similarities.shape, bool)
        np.put_along_axis(is_pair, captions, True, axis=1)
        np.put_along_axis(is_pair.T, photos, True, axis=1)
        return cls(photos, captions, np.argwhere(is_pair))

    def to_matrix(self, log_odds: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Log odds of the pairs [p] -> float32 [n, m], with zeros for all other pairs."""
        matrix = np.zeros(shape, np.float32)
        matrix[tuple(self.pairs.T)] = log_odds
        return matrix


def top_indices(similarities: np.ndarray, top: int) -> np.ndarray:
    """Indices of the `top` largest values of each row [q, n], in any order: int [q, k]."""
    top = min(top, similarities.shape[1])
    return np.argpartition(-similarities, top - 1, axis=1)[:, :top]


def reorder(similarities: np.ndarray, candidates: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Put the candidates of each search first, ordered by their new scores.

    Args:
        similarities: [q, n], a search in each row.
        candidates: int [q, k], the candidates of each search.
        scores: [q, k], their new scores.

    Returns:
        float64 [q, n], whose order is that of the re-ranked searches.
    """
    ordered = similarities.astype(np.float64)
    ordered += scores.min(axis=1, keepdims=True) - ordered.max(axis=1, keepdims=True) - 1
    np.put_along_axis(ordered, candidates, scores, axis=1)
    return ordered


def compute_reranked_ranks(
    similarities: np.ndarray,
    candidates: Candidates,
    log_odds: np.ndarray,
    blend: Blend,
    owner: np.ndarray,
    captions: Sequence[str],
) -> Ranks:
    """The ranks after re-ranking.

    Args:
        similarities: float [n, m].
        candidates: Those of `similarities`.
        log_odds: float [p], of the candidates' pairs.
        blend: How similarity and log odds are added.
        owner: int [m], the photo that each caption belongs to.
        captions: The texts [m].
    """
    scores = blend.combine(similarities, candidates.to_matrix(log_odds, similarities.shape))
    by_text, by_photo = (
        reorder(table, chosen, np.take_along_axis(new_scores, chosen, axis=1))
        for table, chosen, new_scores in (
            (similarities.T, candidates.photos, scores.T),
            (similarities, candidates.captions, scores),
        )
    )
    photo_ranks = compute_ranks(by_text.T, owner, captions).photo_ranks
    return Ranks(photo_ranks, compute_ranks(by_photo, owner, captions).caption_ranks, owner)


def choose_blend(
    similarities: np.ndarray,
    candidates: Candidates,
    log_odds: np.ndarray,
    owner: np.ndarray,
    captions: Sequence[str],
) -> tuple[Blend, dict[float, float]]:
    """Choose the share of the log odds by mean recall.

    Arguments are those of `compute_reranked_ranks`.

    Returns:
        The blend with the highest mean recall (the smallest share among equals), and the mean
        recall of every share.
    """
    similar = similarities[tuple(candidates.pairs.T)]
    spreads = [float(np.std(array, dtype=np.float64)) or 1.0 for array in (similar, log_odds)]
    odds_alone = Blend(1.0, *spreads)
    recalls = {
        share: compute_reranked_ranks(
            similarities, candidates, log_odds, odds_alone.with_share(share), owner, captions
        ).mean_recall
        for share in SHARES
    }
    return odds_alone.with_share(max(recalls, key=lambda share: recalls[share])), recalls
