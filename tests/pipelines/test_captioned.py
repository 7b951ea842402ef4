"""Photos with their captions from any source; and which photos are copies."""

import shutil

import numpy as np
import pytest
from PIL import Image

from imagetext.pipelines import sample
from imagetext.pipelines.captioned import captions_of_copies, open_captioned, read_captions
from imagetext.pipelines.sample import MARKER
from imagetext.pipelines.sources import open_source


def test_matches_are_the_captions_of_labelled_rows(course_folder):
    source, problems = open_captioned(str(course_folder)), []
    records = read_captions(source, "dev", problems, words=str.split)
    assert source.labelled and not problems and len(records) == 3
    for number, record in enumerate(records):
        assert record.label is None and record.image.name == f"dev_{number}.jpg"
        assert sorted(record.texts) == [f"caption {n} of Dev photo {number} ." for n in range(3)]


def test_a_caption_without_words_is_a_problem_and_the_photo_stays(course_folder):
    problems = []
    records = read_captions(
        open_captioned(str(course_folder)),
        "dev",
        problems,
        words=lambda text: "caption 0" not in text,
        remedy="write more",
    )
    assert len(problems) == 3 and problems[0].remedy == "write more" and problems[0].line
    assert [len(record.texts) for record in records] == [2, 2, 2]


def test_captions_are_taken_where_a_folder_has_both_kinds_of_lists(course_folder):
    assert open_captioned(str(course_folder)).kind == "course lists"
    images = sorted(path.name for path in (course_folder / "flickr8k-resised").iterdir())
    rows = [f"{name}#0\tA dog .\n" for name in images]
    (course_folder / "Flickr8k.token.txt").write_text("".join(rows))
    for split in ("train", "dev", "test"):
        kept = [name for name in images if name.startswith(split)]
        (course_folder / f"Flickr_8k.{split}Images.txt").write_text("\n".join(kept) + "\n")
    assert open_source(str(course_folder)).labelled
    assert not open_captioned(str(course_folder)).labelled


def test_without_a_folder_it_is_the_sample(course_folder, monkeypatch):
    (course_folder / MARKER).touch()
    monkeypatch.setattr(sample, "write_sample", lambda folder: course_folder)
    assert open_captioned(None).kind == "sample"


@pytest.mark.parametrize("copy", ["bytes", "saved again"])
def test_what_describes_a_photo_describes_its_copies(course_folder, copy):
    paths = sorted((course_folder / "flickr8k-resised").glob("train_*.jpg"))
    if copy == "bytes":
        shutil.copyfile(paths[0], paths[4])
    else:
        with Image.open(paths[0]) as photo:
            photo.resize((40, 40)).save(paths[4], quality=85)
    pairs = {n: [10 * n, 10 * n + 1] for n in range(6) if n != 2}  # 2 is of another split
    known = captions_of_copies(pairs, paths)
    together = [0, 1, 40, 41]
    expected = {n: together if n in (0, 4) else own for n, own in pairs.items()}
    assert {n: sorted(found) for n, found in known.items()} == expected
    assert all(isinstance(found, np.ndarray) for found in known.values())
