"""Runs side by side: what is one row, what stands in it, and what is refused."""

import dataclasses
import io
import json
import statistics
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import imagetext
from imagetext.errors import UserError
from imagetext.metrics.bootstrap import RESAMPLES
from imagetext.reports.captioning.predictions import CaptionPredictions
from imagetext.reports.captioning.report import Evidence, write_report
from imagetext.reports.comparison.compare import compare
from imagetext.reports.comparison.pages import table_rows
from imagetext.reports.comparison.plots import DotRow, Dots, dot_plot
from imagetext.reports.kit.report import report_folder
from imagetext.reports.matching.comparison import sort_rows
from imagetext.reports.matching.predictions import MatchPredictions, write_predictions
from imagetext.reports.matching.report import report_values

ROWS = 90
NAMES = ("accuracy", "balanced_accuracy", "roc_auc")
#: Of the picture: a band, and a line on it.
PALE, LINE = (203, 215, 243), (86, 125, 217)


def answers(seed: int, signal: float = 2, rows: int = ROWS, root: str = "/data"):
    """Other answers each seed, to the same questions."""
    truth = np.random.default_rng(99).random(rows) < 0.3
    logit = signal * (truth - 0.5) + np.random.default_rng(seed).normal(0, 1, rows)
    photos = tuple(f"{root}/{row // 3}.jpg" for row in range(rows))
    captions = tuple(f"caption {row}, so" for row in range(rows))
    return MatchPredictions(1 / (1 + np.exp(-logit)), truth, photos, captions)


