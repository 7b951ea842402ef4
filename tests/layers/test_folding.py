"""Two open axes of a functional model are merged into one, and split again."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from imagetext.layers.folding import fold, unfold

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(2, 3, 4), (3, 1, 5), (1, 4, 1), (2, 3, 4, 5)])
def test_texts_of_all_photos_are_folded(shape):
    inputs = keras.Input([None, None, *shape[3:]])
    model = keras.Model(inputs, fold(inputs, keras.layers.Reshape([-1, *shape[3:]])))
    x = RNG.normal(size=shape).astype(np.float32)
    np.testing.assert_array_equal(model(x), x.reshape(-1, *shape[2:]))


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 1, 2, 1), (1, 4, 1, 2)])
def test_unfolding_restores_texts_and_gradients(shape):
    tokens = keras.Input([None, None], dtype="int32")
    rows = keras.Input([None, shape[3]])
    model = keras.Model([rows, tokens], unfold(rows, tokens))
    x = RNG.normal(size=shape).astype(np.float32)
    inputs = tf.constant(x.reshape(-1, *shape[2:]))
    like = tf.constant(RNG.integers(0, 9, shape[:3]), tf.int32)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        actual = model([inputs, like])
        loss = tf.reduce_sum(actual * x)
    np.testing.assert_array_equal(actual, x)
    np.testing.assert_array_equal(tape.gradient(loss, inputs), inputs)
