"""Ensembles in comparisons."""

import dataclasses

import pytest

from imagetext.metrics.bootstrap import RESAMPLES
from imagetext.reports.comparison.compare import compare
from imagetext.training.ensemble import write_members
from tests.reports.runs import cells, contents, make_predictions, make_run, shuffle


def naive_auc(probability, truth) -> float:
    pairs = [(a, b) for a in probability[truth] for b in probability[~truth]]
    return sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs)


def test_the_ensemble_is_the_mean_of_the_answers_whatever_the_order_and_the_folder(tmp_path):
    one, two = make_predictions(0), make_predictions(1, root="elsewhere/copy")
    make_run(tmp_path / "cnn-1", one)
    make_run(tmp_path / "joint-1", shuffle(two), head="joint")
    comparison = compare(contents(tmp_path), ensemble=True)
    mean = (one.probability + two.probability) / 2
    scores = comparison.values["ensemble"]["scores"]
    assert scores["roc_auc"]["value"] == pytest.approx(naive_auc(mean, one.is_match))
    assert scores["accuracy"]["value"] == pytest.approx(((mean >= 0.5) == one.is_match).mean())
    assert scores["roc_auc"]["low"] < scores["roc_auc"]["value"] < scores["roc_auc"]["high"]
    row = cells(comparison)["ensemble of 2"]
    assert (row["parameters"], row["minutes"]) == ("2,000", "4.0")
    lines = comparison.summary.splitlines()
    at = next(number for number, line in enumerate(lines) if "ensemble of 2" in line)
    assert set(lines[at - 1].strip()) == {"─"} and "majority" in lines[at - 2]


def test_an_ensemble_of_equals_scores_and_varies_as_each_of_them(tmp_path):
    values = make_run(tmp_path / "cnn-seed0", make_predictions(0), seed=0, resamples=RESAMPLES)
    make_run(tmp_path / "cnn-seed1", make_predictions(0), seed=1)
    found = compare(contents(tmp_path), ensemble=True).values["ensemble"]["scores"]
    for name, measured in values["scores"]["model"].items():
        assert found[name] == pytest.approx(measured)


def test_the_folder_of_runs_evaluated_together_is_compared_like_a_run(tmp_path):
    """As `imagetext evaluate cnn-1,joint-1` leaves it."""
    one, two = make_predictions(0), make_predictions(1)
    make_run(tmp_path / "cnn-1", one, seed=1)
    make_run(tmp_path / "joint-1", two, seed=2, head="joint")
    folder = tmp_path / "cnn-1+joint-1"
    mean = dataclasses.replace(one, probability=(one.probability + two.probability) / 2)
    about = {"model": {"parameters": 2000}, "training": {"minutes": 7.0}}
    values = make_run(folder, mean, about=about)
    for name in ("config.yaml", "model.keras"):
        (folder / name).unlink()
    write_members(folder, [tmp_path / "cnn-1", tmp_path / "joint-1"])
    comparison = compare(contents(tmp_path))
    row = next(r for r in comparison.values["configurations"] if r["kind"] == "ensemble")
    assert row["name"] == "ensemble of 2" and row["seeds"] == [1, 2]
    assert row["scores"] == values["scores"]["model"]
    assert row["configuration"] == {"ensemble": "cnn-1, joint-1"}
    shown = cells(comparison)["ensemble of 2"]
    assert (shown["parameters"], shown["minutes"], shown["seeds"]) == ("2,000", "7.0", "1, 2")
    assert "n runs evaluated together" in comparison.summary
