"""What a comparison shows, and the files that it writes."""

import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image

import imagetext
from imagetext.reports.comparison.compare import compare
from imagetext.reports.comparison.pages import table_rows
from imagetext.reports.comparison.plots import DotRow, Dots, dot_plot
from tests.reports.runs import (
    ROWS,
    cells,
    contents,
    make_predictions,
    make_run,
)

pytestmark = pytest.mark.usefixtures("rendered_plots")

#: Colours in the picture: a band, and a line on it.
PALE, LINE = (203, 215, 243), (86, 125, 217)


def test_the_files_say_the_same_and_the_picture_is_one(runs):
    comparison = compare(contents(runs), ensemble=True)
    assert comparison.folder == runs
    assert json.loads((runs / "comparison.json").read_text()) == comparison.values
    text = (runs / "comparison.md").read_text()
    for row in table_rows(comparison.values):
        assert "| " + " | ".join(row) + " |" in text
    with Image.open(runs / "comparison.png") as picture:
        assert picture.format == "PNG" and picture.width > 900


def test_names_stay_text(tmp_path):
    make_run(tmp_path / "a|b <$x_1$ & $y$>-1", make_predictions(0))
    assert "a\\|b &lt;$x_1$" in (compare(contents(tmp_path)).folder / "comparison.md").read_text()


def test_notices_are_carried_along(runs):
    path = runs / "joint-1" / "report.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"notices": ["only a <sample>"]}))
    comparison = compare(contents(runs))
    assert "! only a <sample>" in comparison.summary
    assert "> **Note:** only a &lt;sample&gt;" in (runs / "comparison.md").read_text()


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
    make_run(tmp_path / "cnn-1", make_predictions(0), about=about)
    make_run(tmp_path / "old-1", make_predictions(1), head="joint", about={"model": {}})
    shown = cells(compare(contents(tmp_path), ensemble=True))
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
    make_run(tmp_path / "plain" / "cnn-1", make_predictions(0))
    assert not {"trainable", "with frozen encoders", "extra captions"} & set(
        cells(compare(contents(tmp_path / "plain")))["cnn"]
    )


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
    assert imagetext.main(["compare", *map(str, contents(runs)), "--ensemble"]) == 0
    told = capsys.readouterr().out
    assert "ensemble of 4" in told and str(runs) in told
    assert imagetext.main(["compare", str(runs / "none")]) == 1
    assert "no such run" in capsys.readouterr().err
    assert imagetext.compare(str(runs / "joint-1")).values["configurations"][0]["name"] == "joint"


def test_what_an_earlier_comparison_wrote_is_not_worth_a_word(runs):
    for split in ("test", "dev"):
        make_run(runs / "joint-1", make_predictions(9), head="joint", split=split)
        compare(contents(runs), split)
    assert "Skipped" not in compare(contents(runs)).summary
    assert {path.name for path in runs.glob("comparison*")} == {
        f"comparison{split}.{kind}" for split in ("", "-dev") for kind in ("json", "md", "png")
    }


def test_one_class_gives_no_area_and_still_a_comparison(tmp_path):
    only = [
        dataclasses.replace(make_predictions(s), is_match=np.ones(ROWS, bool)) for s in range(3)
    ]
    make_run(tmp_path / "cnn-seed0", only[0], seed=0)
    make_run(tmp_path / "cnn-seed1", only[1], seed=1)
    make_run(tmp_path / "joint-1", only[2], head="joint")
    shown = cells(compare(contents(tmp_path), ensemble=True))
    assert {row["ROC AUC"] for row in shown.values()} == {"n/a"}
