"""What `compare` leaves out, and what it refuses."""

import dataclasses
import json

import numpy as np
import pytest

from imagetext.errors import UserError
from imagetext.reports.comparison.compare import compare
from imagetext.reports.comparison.spec import ComparisonSpec, ScoredRun, check_same_data
from imagetext.reports.matching.predictions import MatchPredictions
from tests.reports.runs import (
    contents,
    make_captioning_run,
    make_predictions,
    make_run,
)


def test_other_rows_are_refused(runs):
    make_run(runs / "small-1", make_predictions(0, rows=60), keep=False)
    with pytest.raises(UserError, match="different data") as told:
        compare(contents(runs))
    assert "60 pairs from 20 photos" in str(told.value) and "90 pairs from 30 photos" in str(
        told.value
    )


def test_other_rows_of_the_same_count_are_refused(runs):
    other = make_predictions(0)
    captions = ("a new caption", *other.caption[1:])
    make_run(runs / "odd-1", dataclasses.replace(other, caption=captions))
    with pytest.raises(UserError, match="different rows") as told:
        compare(contents(runs))
    assert "odd-1" in str(told.value)
    assert '0.jpg with "a new caption" (no-match) is only in' in str(told.value)


def test_a_row_that_is_there_twice_is_another_row(tmp_path):
    for name, kept in (("cnn-1", 0), ("joint-1", 1)):  # in the place of rows 0 and 1
        one = make_predictions(0)
        truth, captions = one.is_match.copy(), list(one.caption)
        truth[:2], captions[:2] = False, [captions[kept]] * 2
        make_run(
            tmp_path / name, MatchPredictions(one.probability, truth, one.image, tuple(captions))
        )
    one = make_predictions(0)
    with pytest.raises(UserError, match=r'"caption 0, so" \(no-match\) is only in .*cnn-1'):
        compare(contents(tmp_path))
    captions = ["caption 0, so", "caption 0, so", *one.caption[2:]]
    make_run(tmp_path / "joint-1", dataclasses.replace(one, is_match=truth))
    with pytest.raises(UserError, match=r'"caption 0, so" \(no-match\) is more often in .*cnn-1'):
        compare(contents(tmp_path))


@pytest.mark.parametrize(
    ("task", "without", "told"),
    [
        ("itm", ("about",), "about"),
        ("itm", ("notices",), "notices"),
        ("itm", ("scores", "model", "roc_auc"), "scores.model.roc_auc"),
        ("itm", ("scores", "majority"), "scores.majority.accuracy"),
        ("captioning", (), "references"),
        ("retrieval", (), "photos"),
    ],
)
def test_a_report_without_what_is_compared_is_left_out(runs, task, without, told):
    values = make_run(runs / "early-1", make_predictions(3), task=task)
    inside = values
    for key in without[:-1]:
        inside = inside[key]
    for key in without[-1:]:
        del inside[key]
    (runs / "early-1" / "report.json").write_text(json.dumps(values))
    summary = compare(contents(runs)).summary
    assert "early-1: its report has no " in summary and "joint" in summary
    assert without == () or f"has no {told}; evaluate the run again" in summary


def test_a_flipped_label_is_another_row(runs):
    other = make_predictions(0)
    match, no_match = np.flatnonzero(other.is_match)[0], np.flatnonzero(~other.is_match)[0]
    truth = other.is_match.copy()
    truth[[match, no_match]] = truth[[no_match, match]]  # as many matches as before
    make_run(runs / "odd-1", dataclasses.replace(other, is_match=truth))
    with pytest.raises(UserError, match="different rows"):
        compare(contents(runs))


def test_another_task_is_refused(runs):
    make_run(runs / "other-1", make_predictions(0), task="other", keep=False)
    with pytest.raises(UserError, match=r"different tasks.*\n.*\n  other: "):
        compare(contents(runs))


def test_what_is_left_out_is_said_with_the_remedy(runs):
    make_run(runs / "new-1", None)
    make_run(runs / "broken-off-1", None)
    (runs / "broken-off-1" / "model.keras").unlink()
    make_run(runs / "spoilt-1", make_predictions(0))
    (runs / "spoilt-1" / "report.json").write_text("{")
    (runs / "notes.txt").touch()
    (runs / "old").mkdir()
    summary = compare(contents(runs)).summary
    assert (
        f"{runs / 'new-1'}: no report on test; run: imagetext evaluate {runs / 'new-1'}" in summary
    )
    assert f"imagetext train {runs / 'broken-off-1'} --resume" in summary
    assert "spoilt-1/report.json: cannot be read" in summary
    assert f"Skipped, not a run: {runs / 'notes.txt'}, {runs / 'old'}\n" in summary
    assert "joint" in summary and "majority" in summary


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["none-1"], "no such run"),
        ([""], "contains runs but is not a run itself"),
        (["joint-1/report.json"], "not a run"),
        (["bare-1"], "imagetext evaluate"),
    ],
)
def test_nothing_to_compare_is_a_mistake(runs, given, told):
    make_run(runs / "bare-1", None)
    with pytest.raises(UserError, match=told):
        compare([runs / name for name in given])
    with pytest.raises(UserError, match="split: expected one of"):
        compare([runs / "joint-1"], "tset")


def test_captions_of_other_photos_or_another_task_are_refused(tmp_path):
    for number, photos in enumerate((6, 5)):
        make_captioning_run(tmp_path / f"gru-{number}", number, ["a dog"] * photos, photos)
    with pytest.raises(UserError, match=r"different data.*\n  6 photos with 12 references"):
        compare(contents(tmp_path), "dev")
    make_run(tmp_path / "cnn-1", make_predictions(0), split="dev")
    with pytest.raises(UserError, match=r"different tasks.*\n  itm: .*\n  captioning: "):
        compare([tmp_path / "cnn-1", tmp_path / "gru-0"], "dev")


def test_an_ensemble_needs_the_answers_of_two(runs):
    with pytest.raises(UserError, match="at least two runs"):
        compare([runs / "joint-1"], ensemble=True)
    (runs / "cnn-seed1" / "predictions.csv").unlink()
    with pytest.raises(UserError) as told:
        compare(contents(runs), ensemble=True)
    assert f"imagetext evaluate {runs / 'cnn-seed1'} --split test" in str(told.value)
    assert "cnn-seed2" not in str(told.value)
    assert compare(contents(runs)).values["ensemble"] is None  # scores alone still compare


def test_a_task_needs_no_check_of_its_own():
    spec = ComparisonSpec({}, "score", "chance", size=("tosses", "true_sides"))
    report = {"tosses": 12_000, "true_sides": 2}
    runs = [
        ScoredRun(name, {}, report | changed, None, "test", (0,))
        for name, changed in (("a", {}), ("b", {}), ("c", {"tosses": 9}))
    ]
    check_same_data(runs[:2], spec)
    with pytest.raises(UserError, match=r"12,000 tosses, 2 true sides: a, b\n  9 tosses, .*: c"):
        check_same_data(runs, spec)
    digests = [dataclasses.replace(run, report=report | {"scored_on": run.folder}) for run in runs]
    with pytest.raises(UserError, match="different data"):
        check_same_data(digests[:2], spec)
