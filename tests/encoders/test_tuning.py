"""Fine-tuned towers: fixed statistics, frozen layers and learning rates."""

import keras
import numpy as np
import pytest

from imagetext.encoders import minilm
from imagetext.encoders.efficientnet_lite import Variant, network
from imagetext.encoders.minilm import BertShape
from imagetext.encoders.tuning import (
    find_blocks,
    freeze_embeddings,
    freeze_statistics,
    learning_rates,
    train_last_blocks,
)


def tower() -> keras.Model:
    inner = keras.Sequential([keras.layers.BatchNormalization(name="inner")])
    image = keras.Input([4], name="image")
    x = keras.layers.Dense(3, name="dense")(image)
    x = inner(keras.layers.BatchNormalization(name="outer")(x))
    return keras.Model(image, keras.layers.Dropout(0.9, name="drop")(x))


def test_frozen_statistics_give_the_same_in_training():
    encoder = tower()
    freeze_statistics(encoder)
    image = keras.Input([4])
    model = keras.Model(image, encoder(image))
    batch = np.random.default_rng(0).normal(3, 2, (8, 4)).astype(np.float32)
    weights = [v.numpy() for v in encoder.variables if "moving" in v.name]
    np.testing.assert_array_equal(model(batch, training=True), model(batch, training=False))
    after = [v.numpy() for v in encoder.variables if "moving" in v.name]
    assert len(after) == 4
    for before, now in zip(weights, after, strict=True):
        np.testing.assert_array_equal(before, now)


def test_kernels_can_still_be_trained():
    encoder = tower()
    freeze_statistics(encoder)
    assert [v.path.split("/")[-2:] for v in encoder.trainable_variables] == [
        ["dense", "kernel"],
        ["dense", "bias"],
    ]


def test_without_it_the_outer_model_overrides_training():
    """Calling the tower with `training=False` is not enough."""
    encoder = tower()
    image = keras.Input([4])
    model = keras.Model(image, encoder(image, training=False))
    batch = np.ones((8, 4), np.float32)
    assert not np.array_equal(model(batch, training=True), model(batch, training=False))


def bert() -> keras.Model:
    return minilm.build(BertShape(30, 8, depth=3, heads=2, feed_forward=12), token_states=True)


def names(tower: keras.Model) -> list[set[str]]:
    return [{layer.name for layer in part} for part in find_blocks(tower)]


def test_blocks_of_towers_are_recognised():
    parts = ("attention", "attention_norm", "expand", "contract", "output_norm")
    assert names(bert()) == [
        {"words", "positions", "embedding_norm"},
        *({f"{part}_{n}" for part in parts} for n in range(3)),
        set(),
    ]
    lite = network(Variant(32, 0.25, 0.2))
    actual = names(lite)
    assert actual[0] == {"stem", "stem_norm"} and actual[-1] == {"head", "head_norm"}
    assert "block_3_project" in actual[4] and len(actual) == 2 + 7
    assert sum(map(len, actual)) == sum(bool(layer.weights) for layer in lite.layers)
    assert find_blocks(tower()) == []


@pytest.mark.parametrize(("count", "frozen"), [(0, 4), (1, 3), (2, 2), (3, 1), (9, 1)])
def test_only_the_last_blocks_are_trained(count, frozen):
    encoder = bert()
    assert train_last_blocks(encoder, count)
    for number, part in enumerate(find_blocks(encoder)):
        assert all(layer.trainable == (number >= frozen) for layer in part), number
    assert not train_last_blocks(tower(), count)


def test_learning_rates_decay_towards_the_input():
    encoder = bert()
    encoder.get_layer("words").trainable = False
    shares = {
        variable.path.split("/")[-2]: share for variable, share in learning_rates(encoder, 0.5, 0.1)
    }
    assert shares["output_norm_2"] == pytest.approx(0.05)
    assert shares["expand_0"] == pytest.approx(0.0005)
    assert shares["positions"] == pytest.approx(0.00005) and "words" not in shares
    assert {share for _, share in learning_rates(encoder, 0.5)} == {0.5}
    assert [share for _, share in learning_rates(tower(), 0.3, 0.1)] == [0.3] * 2 + [0.3] * 4
    assert len(learning_rates(encoder, 1.0)) == len(encoder.trainable_variables)


class PositionEmbedding(keras.layers.Dense):
    """Named like keras-hub's layer, which is not an Embedding either."""


def test_embeddings_are_frozen_in_nested_models():
    ids = keras.Input([None], dtype="int32")
    x = keras.layers.Embedding(9, 4, name="words")(ids)
    inner = keras.Model(ids, PositionEmbedding(4, name="places")(x), name="backbone")
    outer = keras.Model(ids, keras.layers.Dense(2, name="dense")(inner(ids)))
    freeze_embeddings(outer)
    assert {v.path.split("/")[0] for v in outer.trainable_variables} == {"dense"}
