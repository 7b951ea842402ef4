"""The written report: what it says, what it escapes, what it survives."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagetext.errors import UserError
from imagetext.pipelines.audit import audit
from imagetext.pipelines.records import Record
from imagetext.reports.kit.images import small_png, thumbnail
from imagetext.reports.kit.report import read_report
from imagetext.reports.kit.tables import about_rows
from imagetext.reports.matching.figures import FIGURES
from imagetext.reports.matching.gallery import choose_examples
from imagetext.reports.matching.predictions import (
    MatchPredictions,
    read_predictions,
    write_predictions,
)
from imagetext.reports.matching.report import report_values, write_report

pytestmark = pytest.mark.usefixtures("rendered_plots")

EVIL = '<script>alert("x")</script> costs $5 & $6 | more'


def predictions(signal: float, seed: int = 0, rows: int = 240, matches: float = 0.25):
    rng = np.random.default_rng(seed)
    truth = np.random.default_rng(99).random(rows) < matches
    logit = signal * (truth - 0.5) + rng.normal(0, 1, rows) - 0.5
    images = tuple(f"/nowhere/{index // 3}.jpg" for index in range(rows))
    return MatchPredictions(1 / (1 + np.exp(-logit)), truth, images, (EVIL,) * rows)


def values(model, controls=None, audited=None):
    return report_values(
        title="t",
        predictions=model,
        controls=controls or {},
        audit=audited,
        history=[],
        about={},
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    photo = folder / "photo.jpg"
    Image.new("RGB", (40, 30), (10, 200, 30)).save(photo)
    records = {name: [Record(photo, ("a dog",), "match")] for name in ("dev", "test")}
    return write_report(
        folder,
        title="Cats & <dogs>",
        predictions=predictions(4),
        controls={"text-only": predictions(1, seed=1), "image-only": predictions(0, seed=2)},
        audit=audit(records),
        history=[
            {"epoch": 1, "loss": 0.7, "val_loss": float("nan")},
            {"epoch": 2, "loss": np.float32(0.5)},
        ],
        about={"data": {"root": Path("photos"), "split": "<test>"}, "seed": 7},
        notices=["This is the <synthetic> sample"],
    )


def test_all_files_are_there_and_pictures_are_pictures(written):
    names = {path.name for path in (written.folder / "plots").iterdir()}
    assert names == {f"{n}.png" for n in ("confusion", "roc", "calibration", "training", "gallery")}
    for path in (written.folder / "plots").iterdir():
        with Image.open(path) as image:
            assert image.format == "PNG" and min(image.size) > 200
    shown = set(re.findall(r"\(plots/(\w+\.png)\)", (written.folder / "report.md").read_text()))
    assert shown == names
    assert not list(written.folder.rglob("*.tmp*"))


def test_page_escapes_and_loads_nothing(written):
    page = written.html_path.read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;" in page
    assert "Cats &amp; &lt;dogs&gt;" in page and "<dogs>" not in page
    assert "&lt;test&gt;" in page and "&lt;synthetic&gt;" in page
    links = re.findall(r'(?:src|srcset|href)="([^"]*)"', page)
    assert links and all(link.startswith("data:image/") for link in links)
    assert "url(" not in page and "@import" not in page
    assert re.search(
        r"label: (no-)?match</span> <span class=\"file\">[^<]+</span>", page
    )  # and which photo
    assert "prefers-color-scheme: dark" in page and 'name="viewport"' in page


def test_markdown_escapes(written):
    text = (written.folder / "report.md").read_text()
    assert "<dogs>" not in text and "&lt;synthetic>" in text
    assert "| data / split | &lt;test> |" in text


def test_json_is_strict_and_reads_back(written):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    text = (written.folder / "report.json").read_text()
    assert json.loads(text, parse_constant=refuse) == read_report(written.folder) == written.values
    assert written.values["history"][0]["val_loss"] is None
    assert written.values["about"]["data"]["root"] == "photos"


def test_summary_and_table_show_model_controls_and_majority(written):
    accuracy = written.values["scores"]["model"]["accuracy"]["value"]
    majority = written.values["scores"]["majority"]["accuracy"]["value"]
    truth = predictions(4).is_match
    assert majority == pytest.approx(1 - truth.mean())
    assert written.values["majority_label"] == "no-match"
    for text in (written.summary, (written.folder / "report.md").read_text()):
        row = next(line for line in text.splitlines() if "Accuracy" in line)
        assert f"{100 * accuracy:.1f} % (" in row and f"{100 * majority:.1f} %" in row
        heads = next(line for line in text.splitlines() if "text-only" in line and "metric" in line)
        assert heads.index("model") < heads.index("image-only") < heads.index('always "no-match"')
    assert "! This is the <synthetic> sample" in written.summary
    assert "1 photo is in both dev and test" in written.summary


def test_findings_say_better_than_majority_and_controls():
    said = " ".join(values(predictions(5), {"text-only": predictions(1, seed=1)})["findings"])
    assert "The model is better by" in said
    assert "The model beats the text-only control, which never sees the photo" in said
    assert "NOT" not in said


def test_findings_say_not_better_than_majority():
    said = values(predictions(1.5))["findings"][0]
    assert "NOT better" in said or "worse by" in said
    constant = predictions(0)
    never = MatchPredictions(np.full(240, 0.1), constant.is_match, constant.image, constant.caption)
    assert "NOT better than this constant answer" in values(never)["findings"][0]


def test_findings_say_when_the_control_is_as_good_or_better():
    same = predictions(1)
    said = " ".join(values(same, {"text-only": same})["findings"])
    assert "does NOT beat the text-only control" in said
    said = " ".join(values(same, {"text-only": predictions(6, seed=5)})["findings"])
    assert "does WORSE than the text-only control" in said


def test_a_control_on_other_rows_is_not_paired():
    report = values(predictions(4), {"text-only": predictions(1, rows=90)})
    assert "text-only" not in report["differences"]
    assert any("different pairs" in sentence for sentence in report["findings"])


def test_missing_controls_and_audit_are_said_plainly(tmp_path):
    report = write_report(
        tmp_path,
        title="t",
        predictions=predictions(3),
        controls={},
        audit=None,
        history=[],
        about={},
    )
    for text in (
        report.summary,
        (tmp_path / "report.md").read_text(),
        report.html_path.read_text(encoding="utf-8"),
    ):
        assert "No controls were trained" in text
        assert "not audited" in text
    assert not (tmp_path / "plots" / "training.png").exists()


@pytest.mark.parametrize("rows, matches", [(0, 0.5), (1, 1.0), (9, 1.0), (9, 0.0)])
def test_few_rows_and_one_class_still_give_a_report(tmp_path, rows, matches):
    report = write_report(
        tmp_path,
        title="t",
        predictions=predictions(2, rows=rows, matches=matches),
        controls={"text-only": predictions(1, rows=rows, matches=matches)},
        audit=None,
        history=[],
        about={},
    )
    assert report.values["scores"]["model"]["roc_auc"]["value"] is None
    row = next(line for line in report.summary.splitlines() if "ROC AUC" in line)
    assert "n/a" in row and "0.5" not in row
    if rows:
        assert "All pairs are labelled" in " ".join(report.values["findings"])


def test_subsets_are_scored_as_if_they_were_all_there_is(tmp_path):
    model, kept = predictions(3), np.arange(240) % 3 > 0
    rows = np.flatnonzero(kept)
    alone = MatchPredictions(
        model.probability[rows],
        model.is_match[rows],
        [model.image[row] for row in rows],
        [model.caption[row] for row in rows],
    )
    told = {"title": "t", "controls": {}, "audit": None, "history": [], "about": {}}
    report = write_report(tmp_path, predictions=model, subsets={"photo <not> in dev": kept}, **told)
    subset, expected = report.values["subsets"]["photo <not> in dev"], values(alone)
    assert subset["rows"] == 160 and subset["matches"] == expected["matches"]
    assert subset["scores"] == expected["scores"]
    found = [
        FIGURES[n].format_estimate(subset["scores"]["model"][n]) for n in ("accuracy", "roc_auc")
    ]
    as_markdown = (tmp_path / "report.md").read_text()
    as_html = report.html_path.read_text(encoding="utf-8")
    assert all(f"| {cell} |" in as_markdown and f"<td>{cell}</td>" in as_html for cell in found)
    assert "| photo &lt;not> in dev | 160 |" in as_markdown
    assert "<th>photo &lt;not&gt; in dev</th><td>160</td>" in as_html
    for text in (as_markdown, as_html):
        assert "Scores without leaked rows" in text
    write_report(tmp_path, predictions=model, **told)  # nothing to leave out
    assert "Scores without" not in (tmp_path / "report.md").read_text()


def test_gallery_shows_the_most_confident_once_a_photo():
    probability = np.array([0.99, 0.97, 0.6, 0.9, 0.2, 0.01])
    truth = np.array([False, False, False, True, True, False])
    sections = {
        section.title: section
        for section in choose_examples(
            probability, truth, ("a", "a", "b", "c", "d", "e"), tuple("uvwxyz")
        )
    }
    wrong = sections["Wrong: predicted match"]
    assert [(e.image, e.caption) for e in wrong.examples] == [("a", "u"), ("b", "w")]
    assert wrong.total == 3
    assert [e.image for e in sections["Wrong: predicted no-match"].examples] == ["d"]
    assert [e.image for e in sections["Correct: match"].examples] == ["c"]
    assert [e.image for e in sections["Correct: no-match"].examples] == ["e"]


def test_a_missing_photo_is_a_grey_tile_with_writing(tmp_path):
    tile = np.asarray(thumbnail(tmp_path / "żółw 🐢.jpg", 100))
    assert tile.shape == (100, 100, 3)
    assert tile[0, 0].tolist() == [180, 185, 193] and (tile != tile[0, 0]).any()


def test_a_small_page_keeps_its_paper_white_and_its_photos_colours():
    across, down = np.meshgrid(np.linspace(0, 255, 96), np.linspace(0, 255, 96))
    photo = np.stack([across, down, 255 - across], axis=-1).astype(np.uint8)
    page = Image.new("RGB", (120, 400), "white")
    page.paste(Image.fromarray(photo), (12, 12))
    small = Image.open(io.BytesIO(small_png(page)))
    assert small.mode == "P"
    seen = np.asarray(small.convert("RGB"), float)
    assert (seen[120:] == 255).all()
    # Mixed, as the eye does: in squares of 8 pixels.
    squares = (
        each[12:108, 12:108].reshape(12, 8, 12, 8, 3).mean((1, 3))
        for each in (np.asarray(page, float), seen)
    )
    np.testing.assert_allclose(*squares, atol=6)


def test_about_takes_any_nesting():
    about = {"a": {"b": {"c_d": 1}}, "list": [1, "x"], "runs": [{"k": True}], "none": None, "e": {}}
    assert list(about_rows(about)) == [
        ("a / b / c d", "1"),
        ("list", "1, x"),
        ("runs 1 / k", "yes"),
        ("none", "none"),
        ("e", "none"),
    ]


def test_reading_what_is_not_there_names_the_remedy(tmp_path):
    with pytest.raises(UserError, match="evaluate the run"):
        read_report(tmp_path)
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        read_report(tmp_path)


def test_the_answers_are_kept_in_full(written):
    kept, asked = read_predictions(written.folder), predictions(4)
    assert kept.same_rows(asked)
    assert kept.probability.tolist() == asked.probability.tolist()
    first = (written.folder / "predictions.csv").read_text(encoding="utf-8").splitlines()[0]
    assert first == "photo,caption,label,match_probability"


def test_any_caption_and_photo_comes_back_from_the_csv(tmp_path):
    captions = ('a "dog", so', "two\nlines", "a\rb", "żółw 🐢; =1+1", "", " spaces ", "'")
    photos = ("a,b.jpg", "Größe.png", "bad\udcff.jpg", '"', "C:\\x y.jpg", "../up.jpg", "x")
    asked = MatchPredictions(
        [0, 1, 0.1, 1e-17, 0.5, 1 / 3, np.float32(0.7)], [1, 0, 1, 0, 0, 1, 1], photos, captions
    )
    write_predictions(tmp_path, asked)
    kept = read_predictions(tmp_path)
    assert kept.same_rows(asked) and kept.probability.tolist() == asked.probability.tolist()
    write_predictions(tmp_path, MatchPredictions([], [], (), ()))
    assert read_predictions(tmp_path).image == ()


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("a.jpg,x,match", "expected 4 cells, got 3"),
        ("a.jpg,x,yes,0.5", "unknown label 'yes'"),
        ("a.jpg,x,match,much", "expected a probability, got 'much'"),
        ("a.jpg,x,match,1.5", "expected a probability, got '1.5'"),
        ("a.jpg,x,match,nan", "expected a probability, got 'nan'"),
    ],
)
def test_a_spoilt_answer_is_told_by_its_line(tmp_path, row, told):
    heading = "photo,caption,label,match_probability"
    (tmp_path / "predictions.csv").write_text(f"{heading}\na.jpg,x,match,0.5\n{row}\n")
    with pytest.raises(UserError) as error:
        read_predictions(tmp_path)
    assert "predictions.csv:3: " in str(error.value) and told in str(error.value)
    (tmp_path / "predictions.csv").write_text(row)
    with pytest.raises(UserError, match="expected the columns photo, caption"):
        read_predictions(tmp_path)


def test_answers_that_were_not_kept_name_the_remedy(tmp_path):
    with pytest.raises(UserError, match="no such file; evaluate the run"):
        read_predictions(tmp_path)


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="different lengths"):
        MatchPredictions(np.zeros(2), np.zeros(2, bool), ("a",), ("b", "c"))
