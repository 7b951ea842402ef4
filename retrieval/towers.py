"""Run the two towers: many photos and captions to vectors, and the similarities of all pairs.

towers = Towers(network, late=0.3)
photos = towers.encode_images(batches)                 # {"photo": [n, d]}, with "cells"
texts = towers.encode_ids(ids)                         # {"text": [m, d]}, with "words"
towers.similarities(photos, texts)                     # float32 [n, m]

photo_tower(network)(features)                         # {"photo": [b, d]}
text_tower(network)(ids)                               # {"text": [b, d]}
"""

from collections.abc import Callable, Iterable, Mapping

import keras
import numpy as np
import tensorflow as tf

from imagetext.layers.late_interaction import late_similarities, word_weights
from imagetext.pipelines.batches import encode_by_length, split_evenly

#: Photos in a batch.
PHOTOS_PER_BATCH = 64
#: Captions that are compared with the cells of all photos at a time.
TEXTS_PER_BLOCK = 256
#: Outputs of the network that depend on the photo; all others depend on the caption.
PHOTO_OUTPUTS = ("photo", "cells")
#: Outputs with an axis of words.
WORD_OUTPUTS = ("words", "mask")

Vectors = Mapping[str, np.ndarray]


def photo_tower(network: keras.Model) -> keras.Model:
    """The photo side of the network, sharing its weights."""
    return _side(network, "image", lambda name: name in PHOTO_OUTPUTS)


def text_tower(network: keras.Model) -> keras.Model:
    """The caption side of the network, sharing its weights: token ids int32 [b, t] -> vectors."""
    return _side(network, "texts", lambda name: name not in PHOTO_OUTPUTS)


def _side(network: keras.Model, name: str, belongs: Callable[[str], bool]) -> keras.Model:
    outputs = {output: tensor for output, tensor in network.output.items() if belongs(output)}
    return keras.Model(network.input[name], outputs, name=f"{name}_tower")


class Towers(tf.Module):
    """Both sides of a network made by `retrieval.models`; they follow its weights in training.

    Args:
        network: The network.
        late: Share of the late interaction in the similarity.
        compiled: Trace the towers into graphs, which is faster from the third batch or so; without,
            a single query is answered sooner.
    """

    def __init__(self, network: keras.Model, late: float = 0.0, compiled: bool = True):
        super().__init__(name="towers")
        self.photo, self.text = photo_tower(network), text_tower(network)
        self.late, self.width = late, network.output["photo"].shape[-1]
        image = network.input["image"]
        self.image_spec = tf.TensorSpec(image.shape, image.dtype)
        self.run_photo: Callable = self._run_photo
        self.run_text: Callable = self._run_text
        if compiled:
            ids_spec = tf.TensorSpec([None, None], tf.int32)
            self.run_photo = tf.function(self._run_photo, input_signature=[self.image_spec])
            self.run_text = tf.function(self._run_text, input_signature=[ids_spec])

    def _run_photo(self, image):
        return self.photo(image, training=False)

    def _run_text(self, ids):
        return self.text(ids, training=False)

    def encode_images(self, batches: Iterable) -> dict[str, np.ndarray]:
        """Encode batches of model inputs (pixels or features of photos).

        Returns:
            Each output of the photo tower, for all photos in order.
        """
        outputs = [self.run_photo(tf.constant(image)) for image in batches]
        return {
            name: np.concatenate([output[name].numpy() for output in outputs])
            for name in outputs[0]
        }

    def encode_ids(self, ids: np.ndarray, pad: int = 0) -> dict[str, np.ndarray]:
        """Encode token ids int32 [m, t], padded with `pad`.

        Returns:
            Each output of the text tower, for all texts in order; zeros for padding.
        """

        def encode(batch: np.ndarray) -> dict[str, np.ndarray]:
            output = self.run_text(tf.constant(batch))
            return {name: tensor.numpy() for name, tensor in output.items()}

        lengths = (ids != pad).sum(axis=1)
        return encode_by_length(encode, ids, lengths, WORD_OUTPUTS)

    def similarities(self, photos: Vectors, texts: Vectors) -> np.ndarray:
        """Compare n photos with m captions: cosines, blended with late interaction; [n, m]."""
        scores = cosines(photos, texts)
        if not self.late:
            return scores
        scores *= 1 - self.late
        lengths = texts["mask"].sum(axis=1)
        order, cells = np.argsort(lengths, kind="stable"), tf.constant(photos["cells"])
        for rows in split_evenly(order, TEXTS_PER_BLOCK):
            longest = int(lengths[rows].max())
            words, mask = (texts[name][rows, :longest] for name in ("words", "mask"))
            interaction = self._interact(cells, tf.constant(words), tf.constant(mask))
            scores[:, rows] += self.late * interaction.numpy()
        return scores

    @tf.function(reduce_retracing=True)
    def _interact(self, cells, words, mask):
        return late_similarities(cells, words, word_weights(mask))


def cosines(photos: Vectors, texts: Vectors) -> np.ndarray:
    """Similarities of the vectors alone, [n, m]."""
    return photos["photo"] @ texts["text"].T
