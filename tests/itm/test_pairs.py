"""Match and no-match rows made from captions."""

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
        photo(f"{n}.jpg", *(f"photo {n} told {k} ." for k in range(5)), line=n + 1)
        for n in range(40)
    ]


def rows(records):
    return [(record.image, record.texts[0], record.label) for record in records]


def test_each_photo_gets_as_many_of_each_as_asked(captioned):
    made = list(make_pairs(captioned, matches=3, negatives=4))
    counts = Counter((record.image, record.label) for record in made)
    assert counts == {
        (record.image, label): n for record in captioned for label, n in ((MATCH, 3), (NO_MATCH, 4))
    }
    own = {record.image: set(record.texts) for record in captioned}
    for record in made:
        assert (record.texts[0] in own[record.image]) == (record.label == MATCH)
    assert len(set(rows(made))) == len(made)
    assert {(record.image.name, record.file, record.line) for record in made} == {
        (f"{n}.jpg", "captions.csv", n + 1) for n in range(40)
    }


def test_the_default_is_balanced(captioned):
    labels = Counter(record.label for record in make_pairs(captioned))
    assert labels == {MATCH: 120, NO_MATCH: 120}


def test_the_same_seed_makes_the_same_rows_and_another_others(captioned):
    first = rows(make_pairs(captioned, seed=1))
    assert first == rows(make_pairs(iter(captioned), seed=1))
    assert first != rows(make_pairs(captioned, seed=2))


def test_wrong_captions_are_drawn_evenly_over_the_photos(captioned):
    drawn = Counter(
        record.texts[0].split(" told")[0]
        for seed in range(10)
        for record in make_pairs(captioned, seed=seed)
        if record.label == NO_MATCH
    )
    assert len(drawn) == 40
    assert all(10 < count < 60 for count in drawn.values())  # 30 are expected of each


def test_no_wrong_caption_is_also_right_as_it_is_or_respelt():
    records = [
        photo("a.jpg", "A dog runs ."),
        photo("b.jpg", "a  DOG runs", "Snow"),
        photo("c.jpg", "Sea"),
    ]
    made = list(make_pairs(records, negatives=5))
    wrong = {
        name: {normalise(r.texts[0]) for r in made if r.image == Path(name) and r.label != MATCH}
        for name in ("a.jpg", "b.jpg", "c.jpg")
    }
    assert wrong == {
        "a.jpg": {"snow", "sea"},
        "b.jpg": {"sea"},
        "c.jpg": {"a dog runs", "snow"},
    }


def test_captions_of_a_duplicate_photo_are_not_wrong():
    records = [photo("a.jpg", "A dog"), photo("copy.jpg", "An animal"), photo("c.jpg", "Sea")]
    duplicates = [(Path("a.jpg"), Path("copy.jpg"))]
    made = rows(make_pairs(records, negatives=5, duplicates=duplicates))
    assert {(image.name, text) for image, text, label in made if label == NO_MATCH} == {
        ("a.jpg", "Sea"),
        ("copy.jpg", "Sea"),
        ("c.jpg", "A dog"),
        ("c.jpg", "An animal"),
    }


def test_a_photo_listed_twice_is_no_stranger_to_itself():
    records = [photo("a.jpg", "A dog"), photo("a.jpg", "An animal"), photo("c.jpg", "Sea")]
    made = rows(make_pairs(records, negatives=5))
    assert {text for image, text, label in made if image.name == "a.jpg" and label != MATCH} == {
        "Sea"
    }


@pytest.mark.parametrize("count, wrong", [(0, 0), (1, 0), (2, 1)])
def test_tiny_pools_give_what_there_is(count, wrong):
    records = [photo(f"{n}.jpg", f"photo {n}") for n in range(count)]
    labels = Counter(record.label for record in make_pairs(records, negatives=3))
    assert labels == Counter({MATCH: count, NO_MATCH: count * wrong})


def test_the_few_wrong_captions_beside_many_right_ones_are_found():
    many = photo("a.jpg", *(f"told {n}" for n in range(3000)))
    made = rows(make_pairs([many, photo("b.jpg", "Sea", "Sand")], negatives=2))
    assert {text for image, text, label in made if image.name == "a.jpg" and label != MATCH} == {
        "Sea",
        "Sand",
    }
