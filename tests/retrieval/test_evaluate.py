"""What a report says of a run, against the run itself."""

import csv

import numpy as np
import pytest

from pipelines.errors import UserError
from retrieval.evaluate import evaluate
from retrieval.predict import DualEncoder
from tests.retrieval.tiny_runs import untrained
from tests.scenes import write_scenes


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes") / "data")


@pytest.fixture(scope="module")
def finished(scenes, tmp_path_factory):
    run = untrained(scenes, tmp_path_factory.mktemp("runs"), model__late=0.4)
    return run, evaluate(run)


def test_the_report_lies_in_a_folder_of_its_split_and_holds_all_parts(finished):
    run, report = finished
    assert report.folder == run.folder / "report-dev"
    there = {str(path.relative_to(report.folder)) for path in report.folder.rglob("*.*")}
    plots = {f"plots/{name}.png" for name in ("recall", "places", "training", "gallery")}
    assert there == {"report.json", "report.md", "report.html", "searches.csv"} | plots
    values = report.values
    assert (values["photos"], values["references"]) == (5, 15)
    assert list(values["scores"]) == ["model", "vectors alone", "chance"]
    about = values["about"]
    assert about["data"]["split"] == "dev" and about["training"]["minutes"] == 1.5
    assert about["model"]["digest"] == DualEncoder.load(run).digest
    assert about["speed"]["captions per second"] > 0
    assert [row["epoch"] for row in values["history"]] == [1, 2]


def test_vectors_alone_are_those_that_an_index_holds(finished, scenes):
    run, report = finished
    encoder = DualEncoder.load(run)
    with (report.folder / "searches.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    photos = list(dict.fromkeys(row["photo"] for row in rows))
    assert photos == [str(scenes / "images" / f"dev_{number}.png") for number in range(5)]
    cosines = encoder.of_photos(photos) @ encoder.of_texts([row["caption"] for row in rows]).T
    first = [
        cosines[photos.index(row["photo"]), place] > np.delete(
            cosines[:, place], photos.index(row["photo"])
        ).max()
        for place, row in enumerate(rows)
    ]  # fmt: skip
    alone = report.values["scores"]["vectors alone"]["text_r1"]["value"]
    assert alone == pytest.approx(np.mean(first))
    model = report.values["scores"]["model"]["text_r1"]["value"]
    assert model == pytest.approx(np.mean([row["place"] == "1" for row in rows]))


def test_test_lies_in_the_runs_own_folder_and_only_data_may_be_changed(finished):
    run, _ = finished
    report = evaluate(run, "test", overrides={"report.gallery": 0})
    assert report.folder == run.folder and report.values["photos"] == 4
    assert not (run.folder / "plots" / "gallery.png").exists()
    with pytest.raises(UserError, match=r"data.image_size: is part of what was trained"):
        evaluate(run, overrides={"data.image_size": 32})
    with pytest.raises(UserError, match="unknown split 'val'"):
        evaluate(run, "val")


def test_a_split_without_captions_is_one_message_with_the_remedy(finished, tmp_path):
    run, _ = finished
    held_back = write_scenes(tmp_path / "data", {"train": 3, "dev": 2})
    with pytest.raises(UserError, match=f"no captions of the test split.*{run.folder} --split dev"):
        evaluate(run, "test", overrides={"data.root": str(held_back)})
