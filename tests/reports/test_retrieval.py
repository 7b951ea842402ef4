"""The written retrieval report: places against plain sorting, what it says, what it escapes."""

import csv
import json
import re

import numpy as np
import pytest
from PIL import Image

from imagetext.metrics.retrieval import ranks as ranks_module
from imagetext.metrics.retrieval.ranks import Ranks, compute_ranks, mean_recall
from imagetext.metrics.retrieval.scores import recall_curve, score
from imagetext.reports.kit.report import read_report
from imagetext.reports.retrieval.gallery import choose_examples
from imagetext.reports.retrieval.report import write_report
from imagetext.reports.retrieval.search_set import SearchSet

pytestmark = pytest.mark.usefixtures("rendered_plots")

EVIL = '<script>alert("x")</script> costs $5 & $6 | more'
PHOTOS = 14


def naive_ranks(similarities, owner, captions):
    """By sorting; what is wrong but level with the right one comes before it."""

    def right(photo, caption):
        return captions[caption] in [
            c for c, own in zip(captions, owner, strict=True) if own == photo
        ]

    of_photos, of_captions = [], []
    for caption in range(len(owner)):
        column = similarities[:, caption]
        order = sorted(range(len(column)), key=lambda n: (-column[n], right(n, caption)))
        of_photos.append(next(n for n, p in enumerate(order, 1) if right(p, caption)))
    for photo, row in enumerate(similarities):
        order = sorted(range(len(row)), key=lambda n: (-row[n], right(photo, n)))
        of_captions.append(next(n for n, c in enumerate(order, 1) if right(photo, c)))
    return of_photos, of_captions


@pytest.mark.parametrize("at_once", [1, 40, 10**6])
@pytest.mark.parametrize("levels", [3, 10**6])
@pytest.mark.parametrize("kinds", [4, 12, 1000])
def test_places_are_those_of_sorting_also_of_ties_and_in_blocks(
    monkeypatch, at_once, levels, kinds
):
    monkeypatch.setattr(ranks_module, "_BLOCK", at_once)
    rng = np.random.default_rng(levels)
    for _ in range(5):
        owner = rng.permutation(np.repeat(np.arange(9), rng.integers(1, 4, 9)))
        similarities = rng.integers(0, levels, (9, len(owner))).astype(np.float32)
        # Some say the same, of one photo and of several; and who says the same is found alike.
        captions = [f"caption {n}" for n in rng.integers(0, kinds, len(owner))]
        firsts = [captions.index(caption) for caption in captions]
        similarities = similarities[:, firsts]
        found = compute_ranks(similarities, owner, captions)
        of_photos, of_captions = naive_ranks(similarities, owner, captions)
        assert found.photo_ranks.tolist() == of_photos
        assert found.caption_ranks.tolist() == of_captions
        six = [np.mean(np.array(p) <= k) for p in (of_photos, of_captions) for k in (1, 5, 10)]
        assert mean_recall(similarities, owner, firsts) == pytest.approx(np.mean(six))
        apart = compute_ranks(similarities, owner)
        of_photos, of_captions = naive_ranks(similarities, owner, range(len(owner)))
        assert apart.photo_ranks.tolist() == of_photos
        assert apart.caption_ranks.tolist() == of_captions


def test_what_two_photos_have_word_for_word_is_right_for_both():
    """A model that cannot be better must not be told that it is wrong."""
    captions, owner = ["a dog", "a cat", "a dog", "a bird"], np.array([0, 0, 1, 1])
    similarities = np.float32([[0.9, 0.1, 0.9, 0.0], [0.8, 0.0, 0.8, 0.1]])
    found = compute_ranks(similarities, owner, captions)
    assert found.photo_ranks.tolist() == [1] * 4 and found.caption_ranks.tolist() == [1, 1]
    strict = compute_ranks(similarities, owner)
    assert strict.photo_ranks.tolist() == [1, 1, 2, 1] and strict.caption_ranks.tolist() == [2, 2]
    searched = SearchSet(("x.jpg", "y.jpg"), tuple(captions), owner)
    assert searched.shared == 2
    sections = choose_examples(searched, found, similarities, 12)
    examples = [example for section in sections for example in section.examples]
    told = {(e.by_text, e.photo, e.caption): [f.is_correct for f in e.results] for e in examples}
    assert told[False, "x.jpg", "a dog"] == told[False, "y.jpg", "a dog"] == [True] * 3 + [False]
    assert all(told[key] == [True, key[2] == "a dog"] for key in told if key[0])


