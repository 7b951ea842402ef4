"""What the web app asks of a model, and what it is answered: three small protocols.

class Always:                                    # a captioner, as far as the web app is concerned
    def captions_of_bytes(self, photos, beams, top, maps):
        return [[Caption("a dog", -1.2, -0.4)] for _ in photos]

`photos` are bytes of files that the app has made itself (see `imagetext.serving.photos`), never
those of a client. All three are called from one thread each, with many requests at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from imagetext.retrieval.index.query import Query


@dataclass(frozen=True)
class Caption:
    """`maps`, float [t, h, w], is where the model looked at each of `words`; None if it does not
    look at parts."""

    text: str
    log_probability: float
    score: float
    words: tuple[str, ...] = ()
    maps: np.ndarray | None = None


@dataclass(frozen=True)
class Regions:
    """`effect`, float [rows, columns]: by how much the log odds of a match fall when that part is
    covered; `covered` is the lowest probability that covering any one part left."""

    probability: float
    effect: np.ndarray
    covered: float


@dataclass(frozen=True)
class Hit:
    id: str
    score: float
    captions: tuple[str, ...] = ()


class Captioner(Protocol):
    def captions_of_bytes(
        self, photos: Sequence[bytes], beams: int | None, top: int, maps: bool
    ) -> list[list[Caption]]:
        """The `top` captions of each photo, best first, with `maps` where it looked."""


class Matcher(Protocol):
    def probabilities(self, pairs: Sequence[tuple[bytes, str]]) -> Sequence[float]:
        """P(match) of each photo with its sentence."""

    def regions(self, photo: bytes, text: str) -> Regions:
        """Which parts of the photo spoke for the sentence."""


class Searcher(Protocol):
    def search(self, queries: Sequence[Query], top: int) -> list[list[Hit]]:
        """The `top` photos for each query, best first."""

    def photo(self, id: str) -> bytes | None:
        """The file of a photo of the index; None where there is no such id, or no file any more."""

    def some(self, count: int) -> list[Hit]:
        """Photos to begin with, the same each time."""

    def __contains__(self, id: str) -> bool:
        """Whether there is a photo of this id to search by; its file may be gone."""

    def __len__(self) -> int:
        """How many photos there are to find."""


@dataclass(frozen=True)
class Examples:
    """Photos (id -> bytes of a file) and sentences to begin with, shown on the page."""

    photos: dict[str, bytes]
    sentences: tuple[str, ...] = ()
