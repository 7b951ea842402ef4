"""Runs side by side: what forms one row, and what its numbers are."""

import json
import statistics

import pytest
import yaml

from imagetext.errors import UserError
from imagetext.reports.comparison.compare import compare
from imagetext.reports.comparison.pages import table_rows
from imagetext.reports.matching.comparison import sort_rows
from imagetext.reports.matching.predictions import MatchPredictions
from tests.reports.runs import (
    ROWS,
    cells,
    contents,
    make_captioning_run,
    make_predictions,
    make_run,
    score,
    shuffle,
)

NAMES = ("accuracy", "balanced_accuracy", "roc_auc")


def test_seeds_are_one_row_with_median_and_range(tmp_path):
    reports = [make_run(tmp_path / f"cnn-seed{s}", make_predictions(s), seed=s) for s in (2, 0, 1)]
    (row,) = compare(contents(tmp_path)).values["configurations"]
    assert row["name"] == "cnn" and row["seeds"] == [0, 1, 2]
    for name in NAMES:
        values = [score(report, name) for report in reports]
        assert len(set(values)) > 1
        assert row["scores"][name] == {
            "value": statistics.median(values),
            "low": min(values),
            "high": max(values),
        }
        ends = {
            end: [report["scores"]["model"][name][end] for report in reports]
            for end in ("low", "high")
        }
        assert row["intervals"][name] == {e: statistics.median(ends[e]) for e in ends}
    assert row["minutes"] == 3.0 and row["configuration"] == {}


def test_a_single_run_shows_its_own_interval(runs):
    comparison = compare(contents(runs))
    own = json.loads((runs / "joint-1" / "report.json").read_text())["scores"]["model"]
    best = comparison.values["configurations"][0]
    assert best["name"] == "joint" and best["scores"] == own
    low, high = own["roc_auc"]["low"], own["roc_auc"]["high"]
    assert cells(comparison)["joint"]["ROC AUC"].endswith(f" ({low:.3f}–{high:.3f})")
    assert cells(comparison)["cnn"]["ROC AUC"].endswith("]")  # a range, no interval


def test_the_best_comes_first_and_the_majority_last(runs):
    make_run(runs / "additive-1", make_predictions(5, signal=0.3), head="additive")
    rows = table_rows(compare(contents(runs)).values)
    assert [row[0] for row in rows] == ["configuration", "joint", "cnn", "additive", "majority"]
    truth = make_predictions(0).is_match
    assert rows[-1][2].startswith(f"{100 * (1 - truth.mean()):.1f} %")


def test_another_key_is_another_row_and_the_page_says_which(runs):
    text = (compare(contents(runs)).folder / "comparison.md").read_text()
    assert "| model.head | joint | concat |" in text
    assert "run.name" not in text and "train.epochs" not in text


def test_what_trains_nothing_makes_no_other_row(tmp_path):
    for seed, where in enumerate(("/data", "/moved")):
        folder = tmp_path / f"cnn-seed{seed}"
        make_run(folder, make_predictions(seed), seed=seed)
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config["data"] |= {"root": where, "features": where, "cache": f"disk{seed}"}
        config["report"] = {"controls": bool(seed)}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (row,) = compare(contents(tmp_path)).values["configurations"]
    assert row["seeds"] == [0, 1] and row["configuration"] == {}


def test_numbered_runs_of_one_name_stay_apart(tmp_path):
    make_run(tmp_path / "a" / "cnn-1", make_predictions(0), seed=0)
    make_run(tmp_path / "a" / "cnn-2", make_predictions(1), seed=1)
    make_run(tmp_path / "a" / "cnn-3", make_predictions(2), head="cosine")
    names = {row["name"] for row in compare(contents(tmp_path / "a")).values["configurations"]}
    assert names == {"cnn-1, cnn-2", "cnn-3"}
    make_run(tmp_path / "b" / "cnn-3", make_predictions(3), head="joint")
    both = [tmp_path / "a" / "cnn-3", tmp_path / "b" / "cnn-3"]
    comparison = compare(both)
    assert {row["name"] for row in comparison.values["configurations"]} == set(map(str, both))
    assert comparison.folder == tmp_path


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("cnn-seed0", "cnn"),
        ("cnn-12", "cnn"),
        ("big_joint_s3", "big_joint"),
        ("joint-seed-4", "joint"),
        ("resnet50", "resnet50"),
        ("efficientnet_lite0", "efficientnet_lite0"),
    ],
)
def test_the_configuration_is_named_without_number_and_seed(tmp_path, folder, name):
    make_run(tmp_path / folder, make_predictions(0))
    assert compare([tmp_path / folder]).values["configurations"][0]["name"] == name