def test_who_says_the_same_of_all_finds_nothing():
    owner = np.repeat(np.arange(20), 2)
    found = compute_ranks(np.ones((20, 40), np.float32), owner)
    assert set(found.photo_ranks) == {20} and set(found.caption_ranks) == {39}


def test_a_photo_without_captions_and_a_diverged_model_are_refused():
    with pytest.raises(ValueError, match="every photo a caption"):
        compute_ranks(np.zeros((3, 2)), np.array([0, 2]))
    with pytest.raises(ValueError, match="diverged"):
        compute_ranks(np.array([[np.nan]]), np.array([0]))


def test_figures_are_those_of_plain_numpy_with_intervals_over_photos():
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(40), 3)
    ranks = Ranks(rng.integers(1, 30, 120), rng.integers(1, 60, 40), owner)
    found = score(ranks, resamples=300)
    for side, places in (("text", ranks.photo_ranks), ("photo", ranks.caption_ranks)):
        for k in (1, 5, 10):
            assert found[f"{side}_r{k}"].value == pytest.approx((places <= k).mean())
        assert found[f"{side}_median"].value == np.median(places)
        assert found[f"{side}_mrr"].value == pytest.approx((1 / places).mean())
    six = [found[f"{side}_r{k}"].value for side in ("text", "photo") for k in (1, 5, 10)]
    assert found["mean_recall"].value == pytest.approx(np.mean(six))
    for name, measured in found.items():
        assert measured.low <= measured.value <= measured.high, name
    # Drawn by photo: of captions that share their photo's luck, the interval is wider.
    together = Ranks(np.repeat(ranks.caption_ranks, 3), ranks.caption_ranks, owner)
    apart = Ranks(rng.permutation(together.photo_ranks), ranks.caption_ranks, owner)
    wide, narrow = (score(each, 300)["text_r10"] for each in (together, apart))
    assert wide.high - wide.low > 1.3 * (narrow.high - narrow.low)


def naive_median(places, weights) -> float:
    return float(np.median(np.repeat(places, weights)))


def test_the_median_of_a_resample_is_that_of_what_was_drawn():
    from imagetext.metrics.retrieval.scores import _metrics

    rng = np.random.default_rng(0)
    places, weights = rng.integers(1, 50, 31), rng.integers(0, 4, (20, 31))
    found = dict(_metrics("text", places, weights.astype(float)))["text_median"]
    assert found.tolist() == [naive_median(places, drawn) for drawn in weights]


def test_the_curve_counts_what_is_among_the_first():
    numbers, shares = recall_curve(np.array([1, 1, 3, 200]), most=4)
    assert numbers.tolist() == [1, 2, 3, 4] and shares.tolist() == [0.5, 0.5, 0.75, 0.75]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """14 photos with two captions: those of the first ten are found, the others not."""
    folder = tmp_path_factory.mktemp("run")
    names = [str(folder / f"photo{n}.jpg") for n in range(PHOTOS)]
    for number, name in enumerate(names[:-1]):  # one is missing
        Image.new("RGB", (30, 20), (15 * number, 120, 30)).save(name)
    owner = np.repeat(np.arange(PHOTOS), 2)
    captions = tuple(EVIL if n == 3 else f"dog number {n}" for n in range(2 * PHOTOS))
    rng = np.random.default_rng(0)
    similarities = rng.random((PHOTOS, 2 * PHOTOS), np.float32) / 2
    similarities[owner[:20], np.arange(20)] += 0.5
    report = write_report(
        folder / "report",
        title="Cats & <dogs>",
        search_set=SearchSet(tuple(names), captions, owner),
        similarities={"model": similarities, "vectors alone": similarities[::-1]},
        history=[{"epoch": 1, "loss": 3.0, "val_loss": float("nan"), "val_recall": 0.1}],
        about={"data": {"root": folder, "split": "<dev>"}},
        notices=["This is the <synthetic> sample"],
        resamples=40,
        examples=12,
    )
    return report, similarities, owner


