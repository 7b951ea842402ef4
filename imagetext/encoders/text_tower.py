"""A network that reads texts, with the tokenizer it was trained with.

tower = imagetext.encoders.texts.build("all-MiniLM-L6-v2")
ids, mask = tower.tokenize(tf.constant(["A dog runs", "Snow"]))     # in a graph, or not
tower.model({"token_ids": ids, "mask": mask})["sentence"]           # [2, 384], length 1

ids = tower.to_ids(captions)                    # int32 [n, longest]: once, before training
tower.mask(ids)                                 # the mask that belongs to them
"""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from imagetext.encoders.byte_pairs import BytePairTokenizer
from imagetext.encoders.wordpiece import WordPieceTokenizer
from imagetext.errors import UserError

#: Message for a cased vocabulary, since texts are read in lower case.
CASED = "a cased vocabulary, but texts are read in lower case; use an uncased BERT"


class TextTower(tf.Module):
    """`model` maps {"token_ids": int32 [b, t], "mask": int32 [b, t]} to {"sentence": float32
    [b, width], "tokens": float32 [b, t, width]}; `pieces` make its ids out of strings.

    Sentences have length 1; tokens are the states of the last layer, and mean nothing where the
    mask is 0. No tower drops anything in training: a frozen one gives the same there.

    It is exported like any `tf.Module`: whoever loads the SavedModel imports `tensorflow_text`.
    """

    def __init__(self, model: keras.Model, pieces: WordPieceTokenizer | BytePairTokenizer):
        super().__init__(name="text_tower")
        self.model = model
        self.tokenizer = pieces
        self.width: int = model.output["sentence"].shape[-1]
        self.max_length = pieces.max_length

    def tokenize(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Strings [b] -> ids int32 [b, t] and mask int32 [b, t], t that of the longest text."""
        return self.tokenizer.tokenize(texts)

    def to_ids(self, texts: Sequence[str]) -> np.ndarray:
        """The ids alone, as numpy: int32 [n, longest], zeros behind the last of each."""
        if isinstance(texts, str):
            raise TypeError("give a list of texts, not one text")
        return self.tokenizer.to_ids(texts) if len(texts) else np.zeros([0, 0], np.int32)

    def mask(self, token_ids: tf.Tensor) -> tf.Tensor:
        """Ids [b, t] of `padded` -> int32 [b, t]: 1 up to the id that ends a text, 0 behind it."""
        return token_mask(token_ids, self.tokenizer.end)


def token_mask(token_ids, end: int):
    """Ids [..., t] -> the mask that belongs to them, int32: 1 up to the `end` of a text, 0 behind.

    Not "where the ids are not 0": in CLIP's vocabulary, 0 is an exclamation mark. Where nothing
    ends, as in a place without a text, all is 1.
    """
    ends = ops.cast(ops.equal(token_ids, end), "int32")
    return ops.cast(ops.less(ops.cumsum(ends, axis=-1) - ends, 1), "int32")


def add_sentence_vector(network: keras.Model, pooling: str, projection=None) -> keras.Model:
    """A model of token states, inputs `token_ids` and `mask`, with a vector of the sentence.

    The vector is made of the states of a text's tokens: their `mean`, or that of its `first` or
    `last`; it goes through `projection`, and gets length 1.
    """
    mask = network.input["mask"]
    states = ops.cast(network.output, "float32")
    # In float32 whatever the precision: under a mixed one, a sum of squares overflows.
    inside = ops.expand_dims(ops.cast(mask, "float32"), axis=-1)
    if pooling == "mean":
        vector = ops.sum(states * inside, axis=1) / ops.maximum(ops.sum(inside, axis=1), 1e-9)
    elif pooling == "first":
        vector = states[:, 0]
    else:
        # Of the tokens inside, the one that no other is inside behind.
        behind = ops.pad(inside[:, 1:], [[0, 0], [0, 1], [0, 0]])
        vector = ops.sum(states * inside * (1 - behind), axis=1)
    if projection is not None:
        vector = ops.cast(projection(vector), "float32")
    length = ops.sqrt(ops.sum(vector * vector, axis=-1, keepdims=True))
    outputs = {"sentence": vector / ops.maximum(length, 1e-12), "tokens": states}
    return keras.Model(network.input, outputs, name=network.name)


def require_fit(folder: Path, pieces: int, rows: int) -> None:
    """Refuse a vocabulary with more ids than the network has rows: a GPU would read zeros there."""
    if pieces > rows:
        raise UserError(
            f"{folder}: the vocabulary has {pieces:,} pieces, but the network has {rows:,}; they"
            " do not belong together"
        )
