"""The contrastive loss and its AUC equal plain loops, and ignore unknown pairs."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from imagetext.layers.contrastive import LARGEST_SCALE, Contrastive, PairAUC, Temperature
from imagetext.training.device import precision


def naive_loss(truth, similarities) -> float:
    """Cross-entropy of each caption among the negatives of its photo, and conversely."""
    count, total = len(truth), 0.0
    for index in range(count):
        if truth[index][index] != 1:
            continue  # the photo could not be read
        for axis in ("row", "column"):
            candidates = []
            for other in range(count):
                pair = (index, other) if axis == "row" else (other, index)
                if truth[pair] >= 0:
                    candidates.append(math.exp(similarities[pair]))
            match = math.exp(similarities[index, index])
            total -= math.log(match / sum(candidates)) / 2
    return total / count


def naive_auc(truth, similarities) -> float:
    """The share of (match, no match) in the right order; ties count half."""
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


def test_the_loss_equals_a_loop(truth):
    for seed in range(3):
        actual = float(Contrastive()(truth, similarities(seed)))
        assert actual == pytest.approx(naive_loss(truth, similarities(seed)), rel=1e-5)


def test_unknown_pairs_change_neither_loss_nor_auc(truth):
    first = similarities()
    second = np.where(truth < 0, similarities(1) * 10, first)
    assert float(Contrastive()(truth, first)) == float(Contrastive()(truth, second))
    assert auc(truth, first) == auc(truth, second)
    negatives_changed = np.where(truth == 0, similarities(1), first)
    assert float(Contrastive()(truth, first)) != float(Contrastive()(truth, negatives_changed))


def test_the_loss_is_minimal_if_all_matches_score_highest(truth):
    perfect = np.where(truth > 0, 30, 0).astype(np.float32)
    assert float(Contrastive()(truth, perfect)) == pytest.approx(0, abs=1e-6)
    assert float(Contrastive()(np.full((3, 3), -1.0), np.zeros((3, 3)))) == 0


def test_unknown_pairs_have_no_gradient(truth):
    inputs = tf.constant(similarities())
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = Contrastive()(truth, inputs)
    gradient = tape.gradient(loss, inputs).numpy()
    assert np.isfinite(gradient).all()
    assert (gradient[truth < 0] == 0).all() and (gradient[truth >= 0] != 0).all()


def auc(*batches) -> float:
    metric = PairAUC()
    for truth, scores in zip(batches[::2], batches[1::2], strict=True):
        metric.update_state(truth, scores)
    return float(metric.result())


@pytest.mark.parametrize("scale", [1, 20, LARGEST_SCALE])
def test_the_auc_equals_a_naive_count(truth, scale):
    """Of all batches together, at any temperature."""
    first, second = (scale * np.tanh(similarities(seed) / 6 + truth) for seed in (0, 1))
    expected = naive_auc([*truth.ravel()] * 2, [*first.ravel(), *second.ravel()])
    assert 0.6 < expected < 0.99
    assert auc(truth, first, truth, second) == pytest.approx(expected, abs=5e-3)


def test_the_auc_is_restored_from_its_config():
    assert PairAUC.from_config(PairAUC(name="other").get_config()).name == "other"


def test_the_temperature_is_learned_and_at_least_a_hundredth():
    layer = Temperature(0.05)
    np.testing.assert_allclose(np.asarray(layer(np.float32([[0.5, -1]]))), [[10, -20]], rtol=1e-5)
    assert [variable.name for variable in layer.trainable_variables] == ["logit_scale"]
    layer.log_scale.assign(math.log(1e6))
    np.testing.assert_allclose(np.asarray(layer(np.float32([[0.5]]))), [[50]], rtol=1e-5)
    assert Temperature.from_config(layer.get_config()).start == 0.05


@pytest.mark.parametrize("start", [0.05, 0.01, 0.005])
def test_the_temperature_can_return_from_its_bound(start):
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
        actual = step(+1)
    assert actual == pytest.approx(LARGEST_SCALE, rel=1e-5)
    assert float(layer.log_scale) == pytest.approx(math.log(LARGEST_SCALE))
    assert step(-1) < 0.5 * LARGEST_SCALE


def test_temperature_and_loss_are_float32_under_mixed_precision(truth):
    with precision("mixed_float16"):
        layer = Temperature(0.01)
    actual = layer(keras.ops.cast(similarities() * 100, "float16"))
    assert keras.backend.standardize_dtype(actual.dtype) == "float32"
    assert math.isfinite(float(Contrastive()(truth, actual)))
