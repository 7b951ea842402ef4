"""Asking an index in words, by a photo, by both, and for what shall not be seen.

    searcher = Searcher(Index.open("flickr8k.index"), encoder)
    searcher.search("a dog in snow")
    searcher.search("at night", photo=Path("street.jpg").read_bytes(), without="cars", top=24)

Each part is a vector of length one. The query is their sum, less `AGAINST` of what it shall be
without: taken away whole, it would rather find photos that have nothing to do with either.
"""

import numpy as np

from pipelines.errors import UserError
from retrieval.index.exact import unit
from retrieval.index.growing import Encoder
from retrieval.index.reader import Hit, Index

AGAINST = 0.5


class Searcher:
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
    ) -> list[Hit]:
        """The photos that fit the words and resemble the photo best."""
        return self.index.search(query(self.encoder, text, photo, without)[None], top)[0]


def query(
    encoder: Encoder,
    text: str | None = None,
    photo: bytes | None = None,
    without: str | None = None,
) -> np.ndarray:
    """What is asked for -> float32 [d], of length one."""
    text, without = (words.strip() if words else "" for words in (text, without))
    if not text and photo is None:
        raise UserError("nothing to search for -- give words, or a photo, or both")
    words = [given for given in (text, without) if given]
    vectors = dict(zip(words, unit(encoder.of_texts(words)), strict=True)) if words else {}
    parts = [vectors[text]] if text else []
    if photo is not None:
        parts.append(unit(encoder.of_bytes([photo]))[0])
    if without:
        parts.append(-AGAINST * vectors[without])
    try:
        return unit(np.sum(parts, axis=0)[None])[0]
    except ValueError as error:
        raise UserError("nothing is left to search for: the parts cancel out") from error
