"""A text encoder with its tokenizer.

tower = imagetext.encoders.texts.build("all-MiniLM-L6-v2")
ids, mask = tower.tokenize(tf.constant(["A dog runs", "Snow"]))     # also inside a tf.function
tower.model({"token_ids": ids, "mask": mask})["sentence"]           # [2, 384], length 1

ids = tower.to_ids(captions)                    # int32 [n, longest], once before training
tower.mask(ids)                                 # their mask
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

#: Message about a cased vocabulary.
CASED = "the vocabulary is cased, but texts are lower-cased; use an uncased BERT"


class TextTower(tf.Module):
    """A text encoder with its tokenizer.

    Sentence vectors have length 1. Tokens are the states of the last layer, undefined where the
    mask is 0. No tower has active dropout: in training a frozen one gives the same results.

    It can be exported like any `tf.Module`; to load the SavedModel, import `tensorflow_text` first.

    Args:
        model: Maps {"token_ids": int32 [b, t], "mask": int32 [b, t]} to {"sentence": float32
            [b, width], "tokens": float32 [b, t, width]}.
        tokenizer: Makes the ids.
    """

    def __init__(self, model: keras.Model, tokenizer: WordPieceTokenizer | BytePairTokenizer):
        super().__init__(name="text_tower")
        self.model = model
        self.tokenizer = tokenizer
        self.width: int = model.output["sentence"].shape[-1]
        self.max_length = tokenizer.max_length

    def tokenize(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Strings [b] -> ids and mask, both int32 [b, length of the longest text]."""
        return self.tokenizer.tokenize(texts)

    def to_ids(self, texts: Sequence[str]) -> np.ndarray:
        """Texts -> padded ids as a NumPy array, int32 [n, length of the longest text]."""
        if isinstance(texts, str):
            raise TypeError("expected a list of texts, got a string")
        return self.tokenizer.to_ids(texts) if len(texts) else np.zeros([0, 0], np.int32)

    def mask(self, token_ids: tf.Tensor) -> tf.Tensor:
        """The mask of ids [b, t], int32 [b, t]: 1 up to the end of each text, 0 for padding."""
        return token_mask(token_ids, self.tokenizer.end)


def token_mask(token_ids, end: int):
    """The mask of ids [..., t], int32: 1 up to the first `end`, 0 after it; all 1 without an `end`.

    The id 0 does not imply padding: in CLIP's vocabulary it is the exclamation mark.
    """
    ends = ops.cast(ops.equal(token_ids, end), "int32")
    return ops.cast(ops.less(ops.cumsum(ends, axis=-1) - ends, 1), "int32")


def add_sentence_vector(network: keras.Model, pooling: str, projection=None) -> keras.Model:
    """Extend a model of token states by a sentence vector of length 1.

    Args:
        network: A model with the inputs `token_ids` and `mask` [b, t] and the output [b, t, n].
        pooling: "mean" of the tokens, or the "first" or "last" token.
        projection: A layer applied to the pooled vector.

    Returns:
        A model with the outputs "sentence" [b, width] and "tokens" [b, t, n].
    """
    mask = network.input["mask"]
    # Always in float32: in half precision, a sum of squares overflows.
    states = ops.cast(network.output, "float32")
    inside = ops.expand_dims(ops.cast(mask, "float32"), axis=-1)
    if pooling == "mean":
        vector = ops.sum(states * inside, axis=1) / ops.maximum(ops.sum(inside, axis=1), 1e-9)
    elif pooling == "first":
        vector = states[:, 0]
    else:
        # The last token is inside the mask, but the next one is not.
        next_inside = ops.pad(inside[:, 1:], [[0, 0], [0, 1], [0, 0]])
        vector = ops.sum(states * inside * (1 - next_inside), axis=1)
    if projection is not None:
        vector = ops.cast(projection(vector), "float32")
    length = ops.sqrt(ops.sum(vector * vector, axis=-1, keepdims=True))
    outputs = {"sentence": vector / ops.maximum(length, 1e-12), "tokens": states}
    return keras.Model(network.input, outputs, name=network.name)


def require_matching_vocabulary(folder: Path, size: int, rows: int) -> None:
    """Refuse a vocabulary larger than the network's embedding table.

    A GPU would silently use zeros for the missing rows.
    """
    if size > rows:
        raise UserError(
            f"{folder}: the vocabulary has {size:,} pieces, but the network has {rows:,}"
            " embeddings; use the vocabulary that was published with the weights"
        )
