"""The report of a run, checked against the run itself."""

import csv
from pathlib import Path

import numpy as np
import pytest

from imagetext.errors import UserError
from imagetext.reports.comparison.compare import compare
from imagetext.retrieval.evaluate import evaluate
from imagetext.retrieval.predict import RetrievalModel
from tests.retrieval.tiny_runs import untrained
from tests.scenes import write_scenes


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes") / "data")


@pytest.fixture(scope="module")
def finished(scenes, tmp_path_factory):
    run = untrained(scenes, tmp_path_factory.mktemp("runs"), model__late=0.4)
    return run, evaluate(run, "dev")


def test_the_report_is_in_the_folder_of_its_split_and_complete(finished):
    run, report = finished
    assert report.folder == run.folder / "report-dev"
    there = {str(path.relative_to(report.folder)) for path in report.folder.rglob("*.*")}
    plots = {
        f"plots/{name}.png" for name in ("photos", "sentences", "places", "training", "gallery")
    }
    assert there == {"report.json", "report.md", "report.html", "searches.csv"} | plots
    values = report.values
    assert (values["photos"], values["references"]) == (5, 15)
    assert list(values["scores"]) == ["model", "vectors alone", "chance"]
    about = values["about"]
    assert about["data"]["split"] == "dev" and about["training"]["minutes"] == 1.5
    assert about["model"]["digest"] == RetrievalModel.load(run).digest
    assert about["speed"]["captions per second"] > 0
    assert [row["epoch"] for row in values["history"]] == [1, 2]


def test_vectors_alone_are_scored_as_an_index_would(finished, scenes):
    run, report = finished
    encoder = RetrievalModel.load(run)
    with (report.folder / "searches.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    photos = list(dict.fromkeys(row["photo"] for row in rows))
    assert photos == [str(scenes / "images" / f"dev_{number}.png") for number in range(5)]
    cosines = (
        encoder.encode_photos(photos) @ encoder.encode_texts([row["caption"] for row in rows]).T
    )
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


def test_the_test_report_is_in_the_runs_folder_and_only_some_keys_can_be_set(finished):
    run, _ = finished
    report = evaluate(run, "test", overrides={"report.gallery": 0})
    assert report.folder == run.folder and report.values["photos"] == 4
    assert not (run.folder / "plots" / "gallery.png").exists()
    with pytest.raises(UserError, match=r"data.image_size: cannot be changed for a trained run"):
        evaluate(run, "dev", overrides={"data.image_size": 32})
    with pytest.raises(UserError, match="split: expected one of train, dev, test, got 'val'"):
        evaluate(run, "val")


def test_a_split_without_captions_is_one_message_with_the_remedy(finished, tmp_path):
    run, _ = finished
    held_back = write_scenes(tmp_path / "data", {"train": 3, "dev": 2})
    with pytest.raises(UserError, match=f"no captions of the test split.*{run.folder} --split dev"):
        evaluate(run, "test", overrides={"data.root": str(held_back)})


@pytest.fixture(scope="module")
def ensemble(scenes, tmp_path_factory):
    """Two runs with different seeds, and the report of their ensemble."""
    runs = tmp_path_factory.mktemp("runs")
    folders = [
        str(untrained(scenes, runs, run__name=f"tiny-{n}", train__seed=n, report__gallery=0).folder)
        for n in (1, 2)
    ]
    return folders, evaluate(",".join(reversed(folders)), "dev")


def test_an_ensemble_averages_similarities_and_shows_each_run(ensemble):
    folders, report = ensemble
    assert report.folder == Path(folders[0]).parent / "tiny-1+tiny-2" / "report-dev"
    values = report.values
    assert values["title"] == "ensemble of tiny-2, tiny-1 on dev"
    assert values["names"]["model"] == "2 runs" and values["history"] == []
    assert list(values["scores"]) == ["model", "tiny-2 alone", "tiny-1 alone", "chance"]
    alone = evaluate(folders[0], "dev").values
    assert values["scores"]["tiny-1 alone"] == alone["scores"]["model"]
    encoders = [RetrievalModel.load(folder) for folder in folders]
    with (report.folder / "searches.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    photos = list(dict.fromkeys(row["photo"] for row in rows))
    captions = [row["caption"] for row in rows]
    each = [one.encode_photos(photos) @ one.encode_texts(captions).T for one in encoders]
    mean = (each[0] + each[1]) / 2
    right = [mean[photos.index(row["photo"]), place] for place, row in enumerate(rows)]
    np.testing.assert_allclose([float(row["similarity"]) for row in rows], right, atol=1e-5)
    assert [row["first"] for row in rows] == [photos[best] for best in mean.argmax(axis=0)]
    about = values["about"]
    assert about["ensemble of"] == folders[::-1]
    assert about["model"]["parameters"] == 2 * alone["about"]["model"]["parameters"]
    assert about["training"]["minutes"] == 3.0 and about["training"]["tiny-1"]["seed"] == 1
    assert "2 runs (95 % CI)" in report.summary
    comparison = compare([folders[0], report.folder.parent], "dev").values["configurations"]
    assert sorted(row["name"] for row in comparison) == ["ensemble of 2", "tiny"]


def test_runs_on_different_photos_cannot_be_an_ensemble(ensemble, tmp_path):
    folders, _ = ensemble
    fewer = write_scenes(tmp_path / "data", {"train": 6, "dev": 3})
    other = str(untrained(fewer, tmp_path, run__name="other").folder)
    message = r"search different photos \(5 with 15 captions and 3 with 9 captions\); .*--data.root"
    with pytest.raises(UserError, match=message):
        evaluate(f"{folders[0]},{other}", "dev")
    together = evaluate(
        f"{folders[0]},{other}", "dev", overrides={"data.root": str(fewer)}, to=tmp_path / "both"
    )
    assert together.values["photos"] == 3 and together.folder == tmp_path / "both" / "report-dev"
