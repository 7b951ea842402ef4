"""Nothing that is held out gets through: the photo under any name, its copies, its captions."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagetext.pipelines.held_out import find_copies, leave_out
from imagetext.pipelines.records import Record


def picture(seed: int, side: int = 64) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)


@pytest.fixture
def photos(tmp_path) -> list[Path]:
    paths = [tmp_path / f"{number}.jpg" for number in range(5)]
    for number, path in enumerate(paths):
        picture(number).save(path, quality=95)
    return paths


def test_what_is_not_held_out_stays_as_it_is(photos):
    records = [Record(photo, (f"a caption of {photo.stem}",)) for photo in photos[:4]]
    held_out = [Record(photos[4], ("another caption",), "match", "dev")]
    assert leave_out(records, held_out) == (records, {"captions that are held out": 0})
    assert leave_out(records, []) == (records, {"captions that are held out": 0})
    assert leave_out([], held_out) == ([], {"captions that are held out": 0})


def test_a_held_out_photo_goes_under_any_name_and_its_copies_go_too(photos, tmp_path):
    renamed, smaller, copy_of_no_match = (tmp_path / name for name in ("a.jpg", "b.jpg", "c.jpg"))
    renamed.write_bytes(photos[1].read_bytes())
    picture(1, side=48).save(smaller, quality=70)
    picture(2).save(copy_of_no_match, quality=80)
    extra = [photos[1], renamed, smaller, copy_of_no_match, photos[3]]
    records = [Record(photo, (f"one of {photo.stem}", f"two of {photo.stem}")) for photo in extra]
    held_out = [
        Record(photos[1], ("x",), "match", "dev"),
        Record(photos[2], ("y",), "no-match", "test"),
    ]
    kept, left_out = leave_out(records, held_out)
    assert kept == records[4:]
    assert left_out == {
        "photos that are held out": 2,
        "near-duplicates of them": 2,
        "captions that are held out": 0,
    }


def test_copies_are_found_under_any_name_those_byte_for_byte_apart(photos, tmp_path):
    renamed, smaller = (tmp_path / name for name in ("a.jpg", "b.jpg"))
    renamed.write_bytes(photos[1].read_bytes())
    picture(2, side=48).save(smaller, quality=70)
    asked = [photos[0], renamed, photos[3], smaller]
    assert find_copies(asked, [photos[1], photos[2], photos[3]]) == (
        {renamed, photos[3]},
        {smaller},
    )
    assert find_copies(asked, []) == (set(), set())


def test_a_photo_is_counted_once_however_many_rows_it_has(photos):
    records = [Record(photos[0], (text,)) for text in ("one", "two", "three")]
    kept, left_out = leave_out(records, [Record(photos[0], ("else",))])
    assert (kept, left_out["photos that are held out"]) == ([], 1)


def test_a_held_out_caption_goes_wherever_it_stands_however_it_is_written(photos):
    told = ("A dog 's ball .", "Two cats", "two  CATS!", "Café, at night", "Cafe\u0301")
    records = [
        Record(photos[0], told),
        Record(photos[1], ("a dog's ball",)),
        Record(photos[2], told),
    ]
    held_out = [Record(photos[4], ('"A dog\'s ball"', "café"), "no-match", "test")]
    kept, left_out = leave_out(records, held_out)
    assert [record.texts for record in kept] == [("Two cats", "Café, at night")] * 2
    assert [record.image for record in kept] == [photos[0], photos[2]]  # one had nothing else
    assert left_out == {"captions that are held out": 5}


def test_words_that_only_begin_alike_are_other_captions(photos):
    records = [Record(photos[0], ("a dog runs fast", "a dog", "dog runs a"))]
    kept, _ = leave_out(records, [Record(photos[4], ("a dog runs",))])
    assert kept == records


def test_a_photo_that_cannot_be_read_is_still_known_by_its_path(photos, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"")
    records = [Record(broken, ("one",)), Record(photos[0], ("two",))]
    assert leave_out(records, [Record(broken, ("x",))])[0] == records[1:]
    assert leave_out(records, [Record(photos[4], ("x",))])[0] == records
