"""What all tokenizers share: special ids around the pieces of a text, and padding behind them."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


class Tokenizer:
    """Strings to padded ids, in a graph or not; who inherits says how a text falls to pieces.

    Of the `max_length` ids of a text, two are special: `start` and `end`. `pad` fills up.
    """

    start: int
    end: int
    pad: int
    max_length: int

    def split(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Strings [b] -> int32 ids [b, (pieces)], without special ones, however long."""
        raise NotImplementedError

    def tokenize_ragged(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Strings [b] -> int32 ids [b, (pieces)], special tokens included, truncated."""
        pieces = self.split(texts)[:, : self.max_length - 2]
        column = tf.ones([tf.shape(texts)[0], 1], tf.int32)
        return tf.concat([self.start * column, pieces, self.end * column], axis=1)

    def tokenize(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Strings [b] -> ids int32 [b, t] and mask int32 [b, t], t that of the longest text."""
        pieces = self.tokenize_ragged(texts)
        mask = tf.ragged.map_flat_values(tf.ones_like, pieces)
        return pieces.to_tensor(self.pad), mask.to_tensor(0)

    def to_ids(self, texts: Sequence[str]) -> np.ndarray:
        """The ids alone, as numpy: int32 [n, longest], `pad` behind the last of each."""
        encoded = [text.encode(errors="replace") for text in texts]
        return self.tokenize_ragged(tf.constant(encoded, tf.string)).to_tensor(self.pad).numpy()
