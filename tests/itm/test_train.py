"""From a folder of photos to a report: a whole run, its controls, resuming it, and its mistakes."""

import json

import keras
import numpy as np
import pytest

from imagetext.errors import DataError, UserError
from imagetext.itm.config import ITMConfig
from imagetext.itm.data import load
from imagetext.itm.evaluate import evaluate, predict_split
from imagetext.itm.predict import MatchingModel, predict
from imagetext.itm.train import resume_run, train
from imagetext.pipelines.pixels import photo_reader
from imagetext.training.config_files import load_run_config
from imagetext.training.run import open_run
from tests.itm.tiny_runs import tiny


@pytest.fixture(scope="module")
def finished(course_master, tmp_path_factory):
    """A trained and evaluated run, shared by the tests that only look at it."""
    runs = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(course_master.parent)
        run = train(tiny(course_master.name, runs))
    return run, evaluate(run)


def test_a_run_is_a_folder_with_everything_in_it(finished):
    run, report = finished
    there = {path.name for path in run.folder.iterdir()}
    assert {"config.yaml", "checkpoints", "history.csv", "tensorboard", "model.keras"} <= there
    assert {"report.json", "report.md", "report.html", "controls"} <= there
    assert report.html_path.read_text().startswith("<!doctype html>")


def test_the_report_says_on_what_it_was_measured(finished):
    run, report = finished
    about = json.loads((run.folder / "report.json").read_text())["about"]
    assert about["data"]["split"] == "test"
    assert about["data"]["rows"] == 18
    assert report.values["interval"]["resamples"] == 50
    assert about["training"]["seed"] == 0
    assert about["versions"]["keras"] == keras.__version__
    assert set(report.values["scores"]) >= {"model", "text-only", "image-only", "majority"}
    assert report.values["audit"]["splits"]["train"]["rows"] == 36


def test_keras_and_the_report_agree_on_the_accuracy(finished):
    _, report = finished
    own = report.values["scores"]["model"]["accuracy"]["value"]
    assert report.values["about"]["keras evaluation"]["binary_accuracy"] == pytest.approx(own)


def test_predictions_are_the_models_row_by_row(finished, course_master):
    """Against a loop that reads each photo and asks for one pair at a time."""
    run, _ = finished
    config = load_run_config(ITMConfig, run)
    data, model = load(config, ("test",)), keras.saving.load_model(run.model_file)
    found = predict_split(model, data, "test")
    read = photo_reader((16, 16))
    for row in range(0, 18, 5):
        vector = data.texts[data.captions.index(found.caption[row])]
        pair = {"image": read(found.image[row])[None], "texts": vector[None, None]}
        assert float(np.asarray(model(pair))[0, 0, 0]) == pytest.approx(
            found.probability[row], abs=1e-5
        )


def test_predict_takes_a_photo_and_sentences_of_the_table(finished, course_master):
    run, _ = finished
    photo = course_master / "flickr8k-resised" / "test_0.jpg"
    texts = ["caption 0 of Test photo 0 .", "caption 1 of Test photo 1 ."]
    answers = predict(run.folder, photo, texts)
    assert len(answers) == 2
    assert predict(run, photo, texts[1:])[0] == pytest.approx(answers[1], abs=1e-6)


def test_predict_says_what_is_wrong(finished, course_master, tmp_path):
    run, _ = finished
    photo = course_master / "flickr8k-resised" / "test_0.jpg"
    (tmp_path / "page.jpg").write_text("<html>")
    matcher = MatchingModel.load(run)
    with pytest.raises(DataError, match=r"page\.jpg: not a photo"):
        matcher(tmp_path / "page.jpg", ["caption 0 of Test photo 0 ."])
    with pytest.raises(DataError, match=r"gone\.jpg"):
        matcher(tmp_path / "gone.jpg", ["caption 0 of Test photo 0 ."])
    with pytest.raises(UserError, match="weights not found"):
        matcher(photo, ["a sentence that is in no table"])
    with pytest.raises(UserError, match="at least one sentence"):
        predict(run, photo, [" "])
    with pytest.raises(UserError, match=r"gone\.jpg: no such file"):
        predict(run, tmp_path / "gone.jpg", ["A dog"])


def test_what_was_trained_is_not_changed_for_scoring(finished):
    run, _ = finished
    with pytest.raises(UserError, match=r"--data\.image_size: cannot be changed for a trained run"):
        evaluate(run, overrides={"data.image_size": 64})
    with pytest.raises(UserError, match=r"data\.embeddings has been renamed: use text\.embeddings"):
        evaluate(run, overrides={"data.embeddings": "there.npz"})
    assert (
        evaluate(run, "dev", overrides={"report.resamples": 7}).values["interval"]["resamples"] == 7
    )


