"""The built-in sample: the same everywhere, balanced, and its wrong captions really wrong."""

import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from imagetext.errors import UserError
from imagetext.pipelines.embeddings import EmbeddingTable
from imagetext.pipelines.records import MATCH, NO_MATCH, SPLITS
from imagetext.pipelines.sample import (
    EMBEDDINGS,
    MARKER,
    TWINS,
    Scene,
    all_scenes,
    make_twins,
    rows_of,
    sample_captions,
    write_sample,
)
from imagetext.pipelines.sources import open_source

FEW = {"train": 6, "dev": 2, "test": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_sample(tmp_path_factory.mktemp("one") / "sample", FEW)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_same_bytes_are_written_twice(folder, tmp_path):
    again = contents(write_sample(tmp_path / "again", FEW))
    assert again == contents(folder)
    assert len(again) == 2 * sum(FEW.values()) + 3 + 2  # photos, lists, embeddings and marker


def test_it_opens_as_the_sample_with_every_row_in_its_split(folder):
    source = open_source(folder, "sample")
    assert (source.kind, source.labelled) == ("sample", True)
    for split, count in FEW.items():
        records = list(source.records(split))
        assert {record.image.name.split("_")[0] for record in records} == {split}
        expected = [
            (text, label)
            for one, other in make_twins(split, count)
            for rows in (rows_of(one, other), rows_of(other, one))
            for text, label in rows
        ]
        assert [(record.texts[0], record.label) for record in records] == expected


def test_every_caption_has_its_vector():
    table = EmbeddingTable.read(EMBEDDINGS)
    assert table.width == 384
    assert sorted(table.captions) == sample_captions()
    scenes = {
        scene for split in SPLITS for pair in make_twins(split, TWINS[split]) for scene in pair
    }
    used = {caption for scene in scenes for caption in scene.captions}
    assert not table.missing(used)
    assert not np.allclose(table.lookup(sorted(used)[:1]), table.lookup(sorted(used)[1:2]))


@pytest.mark.parametrize("split", SPLITS)
def test_every_caption_and_every_photo_is_as_often_right_as_wrong(split):
    balance = Counter()
    for one, other in make_twins(split, TWINS[split]):
        for rows in (rows_of(one, other), rows_of(other, one)):
            labels = Counter(label for _, label in rows)
            assert labels[MATCH] == labels[NO_MATCH] > 0
            assert len({text for text, _ in rows}) == len(rows)
            for text, label in rows:
                balance[text] += 1 if label == MATCH else -1
    assert len(balance) > 100
    assert set(balance.values()) == {0}


# The grammar read backwards, and written apart from the code that makes the captions.
SENTENCE = re.compile(
    r"a (?:(small|large) )?(\w+) (\w+) (left of|right of|above|below)"
    r" a (?:(small|large) )?(\w+) (\w+)"
)
AXIS = {"left of": ("x", 0), "right of": ("x", 1), "above": ("y", 0), "below": ("y", 1)}


def is_true(sentence: str, scene: Scene) -> bool:
    """Whether a sentence may be said of a scene; of the second object the size is left open."""
    size, colour, shape, relation, other_size, other_colour, other_shape = SENTENCE.fullmatch(
        sentence
    ).groups()
    axis, first_is_after = AXIS[relation]
    scene_axis, scene_is_after = AXIS[scene.relation]
    here = (scene.colour, scene.shape)
    there = (scene.other_colour, scene.other_shape)
    told = ((colour, shape), (other_colour, other_shape))
    if axis != scene_axis:
        return False
    if told == (here, there):
        return first_is_after == scene_is_after and size in (None, scene.size)
    if told == (there, here):
        return first_is_after != scene_is_after and other_size in (None, scene.size)
    return False


def test_the_independent_reading_agrees_on_a_scene_drawn_by_hand():
    scene = Scene("small", "red", "star", "left of", "blue", "square")
    assert is_true("a red star left of a blue square", scene)
    assert is_true("a blue square right of a red star", scene)
    assert is_true("a blue square right of a small red star", scene)
    assert not is_true("a blue square right of a large red star", scene)
    assert not is_true("a red star right of a blue square", scene)
    assert not is_true("a red star above a blue square", scene)


@pytest.mark.parametrize("split", SPLITS)
def test_right_captions_are_true_and_wrong_ones_false(split):
    for pair in make_twins(split, TWINS[split]):
        for scene, twin in (pair, pair[::-1]):
            for text, label in rows_of(scene, twin):
                assert is_true(text, scene) == (label == MATCH), (text, scene)


def test_a_scene_told_from_its_other_object_is_turned_about_and_nothing_else_is():
    scene = Scene("small", "red", "star", "left of", "blue", "square")
    turned = [other for other in all_scenes() if scene.is_converse_of(other)]
    assert [(other.size, *other.captions[2:]) for other in turned] == [
        ("small", "a blue square right of a red star"),
        ("large", "a blue square right of a red star"),
    ]


def test_the_picture_shows_the_colours_where_the_caption_says(folder):
    for number, (scene, _) in enumerate(make_twins("train", FEW["train"])):
        with Image.open(folder / "flickr8k-resised" / f"train_{number:04d}a.jpg") as image:
            pixels = np.asarray(image.convert("RGB"), float)
        centre = {}
        for colour, rgb in {
            "red": (214, 40, 40),
            "green": (44, 150, 70),
            "blue": (40, 80, 210),
            "yellow": (240, 200, 30),
        }.items():
            rows, columns = np.nonzero(np.abs(pixels - rgb).max(axis=2) < 45)
            if len(rows) > 8:
                centre[colour] = columns.mean(), rows.mean()
        assert set(centre) == {scene.colour, scene.other_colour}
        (x, y), (other_x, other_y) = centre[scene.colour], centre[scene.other_colour]
        assert {
            "left of": x < other_x,
            "right of": x > other_x,
            "above": y < other_y,
            "below": y > other_y,
        }[scene.relation]


def test_an_existing_sample_is_left_and_a_foreign_folder_refused(folder, tmp_path):
    marker = folder / MARKER
    before = marker.stat().st_mtime_ns
    assert write_sample(folder, {"train": 1, "dev": 1, "test": 1}) == folder
    assert marker.stat().st_mtime_ns == before
    foreign = tmp_path / "mine"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="exists and is not the sample"):
        write_sample(foreign, FEW)
    assert [path.name for path in foreign.iterdir()] == ["thesis.txt"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file: already exists and is not the sample"):
        write_sample(tmp_path / "file", FEW)


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "new").mkdir()
    assert (write_sample(tmp_path / "new", FEW) / MARKER).is_file()


def test_nothing_appears_before_the_sample_is_complete(tmp_path, monkeypatch):
    def fail(*_):
        assert not (tmp_path / "sample").exists()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("imagetext.pipelines.sample.shutil.copyfile", fail)
    with pytest.raises(UserError, match="the disk is full; free some space"):
        write_sample(tmp_path / "sample", FEW)
    assert not list(tmp_path.iterdir())
