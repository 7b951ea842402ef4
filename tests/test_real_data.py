"""Checks on Flickr8k's real files, and with the real sentence encoder; run with `make real-data`.

They look for the data in IMAGETEXT_DATA, or in ../shared/flickr8k beside the project.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from imagetext.encoders import images, weights
from imagetext.encoders.minilm import MODEL_FILE, VOCABULARY_FILE, SentenceEncoder
from imagetext.itm.config import ITMConfig
from imagetext.itm.data import extra_captions
from imagetext.itm.evaluate import evaluate
from imagetext.itm.train import train
from imagetext.pipelines.audit import audit
from imagetext.pipelines.embeddings import EmbeddingTable
from imagetext.pipelines.sample import EMBEDDINGS, sample_captions
from imagetext.pipelines.sources import open_source
from imagetext.training.config_files import load_config

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("IMAGETEXT_DATA") or ROOT.parent / "shared" / "flickr8k")


@pytest.fixture(scope="module")
def course():
    if not DATA.is_dir():
        pytest.skip(f"no Flickr8k at {DATA}: set IMAGETEXT_DATA")
    source = open_source(DATA, "course")
    return {split: list(source.records(split)) for split in ("train", "dev", "test")}


@pytest.fixture(scope="module")
def encoder():
    if not weights.is_available(MODEL_FILE, VOCABULARY_FILE):
        pytest.skip("no sentence encoder here: set IMAGETEXT_WEIGHTS to its folder")
    return SentenceEncoder.load()


@pytest.mark.real_data
def test_the_courses_lists_are_read_whole(course):
    assert {split: len(rows) for split, rows in course.items()} == {
        "train": 19_386,
        "dev": 1_164,
        "test": 1_161,
    }
    rows_a_photo = Counter(row.image for row in course["train"])
    assert len(rows_a_photo) == 3_231
    assert set(rows_a_photo.values()) == {6}
    assert sum(row.label == "match" for row in course["test"]) == 284


@pytest.mark.real_data
def test_the_audit_finds_the_known_leak(course):
    found = audit(course)
    shared = {tuple(pair["splits"]): pair["images_shared"]["count"] for pair in found["pairs"]}
    assert shared == {("train", "dev"): 0, ("train", "test"): 0, ("dev", "test"): 309}


@pytest.mark.real_data
def test_official_flickr8k_has_its_sizes():
    if not DATA.is_dir():
        pytest.skip(f"no Flickr8k at {DATA}: set IMAGETEXT_DATA")
    source = open_source(DATA, "flickr8k")
    assert len(list(source.records("train"))) == 6_000
    assert all(len(record.texts) == 5 for record in source.records("dev"))


@pytest.mark.weights
def test_the_samples_embeddings_are_the_encoders(encoder):
    table = EmbeddingTable.read(EMBEDDINGS)
    assert sorted(table.captions) == sample_captions()
    np.testing.assert_allclose(table.vectors, encoder(table.captions), atol=2e-4)  # float16


@pytest.mark.weights
def test_a_trained_run_exports_with_the_real_encoder(encoder, tmp_path):
    """A raw sentence in a fresh process gets what `predict` says of it."""
    import imagetext
    from imagetext.pipelines.sample import write_sample
    from tests.itm.test_export import FRESH

    folder = write_sample(tmp_path / "sample")
    keys = {"data.root": str(folder), "train.epochs": 1, "run.folder": str(tmp_path)}
    run = imagetext.train(str(ROOT / "configs/itm/sample.yaml"), keys | {"report.controls": False})
    exported = imagetext.export(str(run.folder))
    photo = str(folder / "flickr8k-resised" / "test_0000a.jpg")
    sentences = ["A yellow star, left of a green circle!", "Ein Satz in keiner Tabelle"]
    expected = imagetext.predict(str(run.folder), photo, sentences)
    asked = {
        "photos": [photo] * 2,
        "captions": sentences,
        "pixels": np.zeros((1, 48, 48, 3), int).tolist(),
        "embedding": np.zeros((1, 384)).tolist(),
    }
    command = [sys.executable, "-I", "-c", FRESH, str(exported), json.dumps(asked)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    answer = json.loads(ran.stdout.splitlines()[-1])
    np.testing.assert_allclose(np.array(answer["first"])[:, 0], expected, atol=1e-5)


@pytest.mark.real_data
@pytest.mark.weights
def test_pretrained_features_tell_matches_from_strangers(course, tmp_path):
    """Frozen EfficientNet-Lite0, half a minute of training: far beyond a CNN on raw pixels."""
    if not images.is_available("efficientnet_lite0"):
        pytest.skip(
            "no weights of efficientnet_lite0 here: imagetext encoders says how to get them"
        )
    keys = {
        "data.root": str(DATA),
        "data.kind": "course",
        "data.image_encoders": ["efficientnet_lite0"],
        "align.epochs": 8,
        "train.epochs": 2,
        "report.controls": False,
        "run.folder": str(tmp_path),
    }
    run = train(load_config(ITMConfig, ROOT / "configs/itm/pretrained.yaml", keys))
    report = evaluate(run, "dev")
    assert report.values["scores"]["model"]["roc_auc"]["value"] > 0.95


@pytest.mark.real_data
def test_no_extra_caption_speaks_of_dev_or_test(course):
    """By the audit, which shares no code with what leaves them out."""
    source = open_source(DATA, "course")
    extra, left_out = extra_captions(str(DATA), source)
    assert left_out["photos that are held out"] > 500
    found = audit({**course, "extra captions": extra})
    for pair in found["pairs"]:
        if "extra captions" in pair["splits"] and "train" not in pair["splits"]:
            assert pair["images_shared"]["count"] == 0
            assert pair["near_duplicate_images"]["count"] == 0
            assert pair["captions_shared"]["count"] == 0
