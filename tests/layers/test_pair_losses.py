"""Hard negatives, several matches and the sigmoid loss equal plain loops."""

import math
import re

import numpy as np
import pytest
import tensorflow as tf

from imagetext.layers.contrastive import LARGEST_SCALE, Contrastive, PairSigmoid, Temperature
from imagetext.training.optimizer import NOT_DECAYED


@pytest.fixture
def truth() -> np.ndarray:
    """Photo 4 could not be read; pair 0, 5 is unknown; captions 1 and 2 are of the same photo."""
    truth = np.eye(6, dtype=np.float32)
    truth[0, 5] = -1
    truth[1, 2] = truth[2, 1] = 1
    truth[4, :] = truth[:, 4] = -1
    return truth


@pytest.fixture
def similarities() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 3, (6, 6)).astype(np.float32)


def naive_contrastive(truth, similarities, hardness) -> float:
    total = 0.0
    for index in range(len(truth)):
        if truth[index, index] != 1:
            continue
        for axis in (0, 1):
            row, labels = similarities.take(index, axis), truth.take(index, axis)
            negatives = [s for s, t in zip(row, labels, strict=True) if t == 0]
            matches = [s for s, t in zip(row, labels, strict=True) if t == 1]
            weights = [math.exp(hardness * s) for s in negatives]
            mean = sum(weights) / len(weights)
            total_weight = sum(
                math.exp(s) * w / mean for s, w in zip(negatives, weights, strict=True)
            )
            total_weight += sum(math.exp(s) for s in matches)
            total -= np.mean([math.log(math.exp(s) / total_weight) for s in matches]) / 2
    return total / len(truth)


@pytest.mark.parametrize("hardness", [0.0, 0.5])
def test_the_loss_with_hard_negatives_equals_a_loop(truth, similarities, hardness):
    actual = float(Contrastive(hardness=hardness)(truth, similarities))
    assert actual == pytest.approx(naive_contrastive(truth, similarities, hardness), rel=1e-5)
    assert Contrastive.from_config(Contrastive(hardness=hardness).get_config()).hardness == hardness


def test_matches_only_give_a_finite_loss():
    both = Contrastive(hardness=1.0)(np.float32([[1, -1], [-1, 1]]), np.zeros((2, 2), np.float32))
    assert float(both) == pytest.approx(0, abs=1e-6)


def test_harder_negatives_get_more_of_the_gradient():
    """Of two negatives, the one more similar to the match."""
    truth = np.eye(3, dtype=np.float32)
    scores = tf.constant([[5.0, 3.0, 1.0], [0, 5, 0], [0, 0, 5]])

    def share(hardness):
        with tf.GradientTape() as tape:
            tape.watch(scores)
            loss = Contrastive(hardness=hardness)(truth, scores)
        _, hard, easy = tape.gradient(loss, scores).numpy()[0]
        return hard / (hard + easy)

    assert 0.5 < share(0.0) < share(0.5) < share(1.0) < 1


def test_the_sigmoid_loss_equals_a_loop(truth, similarities):
    total = 0.0
    for i, j in np.ndindex(6, 6):
        if truth[i, j] >= 0:
            sign = 1 if truth[i, j] else -1
            total += math.log(1 + math.exp(-sign * similarities[i, j]))
    assert float(PairSigmoid()(truth, similarities)) == pytest.approx(total / 6, rel=1e-5)


def test_the_bias_is_added_and_learned_without_decay():
    layer = Temperature(0.1, bias=-10.0)
    assert np.asarray(layer(np.float32([[1.0]]))) == pytest.approx(0, abs=1e-5)
    names = [variable.name for variable in layer.trainable_variables]
    assert names == ["logit_scale", "logit_bias"]
    assert all(re.search(NOT_DECAYED, name) for name in names)
    layer.log_scale.assign(math.log(1e6))
    assert np.asarray(layer(np.float32([[1.0]]))) == pytest.approx(LARGEST_SCALE - 10)
    assert Temperature.from_config(layer.get_config()).start_bias == -10
