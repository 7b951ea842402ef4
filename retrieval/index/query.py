"""Asking an index in words, by a photo, by both, and for what shall not be seen.

    searcher = PhotoSearch(Index.open("flickr8k.index"), encoder)
    searcher.search("a dog in snow")
    searcher.search("at night", photo=Path("street.jpg").read_bytes(), without="cars", top=24)

Each part is a vector of length one. The query is their sum, less `AGAINST` of what it shall be
without: taken away whole, it would rather find photos that have nothing to do with either.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from imagetext.errors import UserError
from imagetext.retrieval.index.exact import unit
from imagetext.retrieval.index.growing import Encoder
from imagetext.retrieval.index.reader import ID_LETTERS, Index, SearchResult

AGAINST = 0.5
#: What shall be there and what shall not are the same from this cosine on.
SAME = 0.999
NOTHING = "nothing to search for -- give words, a photo, or both (--not only takes from them)"


@dataclass(frozen=True)
class Query:
    """What to look for: any of words, a photo, and a photo of the index by its id; `without` is
    what the photos shall not show, `own` the id that the photo itself has, which is not found."""

    text: str | None = None
    photo: bytes | None = None
    photo_id: str | None = None
    without: str | None = None
    own: str | None = None

    def allows(self, id: str) -> bool:
        """Nobody looks for the photo that was asked with."""
        return id not in (self.photo_id, self.own)


def compute_photo_id(photo: bytes) -> str:
    """That of a photo's file in every index."""
    return hashlib.sha256(photo).hexdigest()[:ID_LETTERS]


class PhotoSearch:
    """An index with the encoder it was built with; `UserError` if it is another."""

    def __init__(self, index: Index, encoder: Encoder):
        index.require_encoder(encoder.digest)
        self.index, self.encoder = index, encoder

    def search(
        self,
        text: str | None = None,
        photo: bytes | None = None,
        without: str | None = None,
        top: int = 12,
    ) -> list[SearchResult]:
        """The photos that fit the words and resemble the photo best, which is not among them."""
        asked = Query(text, photo, without=without, own=compute_photo_id(photo) if photo else None)
        more = asked.own is not None
        [hits] = self.index.search(query_vectors(self.encoder, [asked]), top + more)
        return [hit for hit in hits if asked.allows(hit.id)][:top]


def query_vectors(
    encoder: Encoder,
    queries: Sequence[Query],
    of_ids: Callable[[Sequence[str]], np.ndarray] | None = None,
) -> np.ndarray:
    """Queries -> float32 [q, d], of length one. All that is of a kind is encoded at once."""
    total = np.zeros((len(queries), encoder.width), np.float32)
    try:
        for name, weight, encode in (
            ("text", 1.0, encoder.encode_texts),
            ("photo", 1.0, encoder.encode_photo_bytes),
            ("photo_id", 1.0, of_ids),
            ("without", -AGAINST, encoder.encode_texts),
        ):
            given = {n: found for n, each in enumerate(queries) if (found := _part(each, name))}
            if given:
                rows, made = list(given), unit(encode(list(given.values())))
                if weight < 0 and (_cosines(total[rows], made) > SAME).any():
                    raise ValueError
                total[rows] += weight * made
        if not all(any(_part(q, name) for name in ("text", "photo", "photo_id")) for q in queries):
            raise UserError(NOTHING)
        return unit(total)
    except ValueError as error:
        raise UserError("nothing is left to search for: the parts cancel out") from error


def _cosines(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Row by row; `others` are of length one, and of no length is like nothing."""
    lengths = np.maximum(np.linalg.norm(some, axis=1), np.finfo(np.float32).tiny)
    return (some * others).sum(axis=1) / lengths


def _part(query: Query, name: str) -> str | bytes | None:
    given = getattr(query, name)
    return given.strip() if isinstance(given, str) else given
