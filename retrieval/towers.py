"""Both towers at work: many photos and captions to vectors, and how alike each of these is to each
of those.

    towers = Towers(network, late=0.3)
    photos = towers.encode_images(batches)                     # {"photo": [n, d]}, and cells
    texts = towers.encode_ids(ids)                             # {"text": [m, d]}, and words
    towers.similarities(photos, texts)                     # float32 [n, m]
"""

from collections.abc import Iterable, Mapping

import keras
import numpy as np
import tensorflow as tf

from imagetext.layers.late_interaction import late_similarities, word_weights
from imagetext.pipelines.batches import trimmed
from imagetext.retrieval import models

#: Photos that go through the tower at once.
PHOTOS_TOGETHER = 64
#: Padded pieces a batch: enough to keep two cores busy.
PIECES_TOGETHER = 4096
#: Captions that meet the cells of all photos at once.
TEXTS_TOGETHER = 256

Vectors = Mapping[str, np.ndarray]


class Towers(tf.Module):
    """The sides of a network of `retrieval.models`; they follow its weights while it is trained."""

    def __init__(self, network: keras.Model, late: float = 0.0):
        super().__init__(name="towers")
        self.photo, self.text = models.photo_tower(network), models.text_tower(network)
        self.late, self.width = late, network.output["photo"].shape[-1]
        image = network.input["image"]
        self.image_spec = tf.TensorSpec(image.shape, image.dtype)
        self.see = tf.function(self._see, input_signature=[self.image_spec])
        self.read = tf.function(self._read, input_signature=[tf.TensorSpec([None, None], tf.int32)])

    def _see(self, image):
        return self.photo(image, training=False)

    def _read(self, ids):
        return self.text(ids, training=False)

    def encode_images(self, batches: Iterable) -> dict[str, np.ndarray]:
        """Batches of what the model is given of photos -> their vectors."""
        found = [self.see(tf.constant(image)) for image in batches]
        return {name: np.concatenate([part[name].numpy() for part in found]) for name in found[0]}

    def encode_ids(self, ids: np.ndarray, pad: int = 0) -> dict[str, np.ndarray]:
        """Pieces int32 [m, t] -> their vectors, in that order; texts of like length are read
        together, so that little is padding. Words behind a text are zeros."""
        lengths = (ids != pad).sum(axis=1)
        order = np.argsort(-lengths, kind="stable")
        made: dict[str, np.ndarray] = {}
        start = 0
        while start < len(order):
            size = max(1, PIECES_TOGETHER // max(1, int(lengths[order[start]])))
            chosen = order[start : start + size]
            found = self.read(tf.constant(trimmed(ids[chosen])))
            for name, part in found.items():
                part = part.numpy()
                if name not in made:  # the first batch has the longest
                    made[name] = np.zeros((len(ids), *part.shape[1:]), np.float32)
                if part.ndim == 1 or name == "text":
                    made[name][chosen] = part
                else:
                    made[name][chosen, : part.shape[1]] = part
            start += size
        return made

    def similarities(self, photos: Vectors, texts: Vectors) -> np.ndarray:
        """[n] photos and [m] captions -> float32 [n, m]: cosines, and in part late interaction."""
        found = photos["photo"] @ texts["text"].T
        if not self.late:
            return found
        found *= 1 - self.late
        lengths = texts["mask"].sum(axis=1)
        order, cells = np.argsort(lengths, kind="stable"), tf.constant(photos["cells"])
        for chosen in np.array_split(order, -(-len(order) // TEXTS_TOGETHER)):
            longest = int(lengths[chosen].max())
            words, mask = (texts[name][chosen, :longest] for name in ("words", "mask"))
            met = self._meet(cells, tf.constant(words), tf.constant(mask))
            found[:, chosen] += self.late * met.numpy()
        return found

    @tf.function(reduce_retracing=True)
    def _meet(self, cells, words, mask):
        return late_similarities(cells, words, word_weights(mask))


def cosines(photos: Vectors, texts: Vectors) -> np.ndarray:
    """Of the vectors alone, [n, m]."""
    return photos["photo"] @ texts["text"].T
