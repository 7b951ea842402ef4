"""What a retrieval report is about."""

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Searched:
    """The photos and captions of a split, each once; `owner` [m] is the place of a caption's
    photo."""

    photo: tuple[str, ...]  # [n] paths
    caption: tuple[str, ...]  # [m]
    owner: np.ndarray  # int [m]

    def __post_init__(self):
        object.__setattr__(self, "owner", np.asarray(self.owner, np.int64))
        if len(self.owner) != len(self.caption):
            raise ValueError(f"{len(self.caption)} captions, but {len(self.owner)} owners")

    @property
    def shared(self) -> int:
        """Captions that stand word for word with several photos."""
        return sum(len(self._photos_of[caption]) > 1 for caption in self.caption)

    def is_right(self, photo: int, caption: int) -> bool:
        """Whether one of the photo's captions is word for word this one."""
        return photo in self._photos_of[self.caption[caption]]

    @functools.cached_property
    def _photos_of(self) -> dict[str, set[int]]:
        found: dict[str, set[int]] = {}
        for caption, photo in zip(self.caption, self.owner.tolist(), strict=True):
            found.setdefault(caption, set()).add(photo)
        return found

    @property
    def digest(self) -> str:
        """Names the photos and captions, wherever they lie and in whatever order."""
        by_photo: dict[int, list[str]] = {}
        for place, caption in zip(self.owner.tolist(), self.caption, strict=True):
            by_photo.setdefault(place, []).append(caption)
        rows = sorted([Path(self.photo[p]).name, *sorted(c)] for p, c in by_photo.items())
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:8]
