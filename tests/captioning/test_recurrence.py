"""The fast loop of a GRU against that of Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from imagetext.captioning.models.recurrence import speed_up_on_cpu
from imagetext.training.device import gpus, precision

ROWS, TIME, WIDTH, UNITS = 3, 5, 4, 6


def make_pair(name: str = "float32") -> tuple[layers.GRU, layers.GRU]:
    """A GRU of Keras and a fast one with the same large weights."""
    with precision(name):
        grus = [layers.GRU(UNITS, return_sequences=True) for _ in range(2)]
    random = np.random.default_rng(0)
    for gru in grus:
        gru.build((None, None, WIDTH))
    for weight, copy in zip(*(gru.weights for gru in grus), strict=True):
        weight.assign(random.normal(0, 1, weight.shape))
        copy.assign(weight)
    return grus[0], speed_up_on_cpu(grus[1])


def make_inputs(time: int = TIME) -> tuple[tf.Tensor, tf.Tensor]:
    return (
        tf.random.stateless_normal([ROWS, time, WIDTH], [0, 1]),
        tf.random.stateless_normal([ROWS, UNITS], [0, 2]),
    )


def outputs_and_gradients(
    gru: layers.GRU, x: tf.Tensor, state: tf.Tensor
) -> tuple[tf.Tensor, list]:
    @tf.function
    def run(x, state):
        with tf.GradientTape() as tape:
            tape.watch([x, state])
            outputs = gru(x, initial_state=state)
            loss = tf.reduce_sum(tf.sin(7 * tf.cast(outputs, tf.float32)))
        return outputs, tape.gradient(loss, [x, state, *gru.trainable_variables])

    return run(x, state)


@pytest.mark.skipif(bool(gpus()), reason="on a GPU the loop of Keras is used")
def test_does_not_use_the_loop_of_keras():
    slow, fast = make_pair()
    fast.cell.call = slow.cell.call = None
    with pytest.raises(TypeError):
        slow(*make_inputs())
    fast(make_inputs()[0])


@pytest.mark.parametrize("time", [1, 2, TIME])
def test_outputs_and_gradients_equal_those_of_keras(time):
    slow, fast = [outputs_and_gradients(gru, *make_inputs(time)) for gru in make_pair()]
    np.testing.assert_allclose(fast[0], slow[0], atol=1e-6)
    assert len(slow[1]) == 5
    for gradient, expected in zip(fast[1], slow[1], strict=True):
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(gradient, expected, atol=2e-5)


def test_default_initial_state_is_that_of_keras():
    slow, fast = make_pair()
    np.testing.assert_allclose(fast(make_inputs()[0]), slow(make_inputs()[0]), atol=1e-6)


def test_bfloat16_stays_bfloat16():
    slow, fast = make_pair("mixed_bfloat16")
    exact, _ = make_pair()
    expected = outputs_and_gradients(exact, *make_inputs())
    errors = []
    for gru in (fast, slow):
        outputs, gradients = outputs_and_gradients(gru, *make_inputs())
        assert outputs.dtype == tf.bfloat16 and gradients[2].dtype == tf.float32
        pairs = zip(gradients, expected[1], strict=True)
        errors.append([float(tf.norm(tf.cast(a, "float32") - b) / tf.norm(b)) for a, b in pairs])
    assert (np.array(errors[0]) < np.maximum(1.5 * np.array(errors[1]), 0.05)).all()


def test_is_saved_as_a_gru_of_keras(tmp_path):
    x = keras.Input([None, WIDTH])
    _, fast = make_pair()
    model = keras.Model(x, fast(x))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.layers[-1]) is layers.GRU
    np.testing.assert_allclose(loaded(make_inputs()[0]), model(make_inputs()[0]), atol=1e-6)
