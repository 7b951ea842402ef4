"""Describing photo files: output formats, folders, ensembles, options, and what is refused."""

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


def test_folders_are_searched_and_files_that_are_not_photos_are_listed(run, scenes, tmp_path):
    photos = tmp_path / "photos" / "inside"
    photos.mkdir(parents=True)
    for name in ("dev_0.png", "dev_1.png"):
        (photos / name).write_bytes((scenes / "images" / name).read_bytes())
    (photos / "bad.png").write_text("not a photo")
    reported = []
    paths = [tmp_path / "photos", photos / "dev_1.png"]
    results = describe(run, paths, top=2, on_photo=reported.append)
    assert [each.photo.name for each in results.photos] == ["dev_0.png", "dev_1.png"]
    assert reported == results.photos
    assert [problem.file for problem in results.bad] == [str(photos / "bad.png")]
    expected = CaptioningModel.load(run).predict([photos / "dev_0.png"])[0]
    assert [c.text for c in results.photos[0].captions] == [c.text for c in expected[:2]]
    first, score = results.photos[0].text.splitlines()[1], f"({expected[0].score:.2f})"
    assert first.split(maxsplit=2)[1:] == [score, expected[0].text]

    results.write(tmp_path / "captions.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "captions.jsonl").read_text().splitlines()]
    assert [line["photo"] for line in lines] == [str(each.photo) for each in results.photos]
    assert [c["caption"] for c in lines[0]["captions"]] == [c.text for c in expected[:2]]
    results.write(tmp_path / "captions.csv")
    with (tmp_path / "captions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == ["1", "2", "1", "2"]
    assert float(rows[1]["log_probability"]) == pytest.approx(expected[1].log_probability)
    with pytest.raises(UserError, match=r"\.jsonl or \.csv"):
        results.write(tmp_path / "captions.txt")


def test_missing_path_is_refused_before_the_model_is_loaded(tmp_path):
    with pytest.raises(UserError, match=r"missing\.jpg: no such file or folder"):
        describe("/nowhere", [tmp_path / "missing.jpg"])


def test_maps_are_a_picture_per_photo_with_a_tile_per_word(run, scenes, tmp_path):
    photo = scenes / "images" / "dev_2.png"
    twin = tmp_path / "dev_2.png"
    twin.write_bytes(photo.read_bytes())
    results = describe(run, [photo, twin], beams=1, maps=tmp_path / "maps")
    names = [each.map_file.name for each in results.photos]
    assert names == ["dev_2.png", "dev_2-2.png"]  # neither overwrites the other
    words = len(results.photos[0].captions[0].text.split())
    with Image.open(results.photos[0].map_file) as image:
        across = (image.width - GAP) // (TILE + GAP)
        assert across == min(6, words + 1)
        assert image.height > TILE * -(-(words + 1) // 6)


def test_ensemble_of_equal_members_equals_them(run, scenes):
    photo = [scenes / "images" / "dev_0.png"]
    single = describe(run, photo).photos[0].captions[0]
    ensemble = describe(f"{run},{run}", photo).photos[0].captions[0]
    assert ensemble.text == single.text
    assert ensemble.log_probability == pytest.approx(single.log_probability, rel=1e-4)


def test_decoding_can_be_overridden_and_described():
    config = DecodingConfig(method="diverse", beams=4, groups=2, length_penalty=0.5)
    assert override_decoding(config, None, 1, sample=False) == config
    assert override_decoding(config, 3, 3, sample=False).groups == 1  # 3 is not divisible by 2
    sampled = override_decoding(config, None, 3, sample=True)
    assert (sampled.method, sampled.beams, sampled.length_penalty) == ("sample", 3, 0.5)
    with pytest.raises(UserError, match="cannot show 5 captions of 4 beams; add --beams 5"):
        override_decoding(config, None, 5, sample=False)
    with pytest.raises(UserError, match="cannot show 3 captions of 2 samples; add --beams 3"):
        override_decoding(config, 2, 3, sample=True)
    with pytest.raises(UserError, match="--top: must be at least 1, got 0"):
        override_decoding(config, None, 0, sample=False)
    configs = [config, DecodingConfig(beams=1), DecodingConfig(), sampled]
    assert list(map(describe_decoding, configs)) == [
        "4 beams in 2 groups",
        "greedy",
        "beam of 5",
        "best of 3 samples",
    ]


def test_samples_differ_between_calls(run, scenes):
    photo = [scenes / "images" / "dev_0.png"]
    first, second = (
        [each.text for each in describe(run, photo, top=20, sample=True).photos[0].captions]
        for _ in range(2)
    )
    assert first != second


def test_maps_need_a_model_with_attention(scenes, tmp_path):
    keys = {"model__kind": "gru_merge", "data__image_output": "pooled"}
    run = untrained(scenes, tmp_path / "runs", **keys)
    with pytest.raises(UserError, match="--maps: gru_merge"):
        describe(str(run.folder), [scenes / "images" / "dev_0.png"], maps=tmp_path)
    image = np.zeros((1, 24, 24, 3), np.uint8)
    assert CaptioningModel.load(run).captions(image)[0][0].log_probability < 0