def test_page_escapes_and_loads_nothing(written):
    page = written[0].html_path.read_text(encoding="utf-8")
    assert "<script" not in page and "Cats &amp; &lt;dogs&gt;" in page and "&lt;dev&gt;" in page
    links = re.findall(r'(?:src|srcset|href)="([^"]*)"', page)
    assert links and all(link.startswith("data:image/") for link in links)
    markdown = (written[0].folder / "report.md").read_text()
    assert "&lt;dogs>" in markdown and "<dogs>" not in markdown


def test_json_is_strict_reads_back_and_states_the_protocol(written):
    report = written[0]
    text = (report.folder / "report.json").read_text()
    assert "NaN" not in text and json.loads(text) == read_report(report.folder) == report.values
    values = report.values
    assert values["task"] == "retrieval" and (values["photos"], values["references"]) == (14, 28)
    assert "each of the 28 captions is searched among the 14 photos" in values["protocol"]
    assert "1K" not in values["protocol"]
    assert list(values["scores"]) == ["model", "vectors alone", "chance"]
    assert values["scores"]["model"]["text_r1"]["value"] >= 20 / 28
    assert values["differences"]["chance"]["mean_recall"]["low"] > 0
    told = " ".join(values["findings"])
    assert "The model beats chance: mean recall" in told
    for text in (report.summary, (report.folder / "report.md").read_text()):
        assert "Mean recall" in text and "28 captions is searched" in " ".join(text.split())


def test_the_standard_protocol_is_called_so():
    from imagetext.reports.retrieval.markdown import describe_protocol

    assert "the standard 1K protocol" in describe_protocol(
        {"photos": 1000, "references": 5000, "shared": 0}
    )
    told = describe_protocol({"photos": 9, "references": 20, "shared": 7})
    assert "7 captions of the 20 belong word for word to several photos, and are correct" in told


def test_the_gallery_shows_searches_of_both_directions_and_marks_what_is_right(written):
    report, *_ = written
    page = report.html_path.read_text(encoding="utf-8")
    headings = re.findall(r"<h3>([^<]+)</h3>", page)
    assert headings[0] == "Text to photo: ranked first"
    assert "Photo to text: ranked first" in headings
    first = re.search(r"<article>.*?</article>", page).group()
    marks = re.findall(r"<figcaption>(✓ )?(\d\.\d\d)</figcaption>", first)
    assert len(marks) == 5 and marks[0][0] and not any(mark for mark, _ in marks[1:])
    scores = [float(score) for _, score in marks]
    assert scores == sorted(scores, reverse=True)
    with Image.open(report.folder / "plots" / "gallery.png") as picture:
        assert picture.format == "PNG" and picture.height > 400


def test_no_photo_is_chosen_twice_in_a_section(written):
    _, similarities, owner = written
    searched = SearchSet(tuple(map(str, range(PHOTOS))), tuple(map(str, range(28))), owner)
    ranks = compute_ranks(similarities, owner)
    sections = choose_examples(searched, ranks, similarities, 30)
    for section in sections:
        photos = [example.photo for example in section.examples]
        assert len(photos) == len(set(photos)) <= 5
        for example in section.examples:
            right = [place for place, found in enumerate(example.results, 1) if found.is_correct]
            assert right[:1] == ([example.rank] if example.rank <= 5 else [])
    assert {example.rank for example in sections[0].examples} == {1}
    assert not any(
        section.examples for section in choose_examples(searched, ranks, similarities, 0)
    )


def test_the_table_holds_every_search(written):
    report, similarities, owner = written
    with (report.folder / "searches.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["place"]) for row in rows] == compute_ranks(
        similarities, owner
    ).photo_ranks.tolist()
    assert rows[3]["caption"] == EVIL and rows[3]["first"] == rows[3]["photo"]
    assert float(rows[5]["similarity"]) == pytest.approx(similarities[owner[5], 5])


def test_the_digest_knows_photos_and_captions_not_where_they_lie():
    one = SearchSet(("/a/x.jpg", "/a/y.jpg"), ("one", "two", "three"), [0, 1, 1])
    other = SearchSet(("/b/y.jpg", "/b/x.jpg"), ("three", "two", "one"), [0, 0, 1])
    assert one.digest == other.digest
    assert one.digest != SearchSet(("x.jpg", "y.jpg"), ("one", "two", "three"), [0, 0, 1]).digest