def test_dev_reads_the_report_of_dev(runs):
    values = make_run(runs / "joint-1", make_predictions(3), head="joint", split="dev")
    comparison = compare(contents(runs), "dev", to=runs / "there")
    (row,) = comparison.values["configurations"]
    assert row["scores"]["roc_auc"]["value"] == score(values, "roc_auc")
    assert f"imagetext evaluate {runs / 'cnn-seed0'} --split dev" in comparison.summary
    assert (runs / "there" / "comparison-dev.png").is_file()


def test_a_run_named_twice_counts_once(runs):
    named = [runs / "joint-1", f"{runs}/joint-1/", runs / "cnn-seed0" / ".." / "joint-1"]
    (row,) = compare(named).values["configurations"]
    assert len(row["runs"]) == 1


def test_one_order_names_photos_below_their_folder():
    sorted_rows = sort_rows(shuffle(make_predictions(0, root="/some/where")))
    assert sorted_rows.same_rows(sort_rows(make_predictions(0, root="there")))
    assert set(sorted_rows.image) == {f"{number}.jpg" for number in range(ROWS // 3)}
    apart = MatchPredictions([0.1, 0.2], [1, 0], ("a/1.jpg", "b/1.jpg"), ("x", "x"))
    assert sort_rows(apart).image == ("a/1.jpg", "b/1.jpg")  # two photos of one name
    nothing = MatchPredictions([], [], (), ())
    assert sort_rows(nothing).image == ()


def test_captioning_runs_are_rows_with_medians_over_seeds(tmp_path):
    """Their photos may lie in folders of their own."""
    vague, exact = "a dog runs", "a dog runs to house {}"
    reports = [
        make_captioning_run(
            tmp_path / f"gru-{seed}",
            seed,
            [exact.format(n) if n < seed else vague for n in range(6)],
        )
        for seed in range(3)
    ]
    best = [exact.format(n) for n in range(6)]
    make_captioning_run(tmp_path / "attention-1", 0, best, kind="attention")
    comparison = compare(contents(tmp_path), "dev")
    assert [row["name"] for row in comparison.values["configurations"]] == ["attention", "gru"]
    row = comparison.values["configurations"][1]
    values = sorted(report["scores"]["model"]["cider_d"]["value"] for report in reports)
    assert values[0] < values[1] < values[2]
    assert row["scores"]["cider_d"] == {"low": values[0], "value": values[1], "high": values[2]}
    assert row["distinct"] == 2 / 6 and row["minutes"] == 2.0
    shown = cells(comparison)
    assert shown["gru"]["CIDEr-D"].startswith(f"{100 * values[1]:.1f} [{100 * values[0]:.1f}–")
    assert shown["attention"]["BLEU-4"].startswith("100.0")
    assert shown["attention"]["distinct"] == "100.0 %" and shown["gru"]["captions/s"] == "30"
    assert {"constant caption", "attention", "gru"} == set(shown)
    assert "6 photos with 12 references" in comparison.summary
    assert (tmp_path / "comparison-dev.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match="--ensemble: only for matching"):
        compare(contents(tmp_path), "dev", ensemble=True)


def test_a_run_of_an_earlier_version_is_the_same_configuration(tmp_path):
    """Its report has no names and members, and its configuration has keys of other names."""
    for seed, section in enumerate(("data", "text")):
        folder = tmp_path / f"cnn-seed{seed}"
        values = make_run(folder, make_predictions(seed), seed=seed)
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config[section] = config.get(section, {}) | {"encoder": "minilm"}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        if section == "data":
            early = {key: value for key, value in values.items() if key not in ("names", "members")}
            (folder / "report.json").write_text(json.dumps(early))
    comparison = compare(contents(tmp_path))
    (row,) = comparison.values["configurations"]
    assert row["seeds"] == [0, 1] and row["configuration"] == {}
    assert "Left out" not in comparison.summary and "majority" in cells(comparison)
