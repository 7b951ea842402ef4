"""A toy model: the vector of a photo is the colours of its quarters, that of a text the mean of the
colours it names."""

import hashlib
import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

from imagetext.retrieval.index.listing import list_photos
from imagetext.retrieval.index.reader import Index

WIDTH = 12
COLOURS = {"red": (230, 20, 20), "green": (20, 230, 20), "blue": (20, 20, 230)}


class Toy:
    width = WIDTH

    def __init__(self, digest: str = "toy"):
        self.digest = digest
        self.encoded = 0

    def encode_photo_bytes(self, photos):
        self.encoded += len(photos)
        return np.stack([self._of_photo(photo) for photo in photos])

    def _of_photo(self, photo: bytes) -> np.ndarray:
        try:
            image = Image.open(io.BytesIO(photo)).convert("RGB").resize((2, 2), Image.BOX)
        except OSError as error:
            raise ValueError("not a photo") from error
        return of_colours(np.asarray(image))

    def encode_texts(self, texts):
        colours = [[COLOURS[word] for word in text.split() if word in COLOURS] for text in texts]
        means = [np.mean(actual or [(128, 128, 128)], axis=0) for actual in colours]
        return np.stack([of_colours(np.broadcast_to(mean, (2, 2, 3))) for mean in means])

    def encode_features(self, features):
        return np.stack([of_colours(one) for one in features])


def of_colours(quarters) -> np.ndarray:
    vector = np.asarray(quarters, np.float32).ravel() - 100
    return vector / np.linalg.norm(vector)


def write_photo(path: Path, seed: int, colour: str | None = None) -> Path:
    """A small PNG; the same seed and colour give the same bytes."""
    rng = np.random.default_rng(seed)
    quarters = rng.integers(0, 256, (2, 2, 3))
    if colour:
        quarters = np.clip(np.array(COLOURS[colour]) + rng.integers(-15, 15, (2, 2, 3)), 0, 255)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(quarters.astype(np.uint8)).resize((8, 8), Image.NEAREST).save(path)
    return path


def write_photos(folder: Path, seeds) -> Path:
    for seed in seeds:
        write_photo(folder / f"{seed:04}.png", seed)
    return folder


def listed(folder: Path):
    return list_photos(folder)


def said(index: Path, queries: np.ndarray, top: int = 7) -> list:
    """The results of a search, with scores rounded to what the order of summation may change."""
    with Index.open(index) as opened:
        actual = opened.search(queries, top)
    return [
        [(hit.id, round(hit.score, 4), sorted(hit.paths), hit.captions) for hit in hits]
        for hits in actual
    ]


def some_queries(count: int = 9, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(5).standard_normal((count, width)).astype(np.float32)


def contents(folder: Path) -> dict[str, str]:
    """The hash of every file of an index, except the lock."""
    return {
        os.fspath(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != ".lock"
    }
