"""Two open axes of a functional model become one, and that one two again, as by a reshape."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from imagetext.layers.folding import fold, unfold

NUMBERS = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(2, 3, 4), (3, 1, 5), (1, 4, 1), (2, 3, 4, 5)])
def test_texts_of_each_photo_in_a_row(shape):
    given = keras.Input([None, None, *shape[3:]])
    model = keras.Model(given, fold(given, keras.layers.Reshape([-1, *shape[3:]])))
    x = NUMBERS.normal(size=shape).astype(np.float32)
    np.testing.assert_array_equal(model(x), x.reshape(-1, *shape[2:]))


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 1, 2, 1), (1, 4, 1, 2)])
def test_rows_go_back_to_their_photos_and_so_do_gradients(shape):
    tokens = keras.Input([None, None], dtype="int32")
    rows = keras.Input([None, shape[3]])
    model = keras.Model([rows, tokens], unfold(rows, tokens))
    x = NUMBERS.normal(size=shape).astype(np.float32)
    given = tf.constant(x.reshape(-1, *shape[2:]))
    like = tf.constant(NUMBERS.integers(0, 9, shape[:3]), tf.int32)
    with tf.GradientTape() as tape:
        tape.watch(given)
        found = model([given, like])
        loss = tf.reduce_sum(found * x)
    np.testing.assert_array_equal(found, x)
    np.testing.assert_array_equal(tape.gradient(loss, given), given)
