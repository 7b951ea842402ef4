"""An image encoder of 8 x 8 pixels, photos for it, and the features it should give."""

import functools
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from imagetext.pipelines.feature_store import FLIPPED, PLAIN, FeatureStore
from imagetext.pipelines.features import Features, photo_digests
from imagetext.pipelines.pixels import photo_reader

SIDE = 8


META = {
    "format": 1,
    "encoder": "tiny",
    "weights": "0" * 64,
    "size": SIDE,
    "preprocessing": 1,
    "output": "grid",
    "shape": [2, 2, 5],
}


#: Settings that need no probe.
FIXED = {"precision": "float32", "batch_size": 4}


def tiny(scale: float = 1 / 128) -> keras.Model:
    """Build the encoder, with the same weights every time."""
    keras.utils.set_random_seed(0)
    image = keras.Input([SIDE, SIDE, 3], dtype="uint8", name="image")
    x = keras.layers.Rescaling(scale, offset=-1)(image)
    x = keras.layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")(x)
    x = keras.layers.Conv2D(5, 3, strides=2, padding="same")(x)
    return keras.Model(image, keras.layers.Activation("linear", dtype="float32")(x), name="tiny")


def must_not_build():
    pytest.fail("the encoder was built although there is nothing to encode")


def write_photos(folder: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03}.png" for number in range(count)]
    for number, path in enumerate(paths):
        noise = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
    return paths


@functools.cache
def _tiny() -> keras.Model:
    return tiny()


def expected(paths) -> np.ndarray:
    """The features of photos, encoded one by one."""
    model, read = _tiny(), photo_reader((SIDE, SIDE))
    rows = [np.asarray(model(read(path)[None], training=False)) for path in paths]
    return np.concatenate(rows)


def stored(photos, folder, flips: bool = False) -> Features:
    """The features in a store."""
    views = (PLAIN, FLIPPED) if flips else (PLAIN,)
    return Features.lookup(photos, FeatureStore.open(folder), photo_digests(photos, []), views)


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a store."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != ".lock"}
