"""Photos as the model is given them: pixels, or stored features of one encoder or several.

    photos = open_photos(paths, DataConfig(image_encoders=["efficientnet_lite2"]), problems)
    photos.fetch([0, 7])          # -> float32 [2, 1280], bool [2]

What has no features yet is encoded first, once; see `imagetext data features`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from itm.config import DataConfig
from pipelines.errors import Problem
from pipelines.features import Features, open_features
from pipelines.pixels import open_pixels


class Photos(Protocol):
    """Photos by number."""

    paths: list[Path]
    shape: tuple[int, ...]
    dtype: np.dtype
    #: What, besides their shape, sets these from others of the same photos.
    identity: Sequence[str]

    def fetch(self, numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Numbers [n] -> [n, *shape], and whether each could be read, bool [n]."""


class StoredFeatures:
    """Features of several encoders side by side, along their last axis."""

    kind = "features"

    def __init__(self, parts: Sequence[Features]):
        self.parts, self.paths = list(parts), parts[0].paths
        *grid, _ = parts[0].shape
        self.shape = (*grid, sum(part.shape[-1] for part in parts))
        self.dtype = np.dtype(np.float32)

    @property
    def identity(self) -> list[str]:
        metas = [part.store.meta for part in self.parts]
        return [meta[key] for meta in metas for key in ("encoder", "output", "weights")]

    def fetch(self, numbers):
        """Numbers [n] -> float32 [n, *shape], and which are there for every encoder, bool [n]."""
        found = [part.fetch(numbers) for part in self.parts]
        good = np.logical_and.reduce([good for _, good in found])
        return np.concatenate([array.astype(np.float32) for array, _ in found], axis=-1), good


def open_photos(paths: Sequence[Path], config: DataConfig, problems: list[Problem]) -> Photos:
    """What the configuration asks for; every photo that cannot be read is noted in `problems`."""
    if config.from_pixels:
        size = (config.pixels_side, config.pixels_side)
        return open_pixels(paths, size, config.cache, config.skip_bad, problems)
    from encoders.extraction import extract, identity

    parts, bad = [], {}
    for encoder in config.image_encoders:
        what = (encoder, config.image_output, config.image_weights)
        folder = Path(config.features) if config.features else None
        if folder and len(config.image_encoders) > 1:
            folder /= encoder
        done = extract(paths, *what, folder=folder)
        if done.new:
            print(done.summary)
        bad |= {problem.file: problem for problem in done.bad}
        parts.append(open_features(paths, identity(*what), folder, problems=[]))
    problems.extend(bad.values())
    return StoredFeatures(parts)
