"""Harder negatives, several right ones, and the sigmoid loss, against plain loops."""

import math
import re

import numpy as np
import pytest
import tensorflow as tf

from imagetext.layers.contrastive import LARGEST_SCALE, Contrastive, PairSigmoid, Temperature
from imagetext.training.optimizer import NOT_DECAYED


@pytest.fixture
def truth() -> np.ndarray:
    """Photo 4 could not be read; of 0 and 5 nobody knows; captions 1 and 2 are of one photo."""
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
    for own in range(len(truth)):
        if truth[own, own] != 1:
            continue
        for line in (0, 1):
            row = similarities[own] if line == 0 else similarities[:, own]
            told = truth[own] if line == 0 else truth[:, own]
            wrong = [s for s, t in zip(row, told, strict=True) if t == 0]
            right = [s for s, t in zip(row, told, strict=True) if t == 1]
            weights = [math.exp(hardness * s) for s in wrong]
            mean = sum(weights) / len(weights)
            rivals = sum(math.exp(s) * w / mean for s, w in zip(wrong, weights, strict=True))
            rivals += sum(math.exp(s) for s in right)
            total -= np.mean([math.log(math.exp(s) / rivals) for s in right]) / 2
    return total / len(truth)


@pytest.mark.parametrize("hardness", [0.0, 0.5])
def test_the_hard_ones_count_more_and_several_may_be_right(truth, similarities, hardness):
    found = float(Contrastive(hardness=hardness)(truth, similarities))
    assert found == pytest.approx(naive_contrastive(truth, similarities, hardness), rel=1e-5)
    assert Contrastive.from_config(Contrastive(hardness=hardness).get_config()).hardness == hardness


def test_nothing_but_right_ones_is_no_error():
    both = Contrastive(hardness=1.0)(np.float32([[1, -1], [-1, 1]]), np.zeros((2, 2), np.float32))
    assert float(both) == pytest.approx(0, abs=1e-6)


def test_a_harder_one_gets_more_of_the_gradient():
    """Of two wrong captions, that which resembles the right one."""
    truth, found = np.eye(3, dtype=np.float32), tf.constant([[5.0, 3.0, 1.0], [0, 5, 0], [0, 0, 5]])

    def share(hardness):
        with tf.GradientTape() as tape:
            tape.watch(found)
            loss = Contrastive(hardness=hardness)(truth, found)
        _, hard, easy = tape.gradient(loss, found).numpy()[0]
        return hard / (hard + easy)

    assert 0.5 < share(0.0) < share(0.5) < share(1.0) < 1


def test_the_sigmoid_loss_is_that_of_a_plain_loop(truth, similarities):
    total = 0.0
    for i, j in np.ndindex(6, 6):
        if truth[i, j] >= 0:
            side = 1 if truth[i, j] else -1
            total += math.log(1 + math.exp(-side * similarities[i, j]))
    assert float(PairSigmoid()(truth, similarities)) == pytest.approx(total / 6, rel=1e-5)


def test_the_bias_is_added_learned_and_not_decayed():
    layer = Temperature(0.1, bias=-10.0)
    assert np.asarray(layer(np.float32([[1.0]]))) == pytest.approx(0, abs=1e-5)
    names = [variable.name for variable in layer.trainable_variables]
    assert names == ["logit_scale", "logit_bias"]
    assert all(re.search(NOT_DECAYED, name) for name in names)
    layer.log_scale.assign(math.log(1e6))
    assert np.asarray(layer(np.float32([[1.0]]))) == pytest.approx(LARGEST_SCALE - 10)
    assert Temperature.from_config(layer.get_config()).start_bias == -10
