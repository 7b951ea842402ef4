"""What the web app asks of a model: three small protocols.

    class Constant:                                  # a caption service as far as the app cares
        def captions(self, photos, beams, top, maps):
            return [[MappedCaption("a dog", -1.2, -0.4)] for _ in photos]

`photos` are image files that the app itself has written (see `imagetext.serving.photos`), never a
client's own bytes. Each method is called from one thread, with the requests of many clients at
once. It may raise `UnanswerableError` for a query that the model cannot answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from imagetext.retrieval.index.query import Query
from imagetext.retrieval.index.reader import SearchResult

if TYPE_CHECKING:
    from imagetext.captioning.service import MappedCaption
    from imagetext.itm.regions import Regions


class CaptionService(Protocol):
    """Describes photos."""

    def captions(
        self, photos: Sequence[bytes], beams: int | None, top: int, maps: bool
    ) -> Sequence[Sequence["MappedCaption"]]:
        """The `top` captions of each photo, best first, with attention maps if `maps`."""


class MatchService(Protocol):
    """Says how well a sentence fits a photo."""

    def probabilities(self, pairs: Sequence[tuple[bytes, str]]) -> Sequence[float]:
        """P(match) of each photo with its sentence."""

    def regions(self, photo: bytes, text: str) -> "Regions":
        """The parts of the photo that support the sentence."""


class SearchService(Protocol):
    """Finds photos."""

    def search(self, queries: Sequence[Query], top: int) -> Sequence[Sequence[SearchResult]]:
        """The `top` photos for each query, best first."""

    def photo(self, id: str) -> bytes | None:
        """The file of an indexed photo; None if the id is unknown or the file is gone."""

    def examples(self, count: int) -> Sequence[SearchResult]:
        """Photos to start with, the same each time."""

    def __contains__(self, id: str) -> bool:
        """Whether a photo with this id is indexed; its file may be gone."""

    def __len__(self) -> int:
        """The number of indexed photos."""


@dataclass(frozen=True)
class Examples:
    """Photos (id -> bytes of a file) and sentences that the page offers to start with."""

    photos: dict[str, bytes]
    sentences: tuple[str, ...] = ()
