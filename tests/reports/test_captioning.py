"""The written captioning report: what it says, what it escapes, what it warns of."""

import csv
import json
import re

import numpy as np
import pytest
from PIL import Image

from imagetext.metrics.captioning.scores import (
    Judge,
    WordScores,
    estimate_ratio,
    score_models,
    score_words,
)
from imagetext.reports.captioning.attention_maps import (
    AttentionMaps,
)
from imagetext.reports.captioning.gallery import choose_examples
from imagetext.reports.captioning.predictions import CaptionPredictions
from imagetext.reports.captioning.report import Evidence, write_report
from imagetext.reports.captioning.statistics import describe_captions, find_warnings
from imagetext.reports.kit.report import read_report

pytestmark = pytest.mark.usefixtures("rendered_plots")

EVIL = '<script>alert("x")</script> costs $5 & $6 | more'
PHOTOS = 14


def vectors(texts):
    """In the place of MiniLM: texts of one first word are alike, others not at all."""
    firsts = sorted({text.split()[0] for text in texts})
    return np.eye(len(firsts))[[firsts.index(text.split()[0]) for text in texts]]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Of 14 photos; the first two said rightly, word for word, the last ones not at all."""
    folder = tmp_path_factory.mktemp("run")
    Image.new("RGB", (60, 40), (200, 120, 30)).save(folder / "photo.jpg")
    references = tuple((f"dog number {n} runs over green grass", EVIL) for n in range(PHOTOS))
    said = tuple(
        references[n][0] if n < 2 else f"dog {n} runs over" if n < 12 else "snow falls in winter"
        for n in range(PHOTOS)
    )
    asked = []

    def looked(number):
        asked.append(number)
        words = tuple(said[number].split())
        return AttentionMaps(words, np.full((len(words), 2, 2), 0.25)) if number else None

    report = write_report(
        folder / "report",
        title="Cats & <dogs>",
        predictions=CaptionPredictions(
            (str(folder / "photo.jpg"),) * PHOTOS, said, -np.arange(PHOTOS), references
        ),
        evidence=Evidence(
            others={"greedy": said[::-1]},
            names={"model": "beam of 5"},
            words=WordScores(np.full(14, 4), np.arange(14) % 4, np.linspace(2, 6, 14)),
            training=["Dog 2 runs over .", "a cat"],
            vocabulary=100,
            encoder=vectors,
            attention=looked,
        ),
        history=[{"epoch": 1, "loss": 3.0, "val_loss": float("nan"), "val_cider": 0.1}],
        about={"data": {"root": folder, "split": "<dev>"}},
        notices=["This is the <synthetic> sample"],
        resamples=40,
        examples=6,
    )
    return report, asked


def test_page_escapes_and_loads_nothing(written):
    page = written[0].html_path.read_text(encoding="utf-8")
    assert "<script" not in page and "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;" in page
    assert "Cats &amp; &lt;dogs&gt;" in page and "&lt;dev&gt;" in page
    links = re.findall(r'(?:src|srcset|href)="([^"]*)"', page)
    assert links and all(link.startswith("data:image/") for link in links)
    assert "url(" not in page and "@import" not in page
    markdown = (written[0].folder / "report.md").read_text()
    assert "&lt;dogs>" in markdown and "<dogs>" not in markdown


def test_the_gallery_shows_best_middle_and_worst_with_a_tile_a_word(written):
    report, asked = written
    assert asked[:2] == [0, 1] and sorted(asked[4:]) == [12, 13]
    assert all(2 <= number < 12 for number in asked[2:4])
    page = report.html_path.read_text(encoding="utf-8")
    headings = re.findall(r"<h3>([^<]+)</h3>", page)
    assert headings == ["Best by CIDEr-D", "Middle", "Worst"]
    first, second, *_ = re.findall(r"<article>.*?</article>", page)
    assert "<figcaption>" not in first  # of photo 0 the model could not be asked
    words = re.findall(r"<figcaption>(\w+)</figcaption>", second)
    assert words == ["dog", "number", "1", "runs", "over", "green", "grass"]
    with Image.open(report.folder / "plots" / "gallery.png") as picture:
        assert picture.format == "PNG" and picture.height > 6 * 200


def test_a_curve_each_is_shown_on_the_page_and_all_in_one_file(written):
    """The history has loss and CIDEr-D."""
    report, _ = written
    page = report.html_path.read_text(encoding="utf-8")
    training = page[page.index("<h2>Training</h2>") :].split("</section>")[0]
    assert re.findall(r'alt="([^"]+)"', training) == [
        "Loss by epoch",
        "CIDEr-D / 100, greedy by epoch",
    ]
    assert training.count("prefers-color-scheme: dark") == 2
    with Image.open(report.folder / "plots" / "training.png") as picture:
        assert picture.width == pytest.approx(2 * 3.9 * 144, abs=2)
    assert "(plots/training.png)" in (report.folder / "report.md").read_text()


def test_json_is_strict_and_reads_back(written):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    text = (written[0].folder / "report.json").read_text()
    values = json.loads(text, parse_constant=refuse)
    assert values == read_report(written[0].folder) == written[0].values
    assert values["task"] == "captioning" and values["history"][0]["val_loss"] is None
    assert values["references"] == 28
    cider = values["scores"]["model"]["cider_d"]
    assert cider["low"] < cider["value"] < cider["high"]
    assert values["differences"]["greedy"]["cider_d"]["value"] == pytest.approx(
        cider["value"] - values["scores"]["greedy"]["cider_d"]["value"]
    )


def test_figures_of_words_and_similarity_are_those_of_plain_loops(written):
    values = written[0].values
    assert values["words"]["token_accuracy"]["value"] == pytest.approx(
        sum(n % 4 for n in range(14)) / 56
    )
    entropy = np.linspace(2, 6, 14).sum() / 56
    assert values["words"]["perplexity"]["value"] == pytest.approx(np.exp(entropy))
    # 12 of 14 captions begin as one of their two references does.
    assert values["scores"]["model"]["similarity"]["value"] == pytest.approx(12 / 28)
    assert values["scores"]["model"]["similarity_best"]["value"] == pytest.approx(12 / 14)


def test_a_judge_scores_captions_without_their_references(tmp_path):
    """Beside them what people wrote and, as the lower end, the captions of other photos."""
    photos, said = ("a.jpg", "b.jpg", "c.jpg"), ("a dog", " ", "a red bird")
    asked = []

    def score(paths, captions):
        asked.append(list(zip(paths, captions, strict=True)))
        return np.array([len(caption) + 100 * (path == "a.jpg") for path, caption in asked[0]])

    report = write_report(
        tmp_path,
        title="judged",
        predictions=CaptionPredictions(photos, said, np.zeros(3), (("a cat", "x"), ("y",), ("z",))),
        evidence=Evidence(others={"greedy": ("one", "two", "")}, judge=Judge("the <judge>", score)),
        history=[],
        about={},
        resamples=20,
        examples=0,
    )
    assert len(asked) == 1 and len(asked[0]) == 3 * 4 - 3 and ("b.jpg", " ") not in asked[0]
    values = report.values
    found = {name: each["caption_score"]["value"] for name, each in values["scores"].items()}
    assert found == pytest.approx({"model": (105 + 0 + 10) / 3, "greedy": (103 + 3 + 0) / 3})
    fit = {name: measured["value"] for name, measured in values["fit"].items()}
    expected = {"first reference": 107 / 3, "captions of other photos": (0 + 10 + 5) / 3}
    assert fit == pytest.approx(expected)
    difference = values["differences"]["greedy"]["caption_score"]["value"]
    assert difference == pytest.approx(found["model"] - found["greedy"])
    told = next(line for line in values["findings"] if line.startswith("Without references"))
    assert "according to the <judge>, the captions score 38.333" in told
    assert told.endswith(
        "captions by people 35.667, and the model's captions of other photos 5.000."
    )
    assert "Caption score, without references" in report.summary
    page = report.html_path.read_text()
    assert "as in CLIPScore, according to the &lt;judge&gt;" in page and "<judge>" not in page
    with (tmp_path / "captions.csv").open(newline="") as file:
        assert [float(row["caption_score"]) for row in csv.DictReader(file)] == [105, 0, 10]


def test_without_a_judge_nothing_is_said_of_one(written):
    report = written[0]
    assert report.values["fit"] == {} and report.values["judge"] is None
    assert "caption_score" not in report.values["scores"]["model"]
    assert "Caption score" not in report.summary


def test_the_table_holds_every_caption_beside_its_references(written):
    with (written[0].folder / "captions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["log_probability"]) for row in rows] == [-n for n in range(PHOTOS)]
    assert rows[5]["caption"] == "dog 5 runs over" and rows[5]["reference_2"] == EVIL
    scores = [float(row["cider"]) for row in rows]
    assert min(scores[:2]) > max(scores[2:]) and max(scores[12:]) < 0.01


def test_summary_and_markdown_tell_all_columns_and_what_is_absent(written):
    report = written[0]
    value = report.values["scores"]["model"]["bleu_4"]["value"]
    for text in (report.summary, (report.folder / "report.md").read_text()):
        row = next(line for line in text.splitlines() if "BLEU-4 " in line and "(" in line)
        assert f"{100 * value:.1f} (" in row
        assert "beam of 5 (95 % CI)" in text and "greedy" in text
    assert "SPICE is unavailable" in report.summary and "MiniLM" in report.summary
    assert "! This is the <synthetic> sample" in report.summary
    assert "7.1 % occur word for word in the training captions" in " ".join(
        report.values["findings"]
    )


def test_without_an_encoder_its_absence_is_told():
    scored = score_models({"model": ["a dog"] * 2}, [["a dog"]] * 2, resamples=5)["model"]
    assert "similarity" not in scored.estimates
    assert any("MiniLM similarity is unavailable" in note for note in scored.notes)


def test_character_counts_as_the_metrics_read():
    said = ["A dog runs.", "a dog runs", "Two dogs", "a cat"]
    found = describe_captions(said, training=["A CAT !", "a dog"], vocabulary=12)
    assert found["distinct"] == 3 / 4 and found["in_training"] == 1 / 4
    assert found["most_frequent_caption"] == "a dog runs" and found["most_frequent"] == 1 / 2
    assert found["vocabulary"] == 6 and found["vocabulary_used"] == 1 / 2  # a dog runs two dogs cat
    assert found["mean_words"] == 10 / 4
    assert describe_captions([], []) | {"captions": 0, "in_training": None} == describe_captions(
        [], []
    )


def person(count=40):
    return describe_captions([f"a person wrote caption {n}" for n in range(count)], ["a caption"])


def test_the_same_for_all_and_echoes_and_silence_are_warned_of():
    training = [f"dog {n} runs" for n in range(40)]
    same = describe_captions(["a man in a red shirt"] * 30 + training[:10], training)
    assert ["Little variety" in line for line in find_warnings(same, person())] == [True]
    echo = describe_captions(training, training)
    told = list(find_warnings(echo, person()))
    assert len(told) == 1 and told[0].startswith("Repetition: 100.0 %")
    silent = describe_captions([""] * 40, training)
    assert list(find_warnings(silent, person())) == [
        "The captions are empty: the model generates no words."
    ]
    honest = describe_captions([f"dog {n} sits" for n in range(36)] + training[:4], training)
    assert list(find_warnings(honest, person())) == []
    # Where people's own captions are among the training captions, so may the model's be.
    assert list(find_warnings(echo, describe_captions(training, training))) == []


def test_a_warning_reaches_the_report(tmp_path):
    predictions = CaptionPredictions(
        tuple(f"/nowhere/{n}.jpg" for n in range(12)),
        ("a man",) * 12,
        np.zeros(12),
        tuple((f"dog number {n}",) for n in range(12)),
    )
    report = write_report(
        tmp_path, title="t", predictions=predictions, evidence=Evidence(), history=[], about={},
        resamples=5,
    )  # fmt: skip
    assert report.values["notices"][0].startswith("Little variety")
    assert "Little variety" in report.html_path.read_text() and "! Little variety" in report.summary
    assert not (tmp_path / "plots" / "training.png").exists()


@pytest.mark.parametrize("count", [1, 2])
def test_of_one_photo_it_is_told_why_cider_is_0(tmp_path, count):
    predictions = CaptionPredictions(
        tuple(f"{n}.jpg" for n in range(count)),
        ("a dog runs here", "two cats sit")[:count],
        np.zeros(count),
        (("a dog runs here",), ("two cats sit",))[:count],
    )
    report = write_report(
        tmp_path, title="t", predictions=predictions, evidence=Evidence(), history=[], about={},
        resamples=5, examples=0,
    )  # fmt: skip
    assert (report.values["scores"]["model"]["cider_d"]["value"] == 0) == (count == 1)
    assert any("for a single photo" in told for told in report.values["findings"]) == (count == 1)


def test_ratios_are_resampled_by_photo():
    parts, wholes = np.array([1.0, 5, 2]), np.array([2.0, 10, 4])
    same = estimate_ratio(parts, wholes, 50)
    assert same.value == 0.5 and same.low == same.high == 0.5
    found = score_words(WordScores(wholes, parts * [0, 1, 2], parts), 200)["token_accuracy"]
    assert found.value == 9 / 16 and found.low == 0 and found.high == 1
    assert estimate_ratio(np.zeros(1), np.zeros(1), 5).reason == "no words"


@pytest.mark.parametrize("photos", [1, 2, 3, 4, 20])
def test_no_photo_is_chosen_twice(photos):
    predictions = CaptionPredictions(
        tuple(map(str, range(photos))), ("",) * photos, np.zeros(photos), (("",),) * photos
    )
    cider = np.random.default_rng(0).permutation(photos).astype(float)
    best, middle, worst = choose_examples(predictions, cider, 6, lambda number: None)
    shown = [example.photo for part in (best, middle, worst) for example in part.examples]
    assert len(shown) == len(set(shown)) == min(photos, 6)
    assert best.examples[0].cider == cider.max()
    if photos >= 6:
        assert [e.cider for e in worst.examples] == [0, 1]
        assert {e.cider for e in middle.examples} <= {8, 9, 10, 11}
    assert not any(
        part.examples for part in choose_examples(predictions, cider, 0, lambda number: None)
    )
