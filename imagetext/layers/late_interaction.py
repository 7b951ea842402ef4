"""Late interaction: each word of a caption is matched with the most similar cell of a photo.

    similarities = late_similarities(cells, words, weights)
    # cells [n, c, d] of n photos, words [m, t, d] and weights [m, t] of m captions -> [n, m]

The similarity is the weighted mean, over the words, of the largest product with any cell (FILIP,
Yao et al. 2021). The products of all words with all cells would fill gigabytes, so they are
computed for a few photos at a time, forward and backward.
"""

import keras
import tensorflow as tf
from keras import ops

#: Photos whose cells are compared with all words at a time.
PHOTOS_PER_BLOCK = 8


def word_weights(mask: tf.Tensor) -> tf.Tensor:
    """Share of each word in its caption: mask [m, t] of 1 and 0 -> float32 [m, t]."""
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


@tf.autograph.experimental.do_not_convert  # autograph would return the gradient function as well
@tf.custom_gradient
def late_similarities(cells: tf.Tensor, words: tf.Tensor, weights: tf.Tensor):
    """Late interaction of all photos with all captions.

    Args:
        cells: [n, c, d], in any float type.
        words: [m, t, d], in the same type.
        weights: Weights of the words, float32 [m, t]; they get no gradient.

    Returns:
        Similarities, float32 [n, m].
    """
    count = tf.shape(cells)[0]
    blocks = _split_into_blocks(cells)
    similarities = tf.map_fn(
        lambda block: _block_similarities(block, words, weights),
        blocks,
        parallel_iterations=1,
        fn_output_signature=tf.float32,
    )
    similarities = tf.reshape(similarities, [-1, tf.shape(words)[0]])[:count]

    def backward(upstream):
        upstream_blocks = _split_into_blocks(upstream)
        block_count = tf.shape(blocks)[0]

        def step(index, cell_gradients, word_gradient):
            block = blocks[index]
            with tf.GradientTape() as tape:
                tape.watch([block, words])
                output = _block_similarities(block, words, weights)
            of_block, of_words = tape.gradient(output, [block, words], upstream_blocks[index])
            word_gradient += tf.cast(of_words, tf.float32)
            return index + 1, cell_gradients.write(index, of_block), word_gradient

        start = (0, tf.TensorArray(cells.dtype, block_count), tf.zeros_like(words, tf.float32))
        _, cell_gradients, word_gradient = tf.while_loop(
            lambda index, *_: index < block_count, step, start, parallel_iterations=1
        )
        cell_gradient = tf.reshape(cell_gradients.stack(), [-1, *_shape(cells)[1:]])[:count]
        return cell_gradient, tf.cast(word_gradient, words.dtype), None

    return similarities, backward


class LateInteraction(keras.layers.Layer):
    """Layer around `late_similarities`, in the layer's precision.

    Call arguments: cells [n, c, d], words [m, t, d] and the mask of the words [m, t]. The result is
    float32 [n, m].
    """

    def call(self, cells, words, mask):
        return late_similarities(cells, words, word_weights(mask))

    def compute_output_spec(self, cells, words, mask):
        return keras.KerasTensor([cells.shape[0], words.shape[0]], "float32")


def _block_similarities(cells: tf.Tensor, words: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """[p, c, d] and [m, t, d] -> [p, m]"""
    photos, cell_count, width = _shape(cells)
    captions, length, _ = _shape(words)
    products = tf.matmul(
        tf.reshape(cells, [-1, width]), tf.reshape(words, [-1, width]), transpose_b=True
    )
    products = tf.cast(products, tf.float32)
    best = tf.reduce_max(tf.reshape(products, [photos, cell_count, -1]), axis=1)
    best = tf.reshape(best, [photos, captions, length])
    return tf.reduce_sum(best * weights, axis=-1)


def _split_into_blocks(rows: tf.Tensor) -> tf.Tensor:
    """[n, ...] -> [blocks, PHOTOS_PER_BLOCK, ...], padded with zeros."""
    missing = -tf.shape(rows)[0] % PHOTOS_PER_BLOCK
    rows = tf.pad(rows, [[0, missing], *[[0, 0]] * (rows.shape.rank - 1)])
    return tf.reshape(rows, [-1, PHOTOS_PER_BLOCK, *_shape(rows)[1:]])


def _shape(tensor: tf.Tensor) -> list:
    """The shape as numbers where it is static, otherwise as tensors."""
    dynamic = tf.shape(tensor)
    static = tensor.shape.as_list()
    return [dynamic[axis] if size is None else size for axis, size in enumerate(static)]
