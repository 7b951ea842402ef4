"""The first candidates of every search, put into another order by who compares each pair closely.

    candidates = Candidates.of(similarities, top=50)
    odds = matcher.log_odds(photos, captions, candidates.pairs)
    blend = chosen(similarities, candidates, odds, owner, captions)          # on dev
    ranks = reranked(similarities, candidates, odds, blend, owner, captions)

Each search is put into order by a sum of similarity and log odds; what is not among its candidates
stays behind them, in the order it had. Only places within a search count, so similarities and log
odds need no common scale but for the sum: each is divided by its spread over all candidates.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from imagetext.metrics.retrieval.ranks import Ranks, mean_recall_of, ranks_of

TOP = 50
#: Shares of the log odds that are tried: 0 is the order as it was, 1 that of the log odds alone.
SHARES = tuple(tenth / 10 for tenth in range(11))


@dataclass(frozen=True)
class PairMatcher:
    """Who says how well photos and captions match, pair by pair.

    `log_odds` takes photos [n] by path, captions [m] and pairs int [p, 2] of their places, and
    gives float [p]. `learned_from` says which of photos were trained on (the set "train"), and by
    which settings were chosen ("dev"), copies of them included.
    """

    name: str
    digest: str
    log_odds: Callable[[Sequence[str], Sequence[str], np.ndarray], np.ndarray]
    learned_from: Callable[[Sequence[str]], dict[str, set[str]]]


@dataclass(frozen=True)
class Blend:
    """How similarity and log odds are added: the share of the latter, and the spread of each."""

    share: float
    similarity_spread: float
    odds_spread: float

    def of(self, similarities: np.ndarray, odds: np.ndarray) -> np.ndarray:
        """Of the same shape each, in float64."""
        similarities, odds = (array.astype(np.float64) for array in (similarities, odds))
        own = (1 - self.share) / self.similarity_spread
        return own * similarities + self.share / self.odds_spread * odds

    def with_share(self, share: float) -> "Blend":
        return Blend(share, self.similarity_spread, self.odds_spread)

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True)
class Candidates:
    """What each search finds first: photos [m, k] of each caption, captions [n, k] of each photo;
    and all these pairs of a photo and a caption, each once, int [p, 2]."""

    photos: np.ndarray
    captions: np.ndarray
    pairs: np.ndarray

    @classmethod
    def of(cls, similarities: np.ndarray, top: int = TOP) -> "Candidates":
        """Of similarities [n, m]; all, where there are no more than `top`."""
        photos, captions = first(similarities.T, top), first(similarities, top)
        paired = np.zeros(similarities.shape, bool)
        np.put_along_axis(paired, captions, True, axis=1)
        np.put_along_axis(paired.T, photos, True, axis=1)
        return cls(photos, captions, np.argwhere(paired))

    def spread_out(self, odds: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Log odds of the pairs [p] -> float32 [n, m], zeros where there is no pair."""
        found = np.zeros(shape, np.float32)
        found[tuple(self.pairs.T)] = odds
        return found


def first(similarities: np.ndarray, top: int) -> np.ndarray:
    """The places of the `top` largest of each row [q, n], in no order: int [q, k]."""
    top = min(top, similarities.shape[1])
    return np.argpartition(-similarities, top - 1, axis=1)[:, :top]


def reordered(similarities: np.ndarray, chosen: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Searches [q, n], their candidates [q, k] and new scores of those [q, k] -> float64 [q, n]:
    first the candidates by score, then the others as they were."""
    found = similarities.astype(np.float64)
    found += scores.min(axis=1, keepdims=True) - found.max(axis=1, keepdims=True) - 1
    np.put_along_axis(found, chosen, scores, axis=1)
    return found


def reranked(
    similarities: np.ndarray,
    candidates: Candidates,
    odds: np.ndarray,
    blend: Blend,
    owner: np.ndarray,
    captions: Sequence[str],
) -> Ranks:
    """Where the right ones stand afterwards; `odds` [p] are of the candidates' pairs."""
    scores = blend.of(similarities, candidates.spread_out(odds, similarities.shape))
    by_text, by_photo = (
        reordered(table, chosen, np.take_along_axis(scored, chosen, axis=1))
        for table, chosen, scored in (
            (similarities.T, candidates.photos, scores.T),
            (similarities, candidates.captions, scores),
        )
    )
    of_photos = ranks_of(by_text.T, owner, captions).of_photos
    return Ranks(of_photos, ranks_of(by_photo, owner, captions).of_captions, owner)


def chosen(
    similarities: np.ndarray,
    candidates: Candidates,
    odds: np.ndarray,
    owner: np.ndarray,
    captions: Sequence[str],
) -> tuple[Blend, dict[float, float]]:
    """The blend whose mean recall is highest (of equal ones, that which changes less), and the
    mean recall of all shares tried."""
    similar = similarities[tuple(candidates.pairs.T)]
    spreads = [float(np.std(array, dtype=np.float64)) or 1.0 for array in (similar, odds)]
    whole = Blend(1.0, *spreads)
    tried = {
        share: mean_recall_of(
            reranked(similarities, candidates, odds, whole.with_share(share), owner, captions)
        )
        for share in SHARES
    }
    return whole.with_share(max(tried, key=tried.get)), tried
