"""Photos as a dual encoder is given them: as in every task, but cells of several encoders in a row.

    photos = open_seen(paths, config.data, problems)
    photos.fetch([0, 7])          # efficientnet_lite0 and _lite2: float32 [2, (7*7 + 9*9) * 1280]

Grids of several sizes do not lie side by side; one behind the other they do.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from encoders.images import image_encoder
from encoders.photos import Photos, PhotoTower, open_photos
from pipelines.errors import Problem
from pipelines.feature_store import PLAIN
from retrieval.config import DataConfig


def grids(config: DataConfig) -> list[tuple[int, int, int]]:
    """Of each encoder rows, columns and channels, in the order in which they lie in a row."""
    return [tuple(image_encoder(name).shape("grid")) for name in config.image_encoders]


class InARow:
    """Photos of several encoders, everything of one behind everything of the other."""

    kind = "features"

    def __init__(self, parts: Sequence[Photos]):
        self.parts, self.paths = list(parts), parts[0].paths
        self.shape = (sum(math.prod(part.shape) for part in parts),)
        self.dtype = np.dtype(np.float32)

    @property
    def identity(self) -> list[str]:
        return [told for part in self.parts for told in part.identity]

    def fetch(self, numbers, view=PLAIN):
        """Numbers [n] -> float32 [n, all], and which are there for every encoder, bool [n]."""
        found = [part.fetch(numbers, view) for part in self.parts]
        good = np.logical_and.reduce([good for _, good in found])
        rows = [array.reshape(len(good), -1) for array, _ in found]
        return np.concatenate(rows, axis=1, dtype=np.float32), good


def open_seen(paths: Sequence[Path], config: DataConfig, problems: list[Problem]) -> Photos:
    """What the configuration asks for; every photo that cannot be read is noted in `problems`."""
    flips = config.flips and not config.from_pixels
    if not config.in_a_row:
        return open_photos(paths, config, problems, flips)
    parts, bad = [], {}
    for name in config.image_encoders:
        folder = str(Path(config.features) / name) if config.features else None
        one = dataclasses.replace(config, image_encoders=[name], features=folder)
        found: list[Problem] = []
        parts.append(open_photos(paths, one, found, flips))
        bad |= {problem.file: problem for problem in found}
    problems.extend(bad.values())
    return InARow(parts)


class SeenTower(PhotoTower):
    """From a photo's bytes to what the model is given.

    tower = SeenTower(config.data)
    tower.read("photo.jpg")
    """

    def __init__(self, config: DataConfig):
        super().__init__(config)
        self.in_a_row = config.in_a_row

    def see(self, pixels):
        if not self.in_a_row:
            return super().see(pixels)
        found = [tower(x, training=False) for tower, x in zip(self.towers, pixels, strict=True)]
        sizes = [math.prod(rows.shape[1:]) for rows in found]
        rows = [tf.reshape(rows, [-1, size]) for rows, size in zip(found, sizes, strict=True)]
        return tf.concat(rows, axis=-1)
