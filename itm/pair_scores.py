"""Log odds of very many pairs of photo and caption, each photo and each caption encoded once.

    scores = PairScores(model)
    scores.log_odds(photos.fetch, texts, pairs)   # int [p, 2] of photo and text -> float32 [p]

Photo and caption go through the model apart up to where they meet, and only what is behind that is
computed for each pair. A model of one's own, which has no such place, is run whole: each photo goes
through it with many captions at once.
"""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from imagetext.itm.models import VECTORS
from imagetext.itm.texts import lengths as pieces_of_each
from imagetext.pipelines.batches import encode_by_length

#: What photo and caption have given, each alone, when they meet: the names of layers.
PHOTO_ENDS = {"image": VECTORS["image"], "cells": "cells_norm"}
TEXT_ENDS = {"text": VECTORS["text"], "words": "words_norm"}
#: Photos that are encoded at once; captions that meet a photo at once.
PHOTOS_TOGETHER, TEXTS_TOGETHER = 32, 128
#: A probability of which the logarithm is still a number.
LEAST = 1e-37


class PairScores:
    """A matching model at work; PairScores(model).once tells whether captions are encoded once."""

    def __init__(self, model: keras.Model):
        parts = _parts(model)
        self.once = parts is not None
        self._pieces = model.input["texts"].dtype.startswith("int")
        if parts:
            see, read, meet = parts
            self._see, self._read = _graph(see), _graph(read)
            # Called in the order of its inputs: tensors inside a model have no names to go by.
            self._meet = _graph(meet, lambda both: [both[name] for name in sorted(both)])
        else:
            self._see, self._read = lambda image: {"image": image}, lambda texts: {}
            self._meet = _graph(model)

    def log_odds(
        self,
        fetch: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
        texts: np.ndarray,
        pairs: np.ndarray,
    ) -> np.ndarray:
        """`fetch` takes numbers of photos [b] and gives what the model is shown of them, [b, ...]
        (and whether each is good); `texts` are word pieces int32 [m, t] or vectors [m, d]."""
        lengths = pieces_of_each(texts) if self._pieces else np.zeros(len(texts), int)
        read = self._read_all(texts, lengths)
        # The captions of a photo meet it together, those of like length.
        order = np.lexsort([lengths[pairs[:, 1]], pairs[:, 0]])
        photos, starts = np.unique(pairs[order, 0], return_index=True)
        own = dict(zip(photos.tolist(), np.split(order, starts[1:]), strict=True))
        found = np.empty(len(pairs), np.float32)
        for block in _blocks(photos, PHOTOS_TOGETHER):
            seen = self._see(tf.constant(fetch(block)[0]))
            for place, photo in enumerate(block.tolist()):
                one = {name: array[place : place + 1] for name, array in seen.items()}
                for rows in _blocks(own[photo], TEXTS_TOGETHER):
                    chosen, longest = pairs[rows, 1], max(1, lengths[pairs[rows, 1]].max())
                    both = one | {
                        name: tf.constant(_cut(array[chosen], name, longest, self._pieces)[None])
                        for name, array in read.items()
                    }
                    match, no_match = self._meet(both).numpy()[0].T
                    found[rows] = np.log(np.maximum(match, LEAST) / np.maximum(no_match, LEAST))
        return found

    def _read_all(self, texts: np.ndarray, lengths: np.ndarray) -> dict[str, np.ndarray]:
        """All captions, and what the model makes of each alone: [m, ...] each."""

        def encode(batch: np.ndarray) -> dict[str, np.ndarray]:
            return {
                name: part.numpy()[0] for name, part in self._read(tf.constant(batch[None])).items()
            }

        return {"texts": texts} | encode_by_length(encode, texts, lengths, per_word=("words",))


def _parts(model: keras.Model) -> tuple[keras.Model, keras.Model, keras.Model] | None:
    """The model as three: photo [b, ...] alone, captions [b, k, ...] alone, and what follows."""
    names = {layer.name for layer in model.layers}
    photo, text = (
        {key: model.get_layer(name).output for key, name in ends.items() if name in names}
        for ends in (PHOTO_ENDS, TEXT_ENDS)
    )
    if "image" not in photo or "text" not in text:
        return None
    given = model.input
    both = photo | text | {"texts": given["texts"]}
    try:
        meet = keras.Model([both[name] for name in sorted(both)], model.output)
    except ValueError:  # something else of the photo goes on, too
        return None
    return keras.Model(given["image"], photo), keras.Model(given["texts"], text), meet


def _graph(part: keras.Model, ordered: Callable = lambda given: given) -> Callable:
    """Traced once, whatever the number of photos and captions and their lengths."""
    specs = keras.tree.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), part.input)
    run = tf.function(lambda given: part(given, training=False), input_signature=[specs])
    return lambda given: run(ordered(given))


def _blocks(rows: np.ndarray, most: int) -> list[np.ndarray]:
    return np.array_split(rows, -(-len(rows) // most))


def _cut(array: np.ndarray, name: str, longest: int, pieces: bool) -> np.ndarray:
    """Without the columns behind the last word piece of any."""
    return array[:, :longest] if name == "words" or (name == "texts" and pieces) else array
