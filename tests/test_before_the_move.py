"""Runs, indexes and exports made with version 0.1, before everything moved into one package."""

import json
import shutil
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml

import imagetext
from imagetext.captioning.config import CaptioningConfig
from imagetext.itm.config import ITMConfig
from imagetext.training.config_files import load_run_config
from imagetext.training.run import Run

FIXTURE = Path(__file__).with_name("before_the_move")
#: Where the fixture was when it was made.
BEFORE = "/opt/before"


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> Path:
    """A copy of the fixture whose configurations name the copy's own data."""
    folder = tmp_path_factory.mktemp("old") / "before"
    shutil.copytree(FIXTURE, folder)
    for config in folder.glob("runs/*/config.yaml"):
        config.write_text(config.read_text().replace(BEFORE, str(folder)))
    return folder


@pytest.fixture(scope="module")
def expected() -> dict:
    return json.loads((FIXTURE / "expected.json").read_text())


def test_an_old_matching_run_answers_as_before(old, expected):
    photo = old / "course" / "flickr8k-resised" / "test_0.jpg"
    answer = imagetext.predict(old / "runs" / "matching", photo, expected["captions"])
    assert list(answer) == pytest.approx(expected["matching"], abs=1e-4)


def test_an_old_captioning_run_answers_as_before(old, expected):
    photo = old / "scenes" / "images" / "test_0.png"
    results = imagetext.caption(old / "runs" / "captioning", photo, top=3)
    captions = results.photos[0].captions
    assert [each.text for each in captions] == [each["text"] for each in expected["captioning"]]
    scores = [each["log_probability"] for each in expected["captioning"]]
    assert [each.log_probability for each in captions] == pytest.approx(scores, abs=1e-3)


def test_an_old_index_finds_what_it_found(old, expected):
    run = old / "runs" / "retrieval"
    results = imagetext.search(old / "photos.index", "a red star", top=3, run=run)
    names = [Path(result.path).name for result in results]
    assert names == [each["name"] for each in expected["search"]]
    scores = [each["score"] for each in expected["search"]]
    assert [float(result.score) for result in results] == pytest.approx(scores, abs=1e-4)


def test_an_old_export_answers_as_before(old, expected, tmp_path):
    with zipfile.ZipFile(old / "export.zip") as packed:
        packed.extractall(tmp_path)
    module = tf.saved_model.load(str(tmp_path / "saved_model"))
    photo = (old / "scenes" / "images" / "test_0.png").read_bytes()
    answer = module.signatures["photo"](photo=tf.constant([photo]))
    texts = [text.decode() for text in answer["captions"].numpy()[0]]
    assert texts == expected["exported_captions"]
    np.testing.assert_allclose(
        answer["log_probabilities"].numpy()[0], expected["exported_log_probabilities"], atol=1e-3
    )


def test_an_interrupted_old_run_continues_to_the_same_weights(old, expected):
    run = imagetext.train(old / "runs" / "interrupted", resume=True)
    weights = keras.saving.load_model(run.model_file).get_weights()
    sums = [float(np.abs(weight).sum()) for weight in weights]
    assert sums == pytest.approx(expected["weights_after_resume"], rel=1e-6)


def test_old_runs_can_be_evaluated_and_compared_again(old):
    report = imagetext.evaluate(old / "runs" / "matching", split="dev")
    assert report.values["about"]["data"]["split"] == "dev"
    comparison = imagetext.compare([old / "runs" / "retrieval"])
    assert comparison.values["configurations"][0]["name"] == "retrieval"


def test_old_keys_of_a_saved_run_are_read(old):
    """They are refused in a new file, with the name of the new key."""
    run = Run(old / "runs" / "matching")
    tree = yaml.safe_load(run.config_file.read_text())
    assert tree["model"]["head"] == "cnn" and tree["data"]["encoder"] == "all-MiniLM-L6-v2"
    config = load_run_config(ITMConfig, run)
    assert config.model.head == "concat" and config.text.encoder == "all-MiniLM-L6-v2"
    with pytest.raises(imagetext.UserError, match=r"data\.encoder .* use text\.encoder"):
        imagetext.train(run.config_file)
    with pytest.raises(imagetext.UserError, match=r"model\.head: cnn .* use concat"):
        imagetext.train("itm/cnn", {"model.head": "cnn"})
    captions = load_run_config(CaptioningConfig, Run(old / "runs" / "captioning")).data
    assert captions.max_captions == 5
