"""Base class of the tokenizers: special ids around the pieces of a text, and padding."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


class Tokenizer:
    """Turns strings into padded ids, also inside a `tf.function`. Subclasses implement `split`.

    A text becomes at most `max_length` ids, of which the first is `start` and the last is `end`;
    shorter texts are filled up with `pad`.
    """

    start: int
    end: int
    pad: int
    max_length: int

    def split(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Strings [b] -> int32 ids [b, (pieces)], without special ids and not truncated."""
        raise NotImplementedError

    def tokenize_ragged(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Strings [b] -> int32 ids [b, (pieces)], with special ids and truncated."""
        pieces = self.split(texts)[:, : self.max_length - 2]
        column = tf.ones([tf.shape(texts)[0], 1], tf.int32)
        return tf.concat([self.start * column, pieces, self.end * column], axis=1)

    def tokenize(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Strings [b] -> ids and mask, both int32 [b, length of the longest text]."""
        pieces = self.tokenize_ragged(texts)
        mask = tf.ragged.map_flat_values(tf.ones_like, pieces)
        return pieces.to_tensor(self.pad), mask.to_tensor(0)

    def to_ids(self, texts: Sequence[str]) -> np.ndarray:
        """Texts -> padded ids as a NumPy array, int32 [n, length of the longest text]."""
        encoded = [text.encode(errors="replace") for text in texts]
        return self.tokenize_ragged(tf.constant(encoded, tf.string)).to_tensor(self.pad).numpy()
