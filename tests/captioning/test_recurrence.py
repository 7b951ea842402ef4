"""The quick loop of a GRU against Keras' own."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from imagetext.captioning.models.recurrence import speed_up_on_cpu
from imagetext.training.device import gpus, precision

ROWS, TIME, GIVEN, SIZE = 3, 5, 4, 6


def pair(name: str = "float32") -> tuple[layers.GRU, layers.GRU]:
    """Keras' GRU and a quick one of the same large weights."""
    with precision(name):
        both = [layers.GRU(SIZE, return_sequences=True) for _ in range(2)]
    random = np.random.default_rng(0)
    for gru in both:
        gru.build((None, None, GIVEN))
    for one, other in zip(*(gru.weights for gru in both), strict=True):
        one.assign(random.normal(0, 1, one.shape))
        other.assign(one)
    return both[0], speed_up_on_cpu(both[1])


def given(time: int = TIME) -> tuple[tf.Tensor, tf.Tensor]:
    return (
        tf.random.stateless_normal([ROWS, time, GIVEN], [0, 1]),
        tf.random.stateless_normal([ROWS, SIZE], [0, 2]),
    )


def gradients(gru: layers.GRU, x: tf.Tensor, state: tf.Tensor) -> tuple[tf.Tensor, list]:
    @tf.function
    def run(x, state):
        with tf.GradientTape() as tape:
            tape.watch([x, state])
            read = gru(x, initial_state=state)
            loss = tf.reduce_sum(tf.sin(7 * tf.cast(read, tf.float32)))
        return read, tape.gradient(loss, [x, state, *gru.trainable_variables])

    return run(x, state)


@pytest.mark.skipif(bool(gpus()), reason="on a GPU Keras' own loop is left as it is")
def test_it_is_not_the_loop_of_keras():
    slow, quick = pair()
    quick.cell.call = slow.cell.call = None
    with pytest.raises(TypeError):
        slow(*given())
    quick(given()[0])


@pytest.mark.parametrize("time", [1, 2, TIME])
def test_outputs_and_gradients_are_those_of_keras(time):
    found = [gradients(gru, *given(time)) for gru in pair()]
    np.testing.assert_allclose(found[1][0], found[0][0], atol=1e-6)
    assert len(found[0][1]) == 5
    for ours, expected in zip(found[1][1], found[0][1], strict=True):
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(ours, expected, atol=2e-5)


def test_it_starts_from_nothing_as_keras_does():
    slow, quick = pair()
    np.testing.assert_allclose(quick(given()[0]), slow(given()[0]), atol=1e-6)


def test_bfloat16_stays_bfloat16():
    slow, quick = pair("mixed_bfloat16")
    exact, _ = pair()
    expected = gradients(exact, *given())
    errors = []
    for gru in (quick, slow):
        read, found = gradients(gru, *given())
        assert read.dtype == tf.bfloat16 and found[2].dtype == tf.float32
        pairs = zip(found, expected[1], strict=True)
        errors.append([float(tf.norm(tf.cast(a, "float32") - b) / tf.norm(b)) for a, b in pairs])
    assert (np.array(errors[0]) < np.maximum(1.5 * np.array(errors[1]), 0.05)).all()


def test_it_is_saved_as_the_gru_of_keras(tmp_path):
    x = keras.Input([None, GIVEN])
    _, quick = pair()
    model = keras.Model(x, quick(x))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.layers[-1]) is layers.GRU
    np.testing.assert_allclose(loaded(given()[0]), model(given()[0]), atol=1e-6)
