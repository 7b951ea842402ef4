"""Metrics against naive twins: loops over rows and pairs of rows."""

import math

import numpy as np
import pytest

from imagetext.errors import UserError
from imagetext.metrics import bootstrap
from imagetext.metrics.bootstrap import difference, resample_weights
from imagetext.metrics.matching import METRICS, confusion, measure, roc_curve


def some_rows(seed=0, rows=80):
    rng = np.random.default_rng(seed)
    is_match = rng.random(rows) < 0.35
    # Rounded to tenths, so that many scores are tied, also across the classes.
    probability = np.clip(rng.normal(0.4 + 0.2 * is_match, 0.2), 0, 1).round(1)
    return probability, is_match, rng.integers(0, rows // 3, rows)


def naive(name, probability, is_match):
    """Each metric from its definition, row by row; None where it is undefined."""
    rows = list(zip(probability.tolist(), is_match.tolist(), strict=True))
    positive = [p for p, y in rows if y]
    negative = [p for p, y in rows if not y]

    def share(part, whole):
        return len(part) / len(whole) if whole else None

    def recall(truth):
        of_class = [p for p, y in rows if y == truth]
        return share([p for p in of_class if (p >= 0.5) == truth], of_class)

    def precision(truth):
        called = [y for p, y in rows if (p >= 0.5) == truth]
        return share([y for y in called if y == truth], called)

    def f1(truth):
        hits = sum(1 for p, y in rows if y == truth and (p >= 0.5) == truth)
        claims = sum((y == truth) + ((p >= 0.5) == truth) for p, y in rows)
        return 2 * hits / claims if claims else None

    if name == "accuracy":
        return share([1 for p, y in rows if (p >= 0.5) == y], rows)
    if name == "balanced_accuracy":
        return (recall(True) + recall(False)) / 2 if positive and negative else None
    if name == "roc_auc":
        won = [1.0 if a > b else 0.5 if a == b else 0.0 for a in positive for b in negative]
        return sum(won) / len(won) if won else None
    if name == "average_precision":
        if not positive or not negative:
            return None
        total, before = 0.0, 0.0
        for threshold in sorted(set(probability.tolist()), reverse=True):
            called = [y for p, y in rows if p >= threshold]
            total += (sum(called) / len(positive) - before) * sum(called) / len(called)
            before = sum(called) / len(positive)
        return total
    if name == "calibration_error":
        bins = {}
        for p, y in rows:
            confidence = max(p, 1 - p)
            bins.setdefault(min(int(confidence * 15), 14), []).append((confidence, (p >= 0.5) == y))
        return sum(abs(sum(c for c, _ in b) - sum(r for _, r in b)) for b in bins.values()) / len(
            rows
        )
    if name == "log_loss":
        return -sum(math.log(max(p if y else 1 - p, 1e-7)) for p, y in rows) / len(rows)
    kind, _, what = name.rpartition("_")
    return {"precision": precision, "recall": recall, "f1": f1}[what](kind == "match")


@pytest.mark.parametrize("name", METRICS)
def test_value_equals_the_naive_twin(name):
    for seed in range(3):
        probability, is_match, groups = some_rows(seed)
        value = measure(probability, is_match, groups, resamples=2)[name].value
        assert value == pytest.approx(naive(name, probability, is_match), abs=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_bootstrap_equals_copying_the_drawn_rows(name):
    probability, is_match, groups = some_rows()
    draws = measure(probability, is_match, groups, resamples=20, seed=3)[name].draws
    (weights,) = resample_weights(groups, 20, seed=3)
    for drawn, weight in zip(draws, weights.astype(int), strict=True):
        rows = np.repeat(np.arange(len(groups)), weight)
        assert drawn == pytest.approx(naive(name, probability[rows], is_match[rows]), abs=1e-12)


def test_images_are_drawn_whole_and_as_many_as_there_are():
    groups = ["b", "a", "b", "c", "a", "b"]
    weights = np.concatenate(list(resample_weights(groups, 200, seed=0)))
    assert (weights[:, 0] == weights[:, 2]).all() and (weights[:, 0] == weights[:, 5]).all()
    assert (weights[:, 1] == weights[:, 4]).all()
    assert (weights[:, [0, 1, 3]].sum(1) == 3).all()
    assert (weights[:, 0] != weights[:, 1]).any()


def test_rows_of_one_image_widen_the_interval():
    probability, is_match, _ = some_rows(rows=60)
    probability, is_match = np.repeat(probability, 9), np.repeat(is_match, 9)
    by_image = measure(probability, is_match, np.repeat(np.arange(60), 9))["accuracy"]
    by_row = measure(probability, is_match, np.arange(540))["accuracy"]
    assert by_image.value == by_row.value
    ratio = (by_image.high - by_image.low) / (by_row.high - by_row.low)
    assert ratio == pytest.approx(3, rel=0.2)  # nine copies say no more than one


def test_chunks_draw_what_one_piece_draws(monkeypatch):
    probability, is_match, groups = some_rows()
    whole = measure(probability, is_match, groups, resamples=50)
    monkeypatch.setattr(bootstrap, "_CHUNK", 7 * len(groups))
    chunked = measure(probability, is_match, groups, resamples=50)
    for name in METRICS:
        np.testing.assert_allclose(whole[name].draws, chunked[name].draws)


def test_same_seed_same_interval_other_seed_another():
    rows = some_rows()
    one, same, other = (measure(*rows, resamples=100, seed=s)["roc_auc"] for s in (1, 1, 2))
    assert (one.low, one.high) == (same.low, same.high) != (other.low, other.high)
    assert one.low < one.value < one.high


def test_constant_scores_have_half_the_area_and_the_base_rate_as_precision():
    is_match = np.array([True, False, False, False])
    measured = measure(np.full(4, 0.3), is_match, np.arange(4), resamples=2)
    assert measured["roc_auc"].value == 0.5
    assert measured["average_precision"].value == 0.25


def test_one_class_gives_none_and_the_reason():
    measured = measure([0.9, 0.2, 0.7], [True] * 3, ["a", "b", "c"])
    for name in ("roc_auc", "average_precision", "balanced_accuracy", "no_match_recall"):
        assert measured[name].value is None and measured[name].low is None
        assert measured[name].reason
    assert measured["match_recall"].value == pytest.approx(2 / 3)


def test_no_rows_and_one_image_do_not_crash():
    assert all(measured.value is None for measured in measure([], [], []).values())
    alone = measure([0.9, 0.2], [True, False], ["a", "a"])["accuracy"]
    assert (alone.value, alone.low) == (1.0, None)


def test_a_rare_class_gets_no_interval_from_few_resamples():
    is_match = np.arange(10) == 0  # a third of all resamples hold no match at all
    measured = measure(np.linspace(0, 1, 10), is_match, np.arange(10))["roc_auc"]
    assert measured.value == 0.0 and measured.low is None and measured.reason


def test_difference_is_paired():
    probability, is_match, groups = some_rows()
    better = measure(np.where(is_match, 0.9, 0.1), is_match, groups)
    worse = measure(probability, is_match, groups)
    lead = difference(better["accuracy"], worse["accuracy"])
    assert lead.value == pytest.approx(1 - naive("accuracy", probability, is_match))
    assert 0 < lead.low < lead.value < lead.high
    itself = difference(worse["roc_auc"], worse["roc_auc"])
    assert (itself.low, itself.high) == (0, 0)


def test_confusion_and_curve():
    probability, is_match = np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, False, True, True])
    assert confusion(probability, is_match).tolist() == [[2, 1], [1, 0]]
    false_rate, true_rate = roc_curve(probability, is_match)
    assert false_rate.tolist() == [0, 0, 1, 1]
    assert true_rate == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert roc_curve(probability, np.ones(4, bool)) is None


def test_diverged_predictions_say_so():
    with pytest.raises(UserError, match="1 of 2 predictions are not numbers"):
        measure([0.5, np.nan], [True, False], ["a", "b"])
    with pytest.raises(ValueError, match="between 0 and 1"):
        measure([0.5, 1.2], [True, False], ["a", "b"])
