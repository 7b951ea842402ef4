"""The table of encoders: complete, quick, and with speeds that were measured."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import imagetext
from encoders import listing, weights
from encoders.images import IMAGE_ENCODERS
from encoders.listing import as_text, listed, measure
from encoders.texts import TEXT_ENCODERS
from pipelines.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    for name in ("IMAGETEXT_CACHE", "KERAS_HOME", "KAGGLEHUB_CACHE", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.delenv("IMAGETEXT_WEIGHTS", raising=False)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(weights, "_in_installed_package", lambda _: [])


def test_every_encoder_has_its_row(tmp_path, monkeypatch):
    assert [row["name"] for row in listed()] == [*IMAGE_ENCODERS, *TEXT_ENCODERS]
    rows = {row["name"]: row for row in listed()}
    # Both halves of a CLIP have its name.
    seen, read = (row for row in listed() if row["name"] == "clip_vit_b32")
    assert (seen["kind"], seen["output"]) == ("image", "512, grid 7 x 7 of 768")
    assert (read["kind"], read["output"]) == ("text", "512")
    assert rows["efficientnet_b7"] == {
        "name": "efficientnet_b7",
        "kind": "image",
        "input": "600 x 600",
        "output": "2560, grid 19 x 19",
        "parameters": "64,097,687",
        "licence": "Apache-2.0",
        "images/s": "-",
        "weights at hand": "no: Google, for keras.applications",
    }
    assert rows["all-MiniLM-L6-v2"]["kind"] == "text"
    assert rows["vgg16"]["licence"] == "CC BY 4.0" and rows["resnet50"]["licence"] == "MIT"
    # A file that lies there is listed with its place; its hash is checked when it is used.
    path = tmp_path / "keras_home" / "models" / "efficientnetb7_notop.h5"
    path.parent.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    place = "~/keras_home/models/efficientnetb7_notop.h5"
    for size, told in (
        (258_076_736, f"here: {place}"),
        (1 << 20, f"damaged: {place} (1 MB instead of 258)"),
    ):
        with path.open("wb") as file:
            file.truncate(size)
        row = next(row for row in listed() if row["name"] == "efficientnet_b7")
        assert row["weights at hand"] == told


def test_columns_are_aligned():
    lines = as_text(listed()).splitlines()
    assert len(lines) == 1 + len(IMAGE_ENCODERS) + len(TEXT_ENCODERS)
    for heading in ("kind", "input", "output", "licence"):
        start = lines[0].index(heading)
        assert all(line[start - 1] == " " != line[start] for line in lines)
    end = lines[0].index("parameters") + len("parameters")
    assert all(line[end - 1].isdigit() and line[end] == " " for line in lines[1:])


def test_measured_speeds_are_remembered(tmp_path, monkeypatch):
    speed = measure("efficientnet_lite0", limit=0.5)
    assert 0.1 < speed < 1e6
    row = next(row for row in listed() if row["name"] == "efficientnet_lite0")
    assert row["images/s"].startswith(f"{speed:,.1f} ")
    file = listing._speed_file()
    file.write_text(json.dumps({"vgg16": {"speed": 1234.56, "device": "GPU"}}))
    assert next(row for row in listed() if row["name"] == "vgg16")["images/s"] == "1,234.6 GPU"
    for damaged in ("", "[]", '{"vgg16": 3}', '{"vgg16": {"speed": "x", "device": ""}}'):
        file.write_text(damaged)
        assert all(row["images/s"] == "-" for row in listed())


def test_speed_is_photos_by_seconds_of_a_batch_that_is_large_enough(monkeypatch):
    """A clock on which a batch takes a tenth of a second and each photo in it a hundredth."""
    clock, seen = [0.0], []

    def seconds(run, photos):
        seen.append(photos.shape[0])
        clock[0] += 0.1 + 0.01 * photos.shape[0]
        return 0.1 + 0.01 * photos.shape[0]

    monkeypatch.setattr(listing, "_seconds", seconds)
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    assert measure("efficientnet_lite0", limit=100) == pytest.approx(128 / 1.38)
    assert seen == [1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 32, 32, 64, 64, 128, 128]
    seen.clear()
    measure("efficientnet_lite0", limit=2)
    assert max(seen) < 128


def test_the_verb_lists_in_a_moment_without_tensorflow():
    script = (
        "import sys, imagetext\n"
        "assert imagetext.main(['encoders']) == 0\n"
        "sys.exit(bool({'keras', 'tensorflow'} & set(sys.modules)))\n"
    )
    start = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    assert time.monotonic() - start < 10
    assert "efficientnet_lite0" in ran.stdout and "all-MiniLM-L6-v2" in ran.stdout


def test_the_verb_measures_what_it_is_told(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(listing, "measure", lambda name: (asked.append(name), 7.0)[1])
    assert imagetext.main(["encoders", "--measure", "VGG16, resnet18"]) == 0
    assert asked == ["vgg16", "resnet18"]
    assert "vgg16: 7.0 images/s" in capsys.readouterr().out
    assert len(imagetext.encoders("all")) == len(IMAGE_ENCODERS) + len(TEXT_ENCODERS)
    assert asked[2:] == list(IMAGE_ENCODERS)
    with pytest.raises(UserError, match="did you mean vgg16"):
        imagetext.encoders("vgg15")
