"""Contrastive loss and its AUC against plain loops; what nobody knows counts for nothing."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from imagetext.layers.contrastive import LARGEST_SCALE, Contrastive, PairAUC, Temperature
from imagetext.training.device import precision


def naive_loss(truth, similarities) -> float:
    """How surprising each photo's caption is among those that may compete, and conversely."""
    count, total = len(truth), 0.0
    for own in range(count):
        if truth[own][own] != 1:
            continue  # the photo could not be read
        for line in ("row", "column"):
            rivals = []
            for other in range(count):
                place = (own, other) if line == "row" else (other, own)
                if truth[place] >= 0:
                    rivals.append(math.exp(similarities[place]))
            total -= math.log(math.exp(similarities[own, own]) / sum(rivals)) / 2
    return total / count


def naive_auc(truth, similarities) -> float:
    """The share of (match, no-match) in the right order; half of it where they are level."""
    matches = [s for t, s in zip(truth, similarities, strict=True) if t == 1]
    others = [s for t, s in zip(truth, similarities, strict=True) if t == 0]
    won = sum((match > other) + (match == other) / 2 for match in matches for other in others)
    return won / (len(matches) * len(others))


@pytest.fixture
def truth() -> np.ndarray:
    """Photo 4 could not be read; captions 1 and 2 are of one photo; caption 5 also fits photo 0."""
    truth = np.eye(7, dtype=np.float32)
    truth[1, 2] = truth[2, 1] = truth[0, 5] = -1
    truth[4, :] = truth[:, 4] = -1
    return truth


def similarities(seed: int = 0, count: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, (count, count)).astype(np.float32)


def test_the_loss_is_that_of_a_plain_loop(truth):
    for seed in range(3):
        found = float(Contrastive()(truth, similarities(seed)))
        assert found == pytest.approx(naive_loss(truth, similarities(seed)), rel=1e-5)


def test_what_nobody_knows_changes_neither_loss_nor_auc(truth):
    one = similarities()
    other = np.where(truth < 0, similarities(1) * 10, one)
    assert float(Contrastive()(truth, one)) == float(Contrastive()(truth, other))
    assert auc(truth, one) == auc(truth, other)
    known = np.where(truth == 0, similarities(1), one)
    assert float(Contrastive()(truth, one)) != float(Contrastive()(truth, known))


def test_the_loss_is_least_where_all_are_found(truth):
    sure = np.where(truth > 0, 30, 0).astype(np.float32)
    assert float(Contrastive()(truth, sure)) == pytest.approx(0, abs=1e-6)
    assert float(Contrastive()(np.full((3, 3), -1.0), np.zeros((3, 3)))) == 0


def test_no_gradient_comes_from_what_nobody_knows(truth):
    given = tf.constant(similarities())
    with tf.GradientTape() as tape:
        tape.watch(given)
        loss = Contrastive()(truth, given)
    gradient = tape.gradient(loss, given).numpy()
    assert np.isfinite(gradient).all()
    assert (gradient[truth < 0] == 0).all() and (gradient[truth >= 0] != 0).all()


def auc(*batches) -> float:
    metric = PairAUC()
    for truth, found in zip(batches[::2], batches[1::2], strict=True):
        metric.update_state(truth, found)
    return float(metric.result())


@pytest.mark.parametrize("scale", [1, 20, LARGEST_SCALE])
def test_the_auc_is_that_of_a_naive_count(truth, scale):
    """Of all batches together, whatever the temperature that the similarities were divided by."""
    one, other = (scale * np.tanh(similarities(seed) / 6 + truth) for seed in (0, 1))
    expected = naive_auc([*truth.ravel()] * 2, [*one.ravel(), *other.ravel()])
    assert 0.6 < expected < 0.99
    assert auc(truth, one, truth, other) == pytest.approx(expected, abs=5e-3)


def test_the_auc_goes_through_a_config_as_metrics_do():
    assert PairAUC.from_config(PairAUC(name="other").get_config()).name == "other"


def test_the_temperature_divides_is_learned_and_never_goes_below_a_hundredth():
    layer = Temperature(0.05)
    np.testing.assert_allclose(np.asarray(layer(np.float32([[0.5, -1]]))), [[10, -20]], rtol=1e-5)
    assert [variable.name for variable in layer.trainable_variables] == ["logit_scale"]
    layer.log_scale.assign(math.log(1e6))
    np.testing.assert_allclose(np.asarray(layer(np.float32([[0.5]]))), [[50]], rtol=1e-5)
    assert Temperature.from_config(layer.get_config()).start == 0.05


@pytest.mark.parametrize("start", [0.05, 0.01, 0.005])
def test_the_temperature_stops_at_a_hundredth_and_comes_back(start):
    """A clamp of the value alone would have no gradient beyond it."""
    layer = Temperature(start)
    layer.build(())
    optimizer = keras.optimizers.SGD(1.0)

    def step(towards: float) -> float:
        with tf.GradientTape() as tape:
            loss = -towards * layer(tf.constant(0.01))
        variables = layer.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)
        return float(layer(tf.constant(1.0)))

    for _ in range(9):
        found = step(+1)
    assert found == pytest.approx(LARGEST_SCALE, rel=1e-5)
    assert float(layer.log_scale) == pytest.approx(math.log(LARGEST_SCALE))
    assert step(-1) < 0.5 * LARGEST_SCALE


def test_temperature_and_loss_are_float32_under_mixed_precision(truth):
    with precision("mixed_float16"):
        layer = Temperature(0.01)
    found = layer(keras.ops.cast(similarities() * 100, "float16"))
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    assert math.isfinite(float(Contrastive()(truth, found)))
