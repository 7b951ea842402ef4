"""The gradient in parts is that of the whole batch, dropout and all."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from imagetext.layers.contrastive import Contrastive, Temperature
from imagetext.layers.late_interaction import late_similarities, word_weights
from imagetext.training.gradient_cache import cached_gradients

ROWS = 12


def network(dropout: float = 0.0) -> keras.Model:
    """Two sides and, of one, several vectors a row; a word that no row has gets no gradient."""
    keras.utils.set_random_seed(0)
    image = keras.Input([5], name="image")
    texts = keras.Input([None], dtype="int32", name="texts")
    photo = layers.Dense(8, "tanh", name="photo_hidden")(image)
    photo = layers.Dropout(dropout, name="photo_drop")(photo)
    words = layers.Embedding(9, 6, name="words")(texts)
    words = layers.Dropout(dropout, name="words_drop")(words)
    found = {
        "photo": layers.Dense(4, name="photo")(photo),
        "text": layers.Dense(4, name="text")(ops.mean(words, axis=1)),
        "cells": layers.Reshape([2, 3], name="cells")(layers.Dense(6, name="row")(photo)),
        "tokens": layers.Dense(3, name="tokens")(words),
    }
    return keras.Model({"image": image, "texts": texts}, found)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    inputs = {
        "image": tf.constant(rng.normal(size=(ROWS, 5)), tf.float32),
        "texts": tf.constant(rng.integers(0, 8, (ROWS, 3)), tf.int32),
    }
    truth = np.eye(ROWS, dtype=np.float32)
    truth[0, 5] = truth[5, 0] = -1
    return inputs, truth


def loss_with(temperature, truth):
    def loss_of(vectors):
        cosines = tf.matmul(vectors["photo"], vectors["text"], transpose_b=True)
        weights = word_weights(tf.ones(tf.shape(vectors["tokens"])[:2]))
        cosines += late_similarities(vectors["cells"], vectors["tokens"], weights)
        return tf.reduce_mean(Contrastive(hardness=0.3)(truth, temperature(cosines)))

    return loss_of


@pytest.fixture
def temperature():
    temperature = Temperature(0.5)
    temperature.build(())
    return temperature


@pytest.mark.parametrize("size", [1, 4, 12])
@pytest.mark.parametrize("graph", [True, False])
def test_it_is_the_gradient_of_the_whole_batch(batch, temperature, size, graph):
    inputs, truth = batch
    model, loss_of = network(), loss_with(temperature, truth)
    variables = [*model.trainable_variables, *temperature.trainable_variables]
    with tf.GradientTape() as tape:
        wanted = loss_of(model(inputs, training=True))
    plain = tape.gradient(wanted, [variable.value for variable in variables])

    def step():
        return cached_gradients(model, loss_of, inputs, variables, size)

    loss, gradients = tf.function(step)() if graph else step()
    assert float(loss) == pytest.approx(float(wanted), abs=1e-6)
    assert len(gradients) == len(variables)
    for variable, one, other in zip(variables, gradients, plain, strict=True):
        other = tf.convert_to_tensor(other).numpy()
        np.testing.assert_allclose(one, other, atol=1e-5, err_msg=variable.path)
        assert np.abs(other).max() > 1e-4, variable.path


def test_the_same_is_dropped_both_times_and_something_else_the_next(batch, temperature):
    """Against one tape over all parts, from the same seeds."""
    inputs, truth = batch
    model, loss_of = network(dropout=0.5), loss_with(temperature, truth)
    variables = [*model.trainable_variables, *temperature.trainable_variables]
    seeds = [v for v in model.variables if "seed" in v.path]
    before = [seed.numpy() for seed in seeds]
    with tf.GradientTape() as tape:
        parts = [
            model({name: rows[start : start + 4] for name, rows in inputs.items()}, training=True)
            for start in range(0, ROWS, 4)
        ]
        vectors = {name: tf.concat([part[name] for part in parts], 0) for name in parts[0]}
        wanted = loss_of(vectors)
    plain = tape.gradient(wanted, [variable.value for variable in variables])
    after = [seed.numpy() for seed in seeds]
    assert len(seeds) == 2 and not np.array_equal(before, after)
    for seed, value in zip(seeds, before, strict=True):
        seed.assign(value)
    step = tf.function(lambda: cached_gradients(model, loss_of, inputs, variables, 4))
    loss, gradients = step()
    assert float(loss) == pytest.approx(float(wanted), abs=1e-5)
    for one, other in zip(gradients, plain, strict=True):
        np.testing.assert_allclose(one, tf.convert_to_tensor(other), atol=1e-5)
    np.testing.assert_array_equal([seed.numpy() for seed in seeds], after)
    again, _ = step()
    assert abs(float(again) - float(loss)) > 1e-3
