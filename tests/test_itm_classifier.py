"""The student's door: what it prints, what can be edited, and what subclassing changes."""

import re

import keras
import pytest

import ITM_Classifier as door


@pytest.fixture
def small(course_folder, tmp_path, monkeypatch):
    """A configuration that trains in a second, and the course's folder of photos."""
    config = tmp_path / "small.yaml"
    config.write_text(
        f"data: {{image_size: 16, batch_size: 2}}\n"
        "model: {filters: [4, 4], projection: 8, hidden: [8]}\n"
        f"train: {{epochs: 1}}\nreport: {{resamples: 20}}\nrun: {{folder: {tmp_path}/runs}}\n"
    )
    monkeypatch.setattr(door.ITM_DataLoader, "IMAGES_PATH", str(course_folder / "flickr8k-resised"))
    monkeypatch.setattr(door.ITM_DataLoader, "CONFIG", str(config))
    return config


@pytest.fixture
def without_controls(small):
    """The same; text-only and image-only models are not trained."""
    small.write_text(small.read_text().replace("resamples: 20", "resamples: 20, controls: false"))
    return small


def test_it_prints_what_a_student_hands_in(without_controls, course_folder, capsys):
    images = str(course_folder / "flickr8k-resised")
    assert door.main(["--images", images, "--epochs", "2", "--config", str(without_controls)]) == 0
    told = capsys.readouterr().out
    assert "course lists" in told
    assert 'Caption: "caption 0 of Train photo 0 ."  Label: match  Image: train_0.jpg' in told
    assert 'Model: "itm_cnn"' in told
    assert "Epoch 2/2" in told
    shown = re.findall(
        r'Caption: ".*"  Prediction: (Match|No-match) \(match (\d\.\d+), no-match (\d\.\d+)\)'
        r"  Truth: (?:match|no-match)  Image: test_\d\.jpg",
        told,
    )
    assert len(shown) == 10
    for answer, match, no_match in shown:
        assert float(match) + float(no_match) == pytest.approx(1, abs=0.002)
        assert (answer == "Match") is (float(match) >= 0.5)
    by_hand = float(re.search(r"TEST accuracy: \d+ of 18 correct = (\d\.\d+)", told)[1])
    by_keras = float(re.search(r"Keras metrics: .*binary_accuracy (\d\.\d+)", told)[1])
    assert by_hand == pytest.approx(by_keras, abs=1e-4)
    assert re.search(r"Report: .*ITM_Classifier-1/report\.html", told)


@pytest.mark.usefixtures("without_controls")
def test_attributes_are_what_is_used():
    class Mine(door.ITM_Classifier):
        BATCH_SIZE = 3
        IMAGE_SIZE = (24, 24)
        epochs = 2
        learning_rate = 0.01
        head = "joint"

        def test_classifier_model(self):
            pass

    mine = Mine()
    assert next(iter(mine.train_ds))[0]["image"].shape == (3, 24, 24, 3)
    assert (mine.config.train.epochs, mine.config.train.learning_rate) == (2, 0.01)
    model = keras.saving.load_model(mine.run.model_file)
    assert model.name == "itm_joint"
    assert len((mine.run.folder / "history.csv").read_text().splitlines()) == 3


def test_a_model_of_ones_own_is_trained_and_tested(small):
    class Mine(door.ITM_Classifier):
        def build_classifier_model(self, model_config):
            model = super().build_classifier_model(model_config)
            return keras.Model(model.input, model.output, name=f"mine_{model_config.inputs}")

    mine = Mine()
    assert mine.classifier_model.name == "mine_both"
    assert "text-only" in mine.report.values["scores"]


@pytest.mark.slow  # tests/itm/test_train.py interrupts a run half way
def test_an_interrupted_run_goes_on_by_its_own_configuration(small, course_folder, capsys):
    small.write_text(small.read_text().replace("resamples: 20", "controls: false"))
    images = str(course_folder / "flickr8k-resised")
    assert door.main(["--images", images, "--config", str(small)]) == 0
    run = small.parent / "runs" / "ITM_Classifier-1"
    (run / "model.keras").unlink()
    door.ITM_DataLoader.IMAGES_PATH = None  # put back by the fixture
    assert door.main(["--resume", str(run)]) == 0
    assert (run / "model.keras").is_file()
    assert door.main(["--resume", str(run.parent / "none")]) == 1
    assert "not a run" in capsys.readouterr().err


def test_the_environment_names_the_photos(course_folder):
    import os
    import subprocess
    import sys
    from pathlib import Path

    script = "import ITM_Classifier as door; print(door.ITM_DataLoader.IMAGES_PATH)"
    environment = os.environ | {"IMAGES_PATH": str(course_folder)}
    ran = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        cwd=Path(door.__file__).parent,
    )
    assert ran.stdout.strip() == str(course_folder)


def test_mistakes_are_told_in_one_message(capsys):
    assert door.main(["--images", "/nowhere/photos"]) == 1
    told = capsys.readouterr()
    assert "/nowhere/photos: no such folder" in told.err
    assert "Traceback" not in told.err
