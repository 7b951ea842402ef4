"""A tower inside a model in training keeps its averages, and drops nothing."""

import keras
import numpy as np

from encoders.tuning import hold_still


def tower() -> keras.Model:
    inner = keras.Sequential([keras.layers.BatchNormalization(name="inner")])
    image = keras.Input([4], name="image")
    x = keras.layers.Dense(3, name="dense")(image)
    x = inner(keras.layers.BatchNormalization(name="outer")(x))
    return keras.Model(image, keras.layers.Dropout(0.9, name="drop")(x))


def test_a_tower_held_still_answers_alike_in_training():
    made = tower()
    hold_still(made)
    image = keras.Input([4])
    model = keras.Model(image, made(image))
    seen = np.random.default_rng(0).normal(3, 2, (8, 4)).astype(np.float32)
    weights = [v.numpy() for v in made.variables if "moving" in v.name]
    np.testing.assert_array_equal(model(seen, training=True), model(seen, training=False))
    after = [v.numpy() for v in made.variables if "moving" in v.name]
    assert len(after) == 4
    for before, now in zip(weights, after, strict=True):
        np.testing.assert_array_equal(before, now)


def test_its_kernels_can_still_be_trained():
    made = tower()
    hold_still(made)
    assert [v.path.split("/")[-2:] for v in made.trainable_variables] == [
        ["dense", "kernel"],
        ["dense", "bias"],
    ]


def test_without_it_a_model_in_training_overrules_the_tower():
    """What `training=False` in the call was once trusted to do."""
    made = tower()
    image = keras.Input([4])
    model = keras.Model(image, made(image, training=False))
    seen = np.ones((8, 4), np.float32)
    assert not np.array_equal(model(seen, training=True), model(seen, training=False))
