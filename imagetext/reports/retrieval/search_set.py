"""The photos and captions that a retrieval report is about, and `searches.csv`."""

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagetext.metrics.retrieval.ranks import Ranks
from imagetext.reports.kit.report import write_csv

SEARCHES = "searches.csv"


@dataclass(frozen=True)
class SearchSet:
    """The photos and captions of a split.

    Args:
        photo: Paths of the photos [n], each once.
        caption: The captions [m].
        owner: The photo that each caption belongs to, int [m].
    """

    photo: tuple[str, ...]
    caption: tuple[str, ...]
    owner: np.ndarray

    def __post_init__(self):
        object.__setattr__(self, "owner", np.asarray(self.owner, np.int64))
        if len(self.owner) != len(self.caption):
            raise ValueError(f"{len(self.caption)} captions, but {len(self.owner)} owners")

    @property
    def shared(self) -> int:
        """How many captions belong word for word to several photos."""
        return sum(len(self._photos_by_caption[caption]) > 1 for caption in self.caption)

    def is_correct(self, photo: int, caption: int) -> bool:
        """Whether the photo has this caption, word for word."""
        return photo in self._photos_by_caption[self.caption[caption]]

    @functools.cached_property
    def _photos_by_caption(self) -> dict[str, set[int]]:
        photos: dict[str, set[int]] = {}
        for caption, photo in zip(self.caption, self.owner.tolist(), strict=True):
            photos.setdefault(caption, set()).add(photo)
        return photos

    @property
    def digest(self) -> str:
        """Identifies photos and captions, regardless of folder and order."""
        by_photo: dict[int, list[str]] = {}
        for photo, caption in zip(self.owner.tolist(), self.caption, strict=True):
            by_photo.setdefault(photo, []).append(caption)
        rows = sorted([Path(self.photo[p]).name, *sorted(c)] for p, c in by_photo.items())
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:8]


def write_searches(
    folder: Path, search_set: SearchSet, ranks: Ranks, similarities: np.ndarray
) -> None:
    """Write `searches.csv`: for each caption, the rank of its photo, and the first result.

    Args:
        folder: The folder of the report.
        search_set: Photos and captions.
        ranks: Ranks of the correct results.
        similarities: float [n, m].
    """
    owner = search_set.owner
    rows = zip(
        search_set.caption,
        [search_set.photo[index] for index in owner.tolist()],
        ranks.photo_ranks.tolist(),
        similarities[owner, np.arange(len(owner))].tolist(),
        [search_set.photo[index] for index in similarities.argmax(axis=0).tolist()],
        strict=True,
    )
    write_csv(folder / SEARCHES, ["caption", "photo", "place", "similarity", "first"], rows)
