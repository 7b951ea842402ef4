"""Search an index by text, by a photo, or by both, and by what photos should not show.

    photo_search = PhotoSearch(Index.open("flickr8k.index"), model)
    photo_search.search("a dog in snow")
    photo_search.search("at night", photo=Path("street.jpg").read_bytes(), without="cars", top=24)

Each part is a vector of length one, and the query is their sum, minus `WITHOUT_WEIGHT` times what
the photos should not show: subtracted in full, it would favour photos unrelated to either.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from imagetext.errors import UserError
from imagetext.retrieval.index.encoding import Encoder
from imagetext.retrieval.index.exact import normalise
from imagetext.retrieval.index.reader import ID_LETTERS, Index, SearchResult

WITHOUT_WEIGHT = 0.5
#: From this cosine on, what photos should show and should not show are the same.
SAME = 0.999
NOTHING = "nothing to search for: give a text, a photo, or both (--not only excludes)"


@dataclass(frozen=True)
class Query:
    """What to search for; at least one of `text`, `photo` and `photo_id`.

    Args:
        text: What the photos should show.
        photo: The contents of an image file that they should resemble.
        photo_id: The id of a photo in the index that they should resemble.
        without: What the photos should not show.
        exclude: The id of a photo to leave out of the results, such as that of `photo`.
    """

    text: str | None = None
    photo: bytes | None = None
    photo_id: str | None = None
    without: str | None = None
    exclude: str | None = None

    def accepts(self, id: str) -> bool:
        """Whether a photo may be a result: not the one that the query consists of."""
        return id not in (self.photo_id, self.exclude)


def compute_photo_id(photo: bytes) -> str:
    """The id that a photo has in every index, from the contents of its file."""
    return hashlib.sha256(photo).hexdigest()[:ID_LETTERS]


class PhotoSearch:
    """An index with the model that it was built with.

    Args:
        index: The index.
        encoder: The model; `UserError` if the index was built with another.

    Examples:
        >>> photo_search = open_search("flickr8k.index")
        >>> photo_search.search("a dog in snow", top=3)[0].path
    """

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
        """Find photos.

        Args:
            text: What the photos should show.
            photo: The contents of an image file that they should resemble; the photo itself is
                left out of the results.
            without: What the photos should not show.
            top: Number of results.

        Returns:
            The results, best first.
        """
        exclude = compute_photo_id(photo) if photo else None
        query = Query(text, photo, without=without, exclude=exclude)
        more = 1 if exclude else 0
        [results] = self.index.search(query_vectors(self.encoder, [query]), top + more)
        return [result for result in results if query.accepts(result.id)][:top]


def query_vectors(
    encoder: Encoder,
    queries: Sequence[Query],
    vectors_of: Callable[[Sequence[str]], np.ndarray] | None = None,
) -> np.ndarray:
    """Compute the vectors of queries, of length one.

    Args:
        encoder: The model; texts and photos of all queries are encoded together.
        queries: The queries.
        vectors_of: Returns the vectors of photos in the index by their ids.

    Returns:
        float32 [q, d].
    """
    total = np.zeros((len(queries), encoder.width), np.float32)
    try:
        for name, weight, encode in (
            ("text", 1.0, encoder.encode_texts),
            ("photo", 1.0, encoder.encode_photo_bytes),
            ("photo_id", 1.0, vectors_of),
            ("without", -WITHOUT_WEIGHT, encoder.encode_texts),
        ):
            parts = {n: part for n, query in enumerate(queries) if (part := _part(query, name))}
            if parts:
                assert encode is not None
                rows, vectors = list(parts), normalise(encode(list(parts.values())))
                if weight < 0 and (_cosines(total[rows], vectors) > SAME).any():
                    raise ValueError
                total[rows] += weight * vectors
        if not all(any(_part(q, name) for name in ("text", "photo", "photo_id")) for q in queries):
            raise UserError(NOTHING)
        return normalise(total)
    except ValueError as error:
        raise UserError("the parts of the query cancel each other out") from error


def _cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Row by row; `second` has length one, and rows of zeros in `first` are similar to nothing."""
    lengths = np.maximum(np.linalg.norm(first, axis=1), np.finfo(np.float32).tiny)
    return (first * second).sum(axis=1) / lengths


def _part(query: Query, name: str) -> str | bytes | None:
    part = getattr(query, name)
    return part.strip() if isinstance(part, str) else part
