"""Late interaction equals plain loops, forward and backward."""

import numpy as np
import pytest
import tensorflow as tf

from imagetext.layers.late_interaction import PHOTOS_PER_BLOCK, late_similarities, word_weights


def naive(cells, words, mask) -> np.ndarray:
    similarities = np.zeros((len(cells), len(words)))
    for i, photo in enumerate(cells):
        for j, (caption, inside) in enumerate(zip(words, mask, strict=True)):
            best = [max(word @ cell for cell in photo) for word in caption[inside > 0]]
            similarities[i, j] = np.mean(best) if best else 0
    return similarities


@pytest.fixture(params=[1, PHOTOS_PER_BLOCK, PHOTOS_PER_BLOCK + 3])
def batch(request):
    rng = np.random.default_rng(request.param)
    cells = rng.normal(size=(request.param, 4, 3)).astype(np.float32)
    words = rng.normal(size=(5, 6, 3)).astype(np.float32)
    mask = (np.arange(6) < np.array([6, 1, 3, 4, 0])[:, None]).astype(np.float32)
    return cells, words, mask


@pytest.mark.parametrize("graph", [True, False])
def test_similarity_is_the_mean_over_words_of_the_best_cell(batch, graph):
    cells, words, mask = batch
    function = tf.function(late_similarities) if graph else late_similarities
    actual = function(tf.constant(cells), tf.constant(words), word_weights(mask))
    np.testing.assert_allclose(actual, naive(cells, words, mask), atol=1e-5)


def test_the_gradient_equals_that_without_blocks(batch):
    cells, words, mask = map(tf.constant, batch)
    upstream = tf.constant(np.random.default_rng(0).normal(size=(len(cells), 5)), tf.float32)

    @tf.function
    def gradients(function):
        with tf.GradientTape() as tape:
            tape.watch([cells, words])
            output = function(cells, words, word_weights(mask))
        return tape.gradient(output, [cells, words], upstream)

    def plain(cells, words, weights):
        best = tf.reduce_max(tf.einsum("icd,jtd->ijtc", cells, words), axis=-1)
        return tf.reduce_sum(best * weights, axis=-1)

    for actual, expected in zip(gradients(late_similarities), gradients(plain), strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-5)
        assert np.abs(expected).max() > 0.01


def test_half_precision_is_summed_in_float32(batch):
    cells, words, mask = map(tf.constant, batch)
    halves = [tf.cast(x, tf.bfloat16) for x in (cells, words)]

    def gradients(cells, words):
        with tf.GradientTape() as tape:
            tape.watch([cells, words])
            output = late_similarities(cells, words, word_weights(mask))
        return output, *tape.gradient(output, [cells, words])

    actual, *gradients_of_halves = gradients(*halves)
    expected, *exact = gradients(*(tf.cast(half, tf.float32) for half in halves))
    assert actual.dtype == tf.float32
    assert all(gradient.dtype == tf.bfloat16 for gradient in gradients_of_halves)
    np.testing.assert_allclose(actual, expected, atol=0.03)
    for rough, gradient in zip(gradients_of_halves, exact, strict=True):
        close = np.isclose(tf.cast(rough, tf.float32), gradient, atol=0.03)
        assert close.mean() > 0.9  # of two equally good cells, another one may win
