"""Rows that other splits give away, and ensembles."""

import shutil

import numpy as np
import pytest

from imagetext.itm.config import DataConfig, ITMConfig
from imagetext.itm.data import load
from imagetext.itm.evaluate import evaluate
from imagetext.itm.leaks import leak_free_rows
from imagetext.reports.matching.predictions import read_predictions
from tests.itm.tiny_runs import untrained


@pytest.fixture
def data(course_folder):
    """Test ends with three rows of which dev or train say something."""
    photos = course_folder / "flickr8k-resised"
    shutil.copy(photos / "dev_1.jpg", photos / "dev_1_again.jpg")
    rows = (
        "dev_0.jpg\tcaption 0 of Test photo 0 .\tno-match\r\n"  # a photo of dev
        "dev_1_again.jpg\tcaption 1 of Test photo 0 .\tno-match\r\n"  # and one by another name
        "test_0.jpg\tcaption 0 of Train photo 0 .\tno-match\r\n"  # a caption of train
    )
    listed = course_folder / "flickr8k.TestImages.txt"
    listed.write_bytes(listed.read_bytes() + rows.encode())
    return load(ITMConfig(data=DataConfig(root=str(course_folder), image_size=16)))


def left_out(data, split):
    """Photo and caption of what goes, by what remains."""
    photos, captions, _ = data.rows(split)
    rows = [(photo.rsplit("/")[-1], c) for photo, c in zip(photos, captions, strict=True)]
    found = leak_free_rows(data, split, data.records)
    return {
        told: {row for row, stays in zip(rows, kept, strict=True) if not stays}
        for told, kept in found.items()
    }


def test_photos_of_dev_and_captions_of_training_matches_are_left_out_of_test(data):
    assert left_out(data, "test") == {
        "photo not in dev": {
            ("dev_0.jpg", "caption 0 of Test photo 0 ."),
            ("dev_1_again.jpg", "caption 1 of Test photo 0 ."),
        },
        "caption not a match in train": {("test_0.jpg", "caption 0 of Train photo 0 .")},
    }


def test_splits_that_share_nothing_with_those_before_have_no_such_rows(data):
    assert left_out(data, "dev") == left_out(data, "train") == {}


def test_runs_are_scored_together_as_an_ensemble(course_folder, tmp_path):
    runs = [
        untrained(course_folder, tmp_path, run__name=name, train__seed=seed)
        for seed, name in enumerate(["a", "b"])
    ]
    alone = [evaluate(run, "dev").values for run in runs]
    together = evaluate(f"{runs[0].folder},{runs[1].folder}", "dev")
    assert together.folder == tmp_path / "a+b" / "report-dev"
    values = together.values
    assert values["about"]["ensemble of"] == [str(run.folder) for run in runs]
    assert values["members"] == ["a alone", "b alone"]
    for name, each in zip(values["members"], alone, strict=True):
        assert values["scores"][name] == each["scores"]["model"]
    probability = [read_predictions(run.folder / "report-dev").probability for run in runs]
    mean = read_predictions(together.folder).probability
    np.testing.assert_allclose(mean, np.mean(probability, axis=0))
    assert any("best member" in sentence for sentence in values["findings"])
