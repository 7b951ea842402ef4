"""Late interaction: each word of a caption finds the cell of a photo that is most like it.

    similarities = late_similarities(cells, words, weights)
    # cells [n, c, d] of n photos, words [m, t, d] and weights [m, t] of m captions -> [n, m]

The similarity is the mean, by `weights`, over the words of the largest product with any cell
(FILIP, Yao et al. 2021). All words of all captions meet all cells of all photos, and what they say
to each other would fill gigabytes: it is computed for a few photos at a time, forward and backward.
"""

import keras
import tensorflow as tf
from keras import ops

#: Photos whose cells meet all words at once.
TOGETHER = 8


def word_weights(mask: tf.Tensor) -> tf.Tensor:
    """Which are words, [m, t], 1 or 0 -> the share of each in its caption."""
    mask = tf.cast(mask, tf.float32)
    return mask / tf.maximum(tf.reduce_sum(mask, axis=1, keepdims=True), 1.0)


def late_similarities_of_pairs(cells, words, mask):
    """Late interaction of each photo with its own captions only, inside a functional model.

    Args:
        cells: [b, c, d].
        words: Words of k captions of each photo, [b, k, t, d].
        mask: 1 for words, 0 for padding, float32 [b, k, t].

    Returns:
        The mean over the words of the largest product with any cell, [b, k, 1].
    """
    best = ops.max(ops.einsum("bcd,bktd->bkct", cells, words), axis=2)
    count = ops.maximum(ops.sum(mask, axis=-1, keepdims=True), 1.0)
    return ops.sum(best * mask, axis=-1, keepdims=True) / count


@tf.autograph.experimental.do_not_convert  # it would take the gradient's function for a result
@tf.custom_gradient
def late_similarities(cells: tf.Tensor, words: tf.Tensor, weights: tf.Tensor):
    """[n, c, d], [m, t, d], which may be halves, and float32 [m, t] -> float32 [n, m]; no gradient
    goes to the weights."""
    count = tf.shape(cells)[0]
    blocks = _in_blocks(cells)
    found = tf.map_fn(
        lambda block: _meet(block, words, weights),
        blocks,
        parallel_iterations=1,
        fn_output_signature=tf.float32,
    )
    similarities = tf.reshape(found, [-1, tf.shape(words)[0]])[:count]

    def backward(upstream):
        gradients = _in_blocks(upstream)
        number = tf.shape(blocks)[0]

        def step(place, to_cells, to_words):
            block = blocks[place]
            with tf.GradientTape() as tape:
                tape.watch([block, words])
                met = _meet(block, words, weights)
            of_block, of_words = tape.gradient(met, [block, words], gradients[place])
            to_words += tf.cast(of_words, tf.float32)
            return place + 1, to_cells.write(place, of_block), to_words

        start = (0, tf.TensorArray(cells.dtype, number), tf.zeros_like(words, tf.float32))
        _, to_cells, to_words = tf.while_loop(
            lambda place, *_: place < number, step, start, parallel_iterations=1
        )
        to_cells = tf.reshape(to_cells.stack(), [-1, *_shape(cells)[1:]])[:count]
        return to_cells, tf.cast(to_words, words.dtype), None

    return similarities, backward


class LateInteraction(keras.layers.Layer):
    """All captions of a batch and all its photos: cells [n, c, d], words [m, t, d] and which of
    those are there, [m, t] -> float32 [n, m].

    What meets is large: it does in the layer's precision.
    """

    def call(self, cells, words, mask):
        return late_similarities(cells, words, word_weights(mask))

    def compute_output_spec(self, cells, words, mask):
        return keras.KerasTensor([cells.shape[0], words.shape[0]], "float32")


def _meet(cells: tf.Tensor, words: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """[p, c, d] and [m, t, d] -> [p, m]"""
    photos, each, width = _shape(cells)
    captions, length, _ = _shape(words)
    flat = tf.matmul(
        tf.reshape(cells, [-1, width]), tf.reshape(words, [-1, width]), transpose_b=True
    )
    flat = tf.cast(flat, tf.float32)
    best = tf.reduce_max(tf.reshape(flat, [photos, each, -1]), axis=1)
    best = tf.reshape(best, [photos, captions, length])
    return tf.reduce_sum(best * weights, axis=-1)


def _in_blocks(rows: tf.Tensor) -> tf.Tensor:
    """[n, ...] -> [blocks, TOGETHER, ...], filled up with zeros."""
    missing = -tf.shape(rows)[0] % TOGETHER
    rows = tf.pad(rows, [[0, missing], *[[0, 0]] * (rows.shape.rank - 1)])
    return tf.reshape(rows, [-1, TOGETHER, *_shape(rows)[1:]])


def _shape(tensor: tf.Tensor) -> list:
    """As far as it is known, numbers; else tensors."""
    known, found = tensor.shape.as_list(), tf.shape(tensor)
    return [found[axis] if size is None else size for axis, size in enumerate(known)]