def test_evaluating_dev_leaves_the_test_report_alone(finished):
    run, _ = finished
    before = (run.folder / "report.json").read_bytes()
    report = evaluate(run, "dev")
    assert report.folder == run.folder / "report-dev"
    assert report.values["about"]["data"]["split"] == "dev"
    assert (run.folder / "report.json").read_bytes() == before


def test_the_config_written_repeats_the_run_bit_for_bit(finished, tmp_path):
    run, _ = finished
    overrides = {"run.folder": str(tmp_path), "report.controls": False}
    again = train(load_run_config(ITMConfig, run, overrides))
    one, other = (keras.saving.load_model(r.model_file).get_weights() for r in (run, again))
    for weight, twin in zip(one, other, strict=True):
        np.testing.assert_array_equal(weight, twin)


def test_an_interrupted_run_goes_on_through_its_controls(
    finished, course_master, tmp_path, monkeypatch
):
    import imagetext.itm.train as module

    whole, _ = finished
    fit, calls = module.fit, []

    def dies_in_the_second(*arguments, **named):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fit(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(module, "fit", dies_in_the_second)
        with pytest.raises(KeyboardInterrupt):
            train(tiny(course_master, tmp_path / "cut"))
    cut = resume_run(tmp_path / "cut" / "tiny")
    for part in (".", "controls/text-only", "controls/image-only"):
        one, other = (
            keras.saving.load_model(run.part(part).model_file).get_weights() for run in (whole, cut)
        )
        for weight, twin in zip(one, other, strict=True):
            np.testing.assert_array_equal(weight, twin)


def test_a_run_is_used_from_any_folder(finished, tmp_path, monkeypatch):
    """It was trained in the folder that its data.root is relative to."""
    run, _ = finished
    monkeypatch.chdir(tmp_path)
    assert evaluate(run, "dev").values["about"]["data"]["rows"] == 18
    assert resume_run(run.folder).folder == run.folder  # finished: nothing happens


def test_the_report_counts_what_was_left_out_of_training_too(course_folder, tmp_path):
    lists = course_folder / "flickr8k.TrainImages.txt"
    lists.write_bytes(lists.read_bytes() + b"nowhere.jpg\ta caption\tmatch\r\n")
    (course_folder / "flickr8k-resised" / "test_1.jpg").write_bytes(b"")
    keys = {"data__skip_bad": True, "report__controls": False, "train__epochs": 1}
    about = evaluate(train(tiny(course_folder, tmp_path, **keys))).values["about"]
    assert about["left out"]["rows left out of the test split"] == 6
    assert about["left out"]["training"]["rows"] == {"train": 1, "dev": 0, "test": 6}


def test_a_name_that_is_taken_is_refused(finished, course_master):
    run, _ = finished
    with pytest.raises(UserError, match=r"already exists.*--resume"):
        train(tiny(course_master, run.folder.parent))


def test_runs_without_a_name_are_numbered(course_master, tmp_path, monkeypatch):
    monkeypatch.setattr("imagetext.itm.train.train_model", lambda *_: None)
    config = tiny(course_master, tmp_path, run__name=None)
    names = [train(config, name="cnn").folder.name for _ in range(2)]
    assert names == ["cnn-1", "cnn-2"]


def test_bad_data_leaves_no_run_behind(course_folder, tmp_path):
    (course_folder / "flickr8k-resised" / "train_0.jpg").write_bytes(b"")
    with pytest.raises(DataError):
        train(tiny(course_folder, tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_a_photo_that_turns_bad_while_training_stops_the_run_by_name(course_folder, tmp_path):
    config = tiny(course_folder, tmp_path, data__cache="stream", report__controls=False)
    data = load(config)
    (course_folder / "flickr8k-resised" / "train_3.jpg").write_bytes(b"\xff\xd8\xff spoilt")
    with pytest.raises(DataError, match=r"train_3\.jpg: a damaged or truncated JPEG"):
        train(config, data=data)


def test_or_is_skipped_by_choice(course_folder, tmp_path, capsys):
    config = tiny(
        course_folder,
        tmp_path,
        data__cache="stream",
        data__skip_bad=True,
        report__controls=False,
        train__epochs=1,
    )
    data = load(config)
    (course_folder / "flickr8k-resised" / "train_3.jpg").write_bytes(b"\xff\xd8\xff spoilt")
    run = train(config, data=data)
    assert run.model_file.is_file()
    assert "train_3.jpg" in capsys.readouterr().err


def test_opening_what_is_no_run_names_those_there_are(finished):
    run, _ = finished
    with pytest.raises(UserError, match=r"not a run.*tiny"):
        open_run(run.folder.parent / "tinny")


def test_evaluating_before_the_end_says_how_to_go_on(finished, tmp_path):
    run, _ = finished
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.yaml").write_bytes(run.config_file.read_bytes())
    with pytest.raises(UserError, match="--resume"):
        evaluate(tmp_path / "half")


def test_an_unwritable_run_folder_is_told(course_folder, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"file/runs"):
        train(tiny(course_folder, tmp_path / "file" / "runs"))
