"""Captions of photo files: in which form, of how many, and what is refused."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from imagetext.captioning.config import DecodingConfig
from imagetext.captioning.describe import describe, describe_decoding, override_decoding
from imagetext.captioning.predict import CaptioningModel
from imagetext.errors import UserError
from imagetext.reports.captioning.attention_maps import TILE
from imagetext.reports.kit.images import GAP
from tests.captioning.tiny_runs import untrained
from tests.scenes import write_scenes


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes") / "data")


@pytest.fixture(scope="module")
def run(scenes, tmp_path_factory):
    return str(untrained(scenes, tmp_path_factory.mktemp("runs")).folder)


def test_folders_are_searched_and_what_is_no_photo_is_told_not_raised(run, scenes, tmp_path):
    photos = tmp_path / "photos" / "inside"
    photos.mkdir(parents=True)
    for name in ("dev_0.png", "dev_1.png"):
        (photos / name).write_bytes((scenes / "images" / name).read_bytes())
    (photos / "bad.png").write_text("no photo")
    seen = []
    given = [tmp_path / "photos", photos / "dev_1.png"]
    found = describe(run, given, top=2, on_photo=seen.append)
    assert [each.photo.name for each in found.photos] == ["dev_0.png", "dev_1.png"]
    assert seen == found.photos
    assert [problem.file for problem in found.bad] == [str(photos / "bad.png")]
    expected = CaptioningModel.load(run).predict([photos / "dev_0.png"])[0]
    assert [c.text for c in found.photos[0].captions] == [c.text for c in expected[:2]]
    first, score = found.photos[0].text.splitlines()[1], f"({expected[0].score:.2f})"
    assert first.split(maxsplit=2)[1:] == [score, expected[0].text]

    found.write(tmp_path / "captions.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "captions.jsonl").read_text().splitlines()]
    assert [line["photo"] for line in lines] == [str(each.photo) for each in found.photos]
    assert [c["caption"] for c in lines[0]["captions"]] == [c.text for c in expected[:2]]
    found.write(tmp_path / "captions.csv")
    with (tmp_path / "captions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == ["1", "2", "1", "2"]
    assert float(rows[1]["log_probability"]) == pytest.approx(expected[1].log_probability)
    with pytest.raises(UserError, match=r"\.jsonl or \.csv"):
        found.write(tmp_path / "captions.txt")


def test_a_path_that_is_not_there_is_told_before_anything_is_loaded(tmp_path):
    with pytest.raises(UserError, match=r"missing\.jpg: no such file or folder"):
        describe("/nowhere", [tmp_path / "missing.jpg"])


def test_maps_are_a_picture_a_photo_with_a_tile_a_word(run, scenes, tmp_path):
    photo = scenes / "images" / "dev_2.png"
    twin = tmp_path / "dev_2.png"
    twin.write_bytes(photo.read_bytes())
    found = describe(run, [photo, twin], beams=1, maps=tmp_path / "maps")
    names = [each.map_file.name for each in found.photos]
    assert names == ["dev_2.png", "dev_2-2.png"]  # neither overwrites the other
    words = len(found.photos[0].captions[0].text.split())
    with Image.open(found.photos[0].map_file) as image:
        across = (image.width - GAP) // (TILE + GAP)
        assert across == min(6, words + 1)
        assert image.height > TILE * -(-(words + 1) // 6)


def test_an_ensemble_answers_by_the_mean_of_its_members(run, scenes):
    photo = [scenes / "images" / "dev_0.png"]
    one = describe(run, photo).photos[0].captions[0]
    same = describe(f"{run},{run}", photo).photos[0].captions[0]
    assert same.text == one.text
    assert same.log_probability == pytest.approx(one.log_probability, rel=1e-4)


def test_how_captions_are_found_can_be_told():
    own = DecodingConfig(method="diverse", beams=4, groups=2, length_penalty=0.5)
    assert override_decoding(own, None, 1, sample=False) == own
    assert override_decoding(own, 3, 3, sample=False).groups == 1  # 3 beams do not make 2 groups
    drawn = override_decoding(own, None, 3, sample=True)
    assert (drawn.method, drawn.beams, drawn.length_penalty) == ("sample", 3, 0.5)
    with pytest.raises(UserError, match="cannot show 5 captions of 4 beams; add --beams 5"):
        override_decoding(own, None, 5, sample=False)
    with pytest.raises(UserError, match="cannot show 3 captions of 2 samples; add --beams 3"):
        override_decoding(own, 2, 3, sample=True)
    with pytest.raises(UserError, match="--top: must be at least 1, got 0"):
        override_decoding(own, None, 0, sample=False)
    kinds = [own, DecodingConfig(beams=1), DecodingConfig(), drawn]
    assert list(map(describe_decoding, kinds)) == [
        "4 beams in 2 groups",
        "greedy",
        "beam of 5",
        "best of 3 samples",
    ]


def test_what_is_drawn_is_drawn_anew_each_time(run, scenes):
    photo = [scenes / "images" / "dev_0.png"]
    one, other = (
        [each.text for each in describe(run, photo, top=20, sample=True).photos[0].captions]
        for _ in range(2)
    )
    assert one != other


def test_a_model_that_looks_at_no_part_has_no_maps(scenes, tmp_path):
    keys = {"model__kind": "gru_merge", "data__image_output": "pooled"}
    run = untrained(scenes, tmp_path / "runs", **keys)
    with pytest.raises(UserError, match="--maps: gru_merge"):
        describe(str(run.folder), [scenes / "images" / "dev_0.png"], maps=tmp_path)
    image = np.zeros((1, 24, 24, 3), np.uint8)
    assert CaptioningModel.load(run).captions(image)[0][0].log_probability < 0
