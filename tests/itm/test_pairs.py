"""Match and no-match rows from captions."""

from collections import Counter
from pathlib import Path

import pytest

from imagetext.itm.pairs import make_pairs
from imagetext.pipelines.audit import normalise
from imagetext.pipelines.records import MATCH, NO_MATCH, Record


def photo(name, *texts, split="train", line=None):
    return Record(Path(name), texts, None, split, "captions.csv", line)


@pytest.fixture
def captioned():
    return [
        photo(f"{n}.jpg", *(f"photo {n} text {k} ." for k in range(5)), line=n + 1)
        for n in range(40)
    ]


def rows(records):
    return [(record.image, record.texts[0], record.label) for record in records]


def test_each_photo_gets_the_configured_numbers_of_rows(captioned):
    result = list(make_pairs(captioned, matches=3, negatives=4))
    counts = Counter((record.image, record.label) for record in result)
    assert counts == {
        (record.image, label): n for record in captioned for label, n in ((MATCH, 3), (NO_MATCH, 4))
    }
    captions = {record.image: set(record.texts) for record in captioned}
    for record in result:
        assert (record.texts[0] in captions[record.image]) == (record.label == MATCH)
    assert len(set(rows(result))) == len(result)
    assert {(record.image.name, record.file, record.line) for record in result} == {
        (f"{n}.jpg", "captions.csv", n + 1) for n in range(40)
    }


def test_the_default_is_balanced(captioned):
    labels = Counter(record.label for record in make_pairs(captioned))
    assert labels == {MATCH: 120, NO_MATCH: 120}


def test_the_rows_depend_on_the_seed(captioned):
    first = rows(make_pairs(captioned, seed=1))
    assert first == rows(make_pairs(iter(captioned), seed=1))
    assert first != rows(make_pairs(captioned, seed=2))


def test_negatives_are_drawn_evenly_from_all_photos(captioned):
    drawn = Counter(
        record.texts[0].split(" text")[0]
        for seed in range(10)
        for record in make_pairs(captioned, seed=seed)
        if record.label == NO_MATCH
    )
    assert len(drawn) == 40
    assert all(10 < count < 60 for count in drawn.values())  # 30 are expected of each


def test_a_negative_is_never_a_caption_of_the_photo_in_any_spelling():
    records = [
        photo("a.jpg", "A dog runs ."),
        photo("b.jpg", "a  DOG runs", "Snow"),
        photo("c.jpg", "Sea"),
    ]
    result = list(make_pairs(records, negatives=5))
    negatives = {
        name: {normalise(r.texts[0]) for r in result if r.image == Path(name) and r.label != MATCH}
        for name in ("a.jpg", "b.jpg", "c.jpg")
    }
    assert negatives == {
        "a.jpg": {"snow", "sea"},
        "b.jpg": {"sea"},
        "c.jpg": {"a dog runs", "snow"},
    }


def test_captions_of_a_duplicate_photo_are_not_negatives():
    records = [photo("a.jpg", "A dog"), photo("copy.jpg", "An animal"), photo("c.jpg", "Sea")]
    duplicates = [(Path("a.jpg"), Path("copy.jpg"))]
    result = rows(make_pairs(records, negatives=5, duplicates=duplicates))
    assert {(image.name, text) for image, text, label in result if label == NO_MATCH} == {
        ("a.jpg", "Sea"),
        ("copy.jpg", "Sea"),
        ("c.jpg", "A dog"),
        ("c.jpg", "An animal"),
    }


def test_captions_of_a_photo_listed_twice_are_not_negatives():
    records = [photo("a.jpg", "A dog"), photo("a.jpg", "An animal"), photo("c.jpg", "Sea")]
    result = rows(make_pairs(records, negatives=5))
    assert {text for image, text, label in result if image.name == "a.jpg" and label != MATCH} == {
        "Sea"
    }


@pytest.mark.parametrize("count, negatives", [(0, 0), (1, 0), (2, 1)])
def test_small_pools_give_fewer_negatives(count, negatives):
    records = [photo(f"{n}.jpg", f"photo {n}") for n in range(count)]
    labels = Counter(record.label for record in make_pairs(records, negatives=3))
    assert labels == Counter({MATCH: count, NO_MATCH: count * negatives})


def test_the_few_negatives_among_many_captions_of_the_photo_are_drawn():
    many = photo("a.jpg", *(f"text {n}" for n in range(3000)))
    result = rows(make_pairs([many, photo("b.jpg", "Sea", "Sand")], negatives=2))
    assert {text for image, text, label in result if image.name == "a.jpg" and label != MATCH} == {
        "Sea",
        "Sand",
    }
