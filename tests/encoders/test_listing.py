"""The table of encoders: complete, quick, and with speeds that were measured."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import imagetext
from imagetext.commands.lists import encoders
from imagetext.encoders import listing, weights
from imagetext.encoders.listing import as_text, listed, measure, named
from imagetext.encoders.registry import IMAGE_ENCODERS, TEXT_ENCODERS
from imagetext.errors import UserError

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
    assert seen["MB"] == read["MB"] == "605"  # of both
    assert rows["efficientnet_b7"] == {
        "name": "efficientnet_b7",
        "kind": "image",
        "input": "600 x 600",
        "output": "2560, grid 19 x 19",
        "parameters": "64,097,687",
        "MB": "258",
        "licence": "Apache-2.0",
        "per second": "-",
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
    for heading in ("parameters", "MB"):
        end = lines[0].index(heading) + len(heading)
        assert all(line[end - 1].isdigit() and line[end] == " " for line in lines[1:])


@pytest.mark.parametrize("name", ["efficientnet_lite0", "all-MiniLM-L6-v2"])
def test_measured_speeds_are_remembered(name):
    (encoder,) = named(name)
    speed = measure(encoder, limit=0.5)
    assert 0.1 < speed < 1e6
    for row in listed():
        shown = row["per second"]
        assert shown.startswith(f"{speed:,.1f} ") if row["name"] == name else shown == "-"


def test_the_halves_of_a_clip_have_a_speed_each(monkeypatch):
    monkeypatch.setattr(listing, "_viewer", lambda _: (None, [1], "uint8"))
    monkeypatch.setattr(listing, "_reader", lambda _: (None, [1], "int32"))
    monkeypatch.setattr(listing, "_seconds", lambda _, inputs: 2 if inputs.dtype == "uint8" else 4)
    sees, reads = named("CLIP ViT-B/32")
    assert (measure(reads), measure(sees)) == (0.25, 0.5)
    rows = [row for row in listed() if row["name"] == "clip_vit_b32"]
    assert [row["per second"][:4] for row in rows] == ["0.5 ", "0.2 "]


def test_remembered_speeds_are_shown_and_damaged_ones_are_not():
    file = listing._speed_file()
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"vgg16": {"speed": 1234.56, "device": "GPU"}}))
    assert next(row for row in listed() if row["name"] == "vgg16")["per second"] == "1,234.6 GPU"
    for damaged in ("", "[]", '{"vgg16": 3}', '{"vgg16": {"speed": "x", "device": ""}}'):
        file.write_text(damaged)
        assert all(row["per second"] == "-" for row in listed())


def test_speed_is_photos_by_seconds_of_a_batch_that_is_large_enough(monkeypatch):
    """A clock on which a batch takes a tenth of a second and each photo in it a hundredth."""
    clock, seen = [0.0], []

    def seconds(run, photos):
        seen.append(photos.shape[0])
        clock[0] += 0.1 + 0.01 * photos.shape[0]
        return 0.1 + 0.01 * photos.shape[0]

    monkeypatch.setattr(listing, "_seconds", seconds)
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    (encoder,) = named("efficientnet_lite0")
    assert measure(encoder, limit=100) == pytest.approx(128 / 1.38)
    assert seen == [1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 32, 32, 64, 64, 128, 128]
    seen.clear()
    measure(encoder, limit=2)
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
    monkeypatch.setattr(listing, "measure", lambda encoder: (asked.append(encoder), 7.0)[1])
    assert imagetext.main(["encoders", "--measure", "VGG16, clip_vit_b32"]) == 0
    clip = IMAGE_ENCODERS["clip_vit_b32"], TEXT_ENCODERS["clip_vit_b32"]
    assert asked == [IMAGE_ENCODERS["vgg16"], *clip]
    told = capsys.readouterr().out
    assert "vgg16: 7.0 images/s" in told
    assert "clip_vit_b32: 7.0 images/s\nclip_vit_b32: 7.0 texts/s" in told
    assert len(encoders("all")) == len(IMAGE_ENCODERS) + len(TEXT_ENCODERS)
    assert asked[3:] == [*IMAGE_ENCODERS.values(), *TEXT_ENCODERS.values()]
    with pytest.raises(UserError, match="did you mean vgg16"):
        encoders("vgg15")
