"""Log odds of many pairs of photos and captions, encoding each photo and each caption once.

    scorer = PairScorer(model)
    scorer.log_odds(photos.fetch, texts, pairs)   # int [p, 2] of photo and text -> float32 [p]

The model is split where photo and caption meet, and only the part after that is run for each pair.
A custom model that cannot be split is run as a whole, on each photo with many captions at once.
"""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from imagetext.itm.models import LATE_VECTORS, VECTORS
from imagetext.itm.texts import count_tokens
from imagetext.pipelines.batches import encode_by_length, split_evenly

#: The last layers that depend on the photo alone, and on the caption alone.
PHOTO_ENDS = {"image": VECTORS["image"], "cells": LATE_VECTORS["cells"]}
TEXT_ENDS = {"text": VECTORS["text"], "words": LATE_VECTORS["words"]}
#: Photos in a batch, and captions that are scored with one photo at a time.
PHOTOS_PER_BATCH, TEXTS_PER_BATCH = 32, 128
#: Probabilities are clipped to this, so that their logarithm is finite.
MIN_PROBABILITY = 1e-37


class PairScorer:
    """Scores pairs with a matching model.

    Args:
        model: The model.

    Attributes:
        encodes_once: Whether each caption is encoded once, rather than once for each pair.
    """

    def __init__(self, model: keras.Model):
        parts = _split(model)
        self.encodes_once = parts is not None
        self._reads_tokens = model.input["texts"].dtype.startswith("int")
        if parts:
            photo_side, text_side, head = parts
            self._encode_photo, self._encode_text = _compile(photo_side), _compile(text_side)
            # Passed as a list, as tensors inside a model have no names.
            self._classify = _compile(head, lambda x: [x[name] for name in sorted(x)])
        else:
            self._encode_photo = lambda image: {"image": image}
            self._encode_text = lambda texts: {}
            self._classify = _compile(model)

    def log_odds(
        self,
        fetch: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
        texts: np.ndarray,
        pairs: np.ndarray,
    ) -> np.ndarray:
        """Score pairs of photos and captions.

        Args:
            fetch: Takes photo numbers [b]; returns the model's inputs [b, ...], and whether each
                photo is readable.
            texts: Token ids int32 [m, t], or embeddings [m, d].
            pairs: Photo and text of each pair, int [p, 2].

        Returns:
            The log odds of a match, float32 [p].
        """
        lengths = count_tokens(texts) if self._reads_tokens else np.zeros(len(texts), int)
        encoded_texts = self._encode_texts(texts, lengths)
        # Captions of a photo are scored together, those of similar length in one batch.
        order = np.lexsort([lengths[pairs[:, 1]], pairs[:, 0]])
        photos, starts = np.unique(pairs[order, 0], return_index=True)
        rows_of = dict(zip(photos.tolist(), np.split(order, starts[1:]), strict=True))
        odds = np.empty(len(pairs), np.float32)
        for batch in split_evenly(photos, PHOTOS_PER_BATCH):
            encoded_photos = self._encode_photo(tf.constant(fetch(batch)[0]))
            for index, photo in enumerate(batch.tolist()):
                image = {name: part[index : index + 1] for name, part in encoded_photos.items()}
                for rows in split_evenly(rows_of[photo], TEXTS_PER_BATCH):
                    text = pairs[rows, 1]
                    inputs = image | self._select(encoded_texts, text, lengths[text].max())
                    outputs = np.maximum(self._classify(inputs).numpy()[0], MIN_PROBABILITY)
                    odds[rows] = np.log(outputs[:, 0] / outputs[:, 1])
        return odds

    def _encode_texts(self, texts: np.ndarray, lengths: np.ndarray) -> dict[str, np.ndarray]:
        """The texts, and all outputs of the text side for them: [m, ...] each."""

        def encode(batch: np.ndarray) -> dict[str, np.ndarray]:
            outputs = self._encode_text(tf.constant(batch[None]))
            return {name: part.numpy()[0] for name, part in outputs.items()}

        return {"texts": texts} | encode_by_length(encode, texts, lengths, per_word=("words",))

    def _select(
        self, encoded: dict[str, np.ndarray], rows: np.ndarray, longest: int
    ) -> dict[str, tf.Tensor]:
        """Rows of encoded texts as those of one photo [1, k, ...], without columns of padding."""
        with_words = ("words", "texts") if self._reads_tokens else ("words",)
        width = max(1, longest)
        return {
            name: tf.constant((part[rows, :width] if name in with_words else part[rows])[None])
            for name, part in encoded.items()
        }


def _split(model: keras.Model) -> tuple[keras.Model, keras.Model, keras.Model] | None:
    """Split a model into photo side, text side and head; None if that is impossible."""
    names = {layer.name for layer in model.layers}
    photo, text = (
        {key: model.get_layer(name).output for key, name in ends.items() if name in names}
        for ends in (PHOTO_ENDS, TEXT_ENDS)
    )
    if "image" not in photo or "text" not in text:
        return None
    inputs = model.input
    head_inputs = photo | text | {"texts": inputs["texts"]}
    try:
        head = keras.Model([head_inputs[name] for name in sorted(head_inputs)], model.output)
    except ValueError:  # the photo also reaches the output on another path
        return None
    return keras.Model(inputs["image"], photo), keras.Model(inputs["texts"], text), head


def _compile(part: keras.Model, arrange: Callable = lambda inputs: inputs) -> Callable:
    """A graph that is traced once, for any numbers of photos, captions and words."""
    specs = keras.tree.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), part.input)
    run = tf.function(lambda inputs: part(inputs, training=False), input_signature=[specs])
    return lambda inputs: run(arrange(inputs))