def a_run(
    folder: Path,
    predictions: MatchPredictions | None,
    *,
    seed: int = 0,
    head: str = "cnn",
    split: str = "test",
    keep: bool = True,
    resamples: int = 20,
    about: dict | None = None,
    task: str = "itm",
) -> dict | None:
    """A run's folder, as training and evaluating leave it; returns the report's values."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "task": task,
        "data": {"root": "/data"},
        "model": {"head": head, "hidden": [8]},
        "train": {"epochs": 3, "seed": seed},
        "run": {"name": folder.name, "folder": str(folder.parent)},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "model.keras").touch()
    if predictions is None:
        return None
    about = about or {"model": {"parameters": 1000}, "training": {"minutes": 2.0 + seed}}
    values = report_values(
        title=folder.name,
        predictions=predictions,
        controls={},
        audit=None,
        history=[],
        about=about | {"data": {"split": split}},
        resamples=resamples,
    )
    kept = report_folder(folder, split)
    kept.mkdir(exist_ok=True)
    (kept / "report.json").write_text(json.dumps(values))
    if keep:
        write_predictions(kept, predictions)
    return values


def score(values: dict, name: str) -> float:
    return values["scores"]["model"][name]["value"]


def cells(comparison) -> dict[str, dict[str, str]]:
    heading, *rows = table_rows(comparison.values)
    return {row[0]: dict(zip(heading, row, strict=True)) for row in rows}


@pytest.fixture
def runs(tmp_path):
    """cnn with three seeds, and a better joint with one."""
    folder = tmp_path / "runs"
    for seed in range(3):
        a_run(folder / f"cnn-seed{seed}", answers(seed), seed=seed)
    a_run(folder / "joint-1", answers(9, signal=4), head="joint")
    return folder


def everything(folder: Path) -> list[Path]:
    """What a shell makes of folder/*."""
    return sorted(folder.iterdir())


def test_seeds_are_one_row_with_median_and_range(tmp_path):
    reports = [a_run(tmp_path / f"cnn-seed{s}", answers(s), seed=s) for s in (2, 0, 1)]
    (row,) = compare(everything(tmp_path)).values["configurations"]
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
    comparison = compare(everything(runs))
    own = json.loads((runs / "joint-1" / "report.json").read_text())["scores"]["model"]
    best = comparison.values["configurations"][0]
    assert best["name"] == "joint" and best["scores"] == own
    low, high = own["roc_auc"]["low"], own["roc_auc"]["high"]
    assert cells(comparison)["joint"]["ROC AUC"].endswith(f" ({low:.3f}–{high:.3f})")
    assert cells(comparison)["cnn"]["ROC AUC"].endswith("]")  # a range, no interval


def test_the_best_comes_first_and_the_majority_last(runs):
    a_run(runs / "additive-1", answers(5, signal=0.3), head="additive")
    rows = table_rows(compare(everything(runs)).values)
    assert [row[0] for row in rows] == ["configuration", "joint", "cnn", "additive", "majority"]
    truth = answers(0).is_match
    assert rows[-1][2].startswith(f"{100 * (1 - truth.mean()):.1f} %")


def test_another_key_is_another_row_and_the_page_says_which(runs):
    text = (compare(everything(runs)).folder / "comparison.md").read_text()
    assert "| model.head | joint | concat |" in text
    assert "run.name" not in text and "train.epochs" not in text


def test_what_trains_nothing_makes_no_other_row(tmp_path):
    for seed, where in enumerate(("/data", "/moved")):
        folder = tmp_path / f"cnn-seed{seed}"
        a_run(folder, answers(seed), seed=seed)
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config["data"] |= {"root": where, "features": where, "cache": f"disk{seed}"}
        config["report"] = {"controls": bool(seed)}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (row,) = compare(everything(tmp_path)).values["configurations"]
    assert row["seeds"] == [0, 1] and row["configuration"] == {}


def test_numbered_runs_of_one_name_stay_apart(tmp_path):
    a_run(tmp_path / "a" / "cnn-1", answers(0), seed=0)
    a_run(tmp_path / "a" / "cnn-2", answers(1), seed=1)
    a_run(tmp_path / "a" / "cnn-3", answers(2), head="cosine")
    names = {row["name"] for row in compare(everything(tmp_path / "a")).values["configurations"]}
    assert names == {"cnn-1, cnn-2", "cnn-3"}
    a_run(tmp_path / "b" / "cnn-3", answers(3), head="joint")
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
    a_run(tmp_path / folder, answers(0))
    assert compare([tmp_path / folder]).values["configurations"][0]["name"] == name


def test_costs_are_shown_where_they_are_known(tmp_path):
    about = {
        "model": {
            "parameters": 1_234_567,
            "trainable parameters": 7_000,
            "with frozen encoders": 9_876_543,
        },
        "training": {"minutes": 12.34, "images per second": 1234.5},
        "extra captions": {"photos": 6000, "captions": 30000},
    }
    a_run(tmp_path / "cnn-1", answers(0), about=about)
    a_run(tmp_path / "old-1", answers(1), head="joint", about={"model": {}})
    shown = cells(compare(everything(tmp_path), ensemble=True))
    assert shown["ensemble of 2"]["extra captions"] == "30,000 of 6,000 photos"
    assert [shown["cnn"][key] for key in ("parameters", "trainable", "minutes", "images/s")] == [
        "1,234,567",
        "7,000",
        "12.3",
        "1,234",
    ]
    assert shown["cnn"]["extra captions"] == "30,000 of 6,000 photos"
    assert shown["cnn"]["with frozen encoders"] == "9,876,543"
    assert {shown["old"][key] for key in ("parameters", "minutes", "images/s")} == {"-"}
    (tmp_path / "plain").mkdir()
    a_run(tmp_path / "plain" / "cnn-1", answers(0))
    assert not {"trainable", "with frozen encoders", "extra captions"} & set(
        cells(compare(everything(tmp_path / "plain")))["cnn"]
    )


def naive_auc(probability, truth) -> float:
    pairs = [(a, b) for a in probability[truth] for b in probability[~truth]]
    return sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs)


def shuffled(predictions: MatchPredictions) -> MatchPredictions:
    order = np.random.default_rng(1).permutation(len(predictions.is_match))
    return MatchPredictions(
        predictions.probability[order],
        predictions.is_match[order],
        tuple(predictions.image[row] for row in order),
        tuple(predictions.caption[row] for row in order),
    )


def test_the_ensemble_is_the_mean_of_the_answers_whatever_the_order_and_the_folder(tmp_path):
    one, two = answers(0), answers(1, root="elsewhere/copy")
    a_run(tmp_path / "cnn-1", one)
    a_run(tmp_path / "joint-1", shuffled(two), head="joint")
    comparison = compare(everything(tmp_path), ensemble=True)
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
    values = a_run(tmp_path / "cnn-seed0", answers(0), seed=0, resamples=RESAMPLES)
    a_run(tmp_path / "cnn-seed1", answers(0), seed=1)
    found = compare(everything(tmp_path), ensemble=True).values["ensemble"]["scores"]
    for name, measured in values["scores"]["model"].items():
        assert found[name] == pytest.approx(measured)


def test_an_ensemble_needs_the_answers_of_two(runs):
    with pytest.raises(UserError, match="at least two runs"):
        compare([runs / "joint-1"], ensemble=True)
    (runs / "cnn-seed1" / "predictions.csv").unlink()
    with pytest.raises(UserError) as told:
        compare(everything(runs), ensemble=True)
    assert f"imagetext evaluate {runs / 'cnn-seed1'} --split test" in str(told.value)
    assert "cnn-seed2" not in str(told.value)
    assert compare(everything(runs)).values["ensemble"] is None  # scores alone still compare


def test_other_rows_are_refused(runs):
    a_run(runs / "small-1", answers(0, rows=60), keep=False)
    with pytest.raises(UserError, match="different data") as told:
        compare(everything(runs))
    assert "60 pairs from 20 photos" in str(told.value) and "90 pairs from 30 photos" in str(
        told.value
    )


def test_other_rows_of_the_same_count_are_refused(runs):
    other = answers(0)
    captions = ("a new caption", *other.caption[1:])
    a_run(runs / "odd-1", dataclasses.replace(other, caption=captions))
    with pytest.raises(UserError, match="different rows") as told:
        compare(everything(runs))
    assert "odd-1" in str(told.value)
    assert '0.jpg with "a new caption" (no-match) is only in' in str(told.value)


def test_a_row_that_is_there_twice_is_another_row(tmp_path):
    for name, kept in (("cnn-1", 0), ("joint-1", 1)):  # in the place of rows 0 and 1
        one = answers(0)
        truth, captions = one.is_match.copy(), list(one.caption)
        truth[:2], captions[:2] = False, [captions[kept]] * 2
        a_run(tmp_path / name, MatchPredictions(one.probability, truth, one.image, tuple(captions)))
    one = answers(0)
    with pytest.raises(UserError, match=r'"caption 0, so" \(no-match\) is only in .*cnn-1'):
        compare(everything(tmp_path))
    captions = ["caption 0, so", "caption 0, so", *one.caption[2:]]
    a_run(tmp_path / "joint-1", dataclasses.replace(one, is_match=truth))
    with pytest.raises(UserError, match=r'"caption 0, so" \(no-match\) is more often in .*cnn-1'):
        compare(everything(tmp_path))


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
    values = a_run(runs / "early-1", answers(3), task=task)
    inside = values
    for key in without[:-1]:
        inside = inside[key]
    for key in without[-1:]:
        del inside[key]
    (runs / "early-1" / "report.json").write_text(json.dumps(values))
    summary = compare(everything(runs)).summary
    assert "early-1: its report has no " in summary and "joint" in summary
    assert without == () or f"has no {told}; evaluate the run again" in summary


def test_a_flipped_label_is_another_row(runs):
    other = answers(0)
    match, no_match = np.flatnonzero(other.is_match)[0], np.flatnonzero(~other.is_match)[0]
    truth = other.is_match.copy()
    truth[[match, no_match]] = truth[[no_match, match]]  # as many matches as before
    a_run(runs / "odd-1", dataclasses.replace(other, is_match=truth))
    with pytest.raises(UserError, match="different rows"):
        compare(everything(runs))


def test_another_task_is_refused(runs):
    a_run(runs / "other-1", answers(0), task="other", keep=False)
    with pytest.raises(UserError, match=r"different tasks.*\n.*\n  other: "):
        compare(everything(runs))


def test_what_is_left_out_is_said_with_the_remedy(runs):
    a_run(runs / "new-1", None)
    a_run(runs / "broken-off-1", None)
    (runs / "broken-off-1" / "model.keras").unlink()
    a_run(runs / "spoilt-1", answers(0))
    (runs / "spoilt-1" / "report.json").write_text("{")
    (runs / "notes.txt").touch()
    (runs / "old").mkdir()
    summary = compare(everything(runs)).summary
    assert (
        f"{runs / 'new-1'}: no report on test; run: imagetext evaluate {runs / 'new-1'}" in summary
    )
    assert f"imagetext train {runs / 'broken-off-1'} --resume" in summary
    assert "spoilt-1/report.json: cannot be read" in summary
    assert f"Skipped, not a run: {runs / 'notes.txt'}, {runs / 'old'}\n" in summary
    assert "joint" in summary and "majority" in summary


def test_what_an_earlier_comparison_wrote_is_not_worth_a_word(runs):
    for split in ("test", "dev"):
        a_run(runs / "joint-1", answers(9), head="joint", split=split)
        compare(everything(runs), split)
    assert "Skipped" not in compare(everything(runs)).summary
    assert {path.name for path in runs.glob("comparison*")} == {
        f"comparison{split}.{kind}" for split in ("", "-dev") for kind in ("json", "md", "png")
    }


def test_dev_reads_the_report_of_dev(runs):
    values = a_run(runs / "joint-1", answers(3), head="joint", split="dev")
    comparison = compare(everything(runs), "dev", to=runs / "there")
    (row,) = comparison.values["configurations"]
    assert row["scores"]["roc_auc"]["value"] == score(values, "roc_auc")
    assert f"imagetext evaluate {runs / 'cnn-seed0'} --split dev" in comparison.summary
    assert (runs / "there" / "comparison-dev.png").is_file()


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
    a_run(runs / "bare-1", None)
    with pytest.raises(UserError, match=told):
        compare([runs / name for name in given])
    with pytest.raises(UserError, match="split: expected one of"):
        compare([runs / "joint-1"], "tset")


def test_a_run_named_twice_counts_once(runs):
    named = [runs / "joint-1", f"{runs}/joint-1/", runs / "cnn-seed0" / ".." / "joint-1"]
    (row,) = compare(named).values["configurations"]
    assert len(row["runs"]) == 1


def test_the_files_say_the_same_and_the_picture_is_one(runs):
    comparison = compare(everything(runs), ensemble=True)
    assert comparison.folder == runs
    assert json.loads((runs / "comparison.json").read_text()) == comparison.values
    text = (runs / "comparison.md").read_text()
    for row in table_rows(comparison.values):
        assert "| " + " | ".join(row) + " |" in text
    with Image.open(runs / "comparison.png") as picture:
        assert picture.format == "PNG" and picture.width > 900


def test_one_class_gives_no_area_and_still_a_comparison(tmp_path):
    only = [dataclasses.replace(answers(s), is_match=np.ones(ROWS, bool)) for s in range(3)]
    a_run(tmp_path / "cnn-seed0", only[0], seed=0)
    a_run(tmp_path / "cnn-seed1", only[1], seed=1)
    a_run(tmp_path / "joint-1", only[2], head="joint")
    shown = cells(compare(everything(tmp_path), ensemble=True))
    assert {row["ROC AUC"] for row in shown.values()} == {"n/a"}


def test_names_stay_text(tmp_path):
    a_run(tmp_path / "a|b <$x_1$ & $y$>-1", answers(0))
    assert "a\\|b &lt;$x_1$" in (compare(everything(tmp_path)).folder / "comparison.md").read_text()


def test_notices_are_carried_along(runs):
    path = runs / "joint-1" / "report.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"notices": ["only a <sample>"]}))
    comparison = compare(everything(runs))
    assert "! only a <sample>" in comparison.summary
    assert "> **Note:** only a &lt;sample&gt;" in (runs / "comparison.md").read_text()


def test_one_order_names_photos_below_their_folder():
    sorted_rows = sort_rows(shuffled(answers(0, root="/some/where")))
    assert sorted_rows.same_rows(sort_rows(answers(0, root="there")))
    assert set(sorted_rows.image) == {f"{number}.jpg" for number in range(ROWS // 3)}
    apart = MatchPredictions([0.1, 0.2], [1, 0], ("a/1.jpg", "b/1.jpg"), ("x", "x"))
    assert sort_rows(apart).image == ("a/1.jpg", "b/1.jpg")  # two photos of one name
    nothing = MatchPredictions([], [], (), ())
    assert sort_rows(nothing).image == ()


def test_the_picture_shows_what_differs():
    def drawn(*dots, kind="model"):
        picture = dot_plot([DotRow("a", dots, kind), DotRow("b", dots)], {"x": ".1f", "y": ".2f"})
        with Image.open(io.BytesIO(picture)) as image:
            return np.asarray(image.convert("RGB"))

    one, some = Dots(1, 0.5, 2), Dots(1, 0.5, 2, (0.5, 1, 2))
    pictures = [drawn(one, one), drawn(some, some), drawn(one, one, kind="baseline")]
    pictures += [drawn(one, Dots(None)), drawn(Dots(1, 0.4, 2), one)]
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)
    # A range and an interval do not look alike: the one is a broad pale band (also in the legend).
    alone = drawn(*[Dots(1, None, None, (0.5, 1, 2))] * 2)
    interval, band, both = (
        [(np.abs(p.astype(int) - colour).max(-1) < 6).sum() for colour in (PALE, LINE)]
        for p in (pictures[0], alone, pictures[1])
    )
    assert interval[0] < 500 and band[0] > 5000 and both[0] > 3000
    assert both[1] > band[1] + 1000  # the line is drawn on the band


def test_the_verb(runs, capsys):
    assert imagetext.main(["compare", *map(str, everything(runs)), "--ensemble"]) == 0
    told = capsys.readouterr().out
    assert "ensemble of 4" in told and str(runs) in told
    assert imagetext.main(["compare", str(runs / "none")]) == 1
    assert "no such run" in capsys.readouterr().err
    assert imagetext.compare(str(runs / "joint-1")).values["configurations"][0]["name"] == "joint"


def a_captioning_run(folder: Path, seed: int, said: list[str], photos: int = 6, **model) -> dict:
    """A run with a report of dev, as training and evaluating leave it; returns its values."""
    config = {"task": "captioning", "model": model, "train": {"seed": seed}}
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "model.keras").touch()
    names = tuple(f"{folder}/{number}.jpg" for number in range(photos))
    references = tuple((f"a dog runs to house {n}", f"dog number {n} runs") for n in range(photos))
    return write_report(
        report_folder(folder, "dev"),
        title=folder.name,
        predictions=CaptionPredictions(names, tuple(said), np.zeros(photos), references),
        evidence=Evidence(others={"one for all": ["a dog runs"] * photos}),
        history=[],
        about={
            "data": {"split": "dev"},
            "model": {"parameters": 500},
            "training": {"minutes": 1.0 + seed},
            "decoding": {"photos per second": 30.0},
        },
        resamples=9,
        examples=0,
    ).values


def test_captioning_runs_are_rows_with_medians_over_seeds(tmp_path):
    """Their photos may lie in folders of their own."""
    vague, exact = "a dog runs", "a dog runs to house {}"
    reports = [
        a_captioning_run(
            tmp_path / f"gru-{seed}",
            seed,
            [exact.format(n) if n < seed else vague for n in range(6)],
        )
        for seed in range(3)
    ]
    best = [exact.format(n) for n in range(6)]
    a_captioning_run(tmp_path / "attention-1", 0, best, kind="attention")
    comparison = compare(everything(tmp_path), "dev")
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
        compare(everything(tmp_path), "dev", ensemble=True)


def test_captions_of_other_photos_or_another_task_are_refused(tmp_path):
    for number, photos in enumerate((6, 5)):
        a_captioning_run(tmp_path / f"gru-{number}", number, ["a dog"] * photos, photos)
    with pytest.raises(UserError, match=r"different data.*\n  6 photos with 12 references"):
        compare(everything(tmp_path), "dev")
    a_run(tmp_path / "cnn-1", answers(0), split="dev")
    with pytest.raises(UserError, match=r"different tasks.*\n  itm: .*\n  captioning: "):
        compare([tmp_path / "cnn-1", tmp_path / "gru-0"], "dev")
