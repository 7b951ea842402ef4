"""Words that find their cells, against plain loops; forward and backward."""

import numpy as np
import pytest
import tensorflow as tf

from imagetext.layers.late_interaction import PHOTOS_PER_BLOCK, late_similarities, word_weights


def naive(cells, words, mask) -> np.ndarray:
    found = np.zeros((len(cells), len(words)))
    for i, photo in enumerate(cells):
        for j, (caption, there) in enumerate(zip(words, mask, strict=True)):
            best = [max(word @ cell for cell in photo) for word in caption[there > 0]]
            found[i, j] = np.mean(best) if best else 0
    return found


@pytest.fixture(params=[1, PHOTOS_PER_BLOCK, PHOTOS_PER_BLOCK + 3])
def given(request):
    rng = np.random.default_rng(request.param)
    cells = rng.normal(size=(request.param, 4, 3)).astype(np.float32)
    words = rng.normal(size=(5, 6, 3)).astype(np.float32)
    mask = (np.arange(6) < np.array([6, 1, 3, 4, 0])[:, None]).astype(np.float32)
    return cells, words, mask


@pytest.mark.parametrize("graph", [True, False])
def test_it_is_the_mean_over_words_of_the_best_cell(given, graph):
    cells, words, mask = given
    meet = tf.function(late_similarities) if graph else late_similarities
    found = meet(tf.constant(cells), tf.constant(words), word_weights(mask))
    np.testing.assert_allclose(found, naive(cells, words, mask), atol=1e-5)


def test_its_gradient_is_that_of_all_at_once(given):
    cells, words, mask = map(tf.constant, given)
    upstream = tf.constant(np.random.default_rng(0).normal(size=(len(cells), 5)), tf.float32)

    @tf.function
    def gradients(meet):
        with tf.GradientTape() as tape:
            tape.watch([cells, words])
            found = meet(cells, words, word_weights(mask))
        return tape.gradient(found, [cells, words], upstream)

    def plain(cells, words, weights):
        best = tf.reduce_max(tf.einsum("icd,jtd->ijtc", cells, words), axis=-1)
        return tf.reduce_sum(best * weights, axis=-1)

    for one, other in zip(gradients(late_similarities), gradients(plain), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
        assert np.abs(other).max() > 0.01


def test_halves_meet_in_halves_and_are_summed_in_float32(given):
    cells, words, mask = map(tf.constant, given)
    halves = [tf.cast(x, tf.bfloat16) for x in (cells, words)]

    def gradients(cells, words):
        with tf.GradientTape() as tape:
            tape.watch([cells, words])
            found = late_similarities(cells, words, word_weights(mask))
        return found, *tape.gradient(found, [cells, words])

    found, *of_halves = gradients(*halves)
    wanted, *whole = gradients(*(tf.cast(half, tf.float32) for half in halves))
    assert found.dtype == tf.float32 and all(x.dtype == tf.bfloat16 for x in of_halves)
    np.testing.assert_allclose(found, wanted, atol=0.03)
    for one, other in zip(of_halves, whole, strict=True):
        close = np.isclose(tf.cast(one, tf.float32), other, atol=0.03)
        assert close.mean() > 0.9  # of two cells as good as each other another one may win
