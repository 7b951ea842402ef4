"""Inputs for the tiny CLIP of `tests.tiny_clip`, and the formats it is saved in."""

import numpy as np
import tensorflow as tf

from tests import tiny_clip

#: Largest error, relative to the largest value.
TOLERANCE = 2e-5
FORMATS = {
    "hugging_face": tiny_clip.save_hugging_face,
    "openai": tiny_clip.save_openai,
    "open_clip": tiny_clip.save_open_clip,
    "keras_hub": tiny_clip.save_keras_hub,
}
TEXTS = ["A dog runs!!", "", "the red dog in the café, 2023", "dog " * 30]
TENSORS = tiny_clip.random_tensors()
#: Id of the end of a text.
END = tiny_clip.VOCABULARY - 1


def photos(seed: int = 0, count: int = 3) -> np.ndarray:
    shape = (count, tiny_clip.SIZE, tiny_clip.SIZE, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def tokenize(tower) -> tuple[np.ndarray, np.ndarray]:
    """Ids and mask of `TEXTS`."""
    return tuple(part.numpy() for part in tower.tokenize(tf.constant(TEXTS)))
