"""The list of encoders, and their measured speeds."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import imagetext
from imagetext.commands.lists import NUMBERS, _encoder_row, encoders, format_table
from imagetext.encoders import listing
from imagetext.encoders.listing import find_encoders, list_encoders, measure_speed
from imagetext.encoders.registry import IMAGE_ENCODERS, TEXT_ENCODERS
from imagetext.errors import UserError

ROOT = Path(__file__).parents[2]
CLIP = "clip_vit_b32"


pytestmark = pytest.mark.usefixtures("no_weights")


def table() -> list[str]:
    """The lines of the table that `imagetext encoders` prints."""
    return format_table([_encoder_row(record) for record in list_encoders()], NUMBERS).splitlines()


def record(name: str) -> dict:
    return next(record for record in list_encoders() if record["name"] == name)


def test_every_encoder_has_a_record():
    assert [record["name"] for record in list_encoders()] == [*IMAGE_ENCODERS, *TEXT_ENCODERS]
    assert record("efficientnet_b7") == {
        "name": "efficientnet_b7",
        "kind": "image",
        "size": 600,
        "tokens": None,
        "width": 2560,
        "grid": [19, 19, 2560],
        "parameters": 64_097_687,
        "megabytes": 258,
        "licence": "Apache-2.0",
        "speed": None,
        "device": None,
        "weights_from": "Google, for keras.applications",
        "path": None,
        "actual_megabytes": None,
    }
    assert record("all-MiniLM-L6-v2")["kind"] == "text"
    assert record("vgg16")["licence"] == "CC BY 4.0" and record("resnet50")["licence"] == "MIT"


def test_both_towers_of_a_clip_have_its_name():
    photos, texts = (_encoder_row(each) for each in list_encoders() if each["name"] == CLIP)
    assert (photos["kind"], photos["output"]) == ("image", "512, grid 7 x 7 of 768")
    assert (texts["kind"], texts["output"]) == ("text", "512")
    assert photos["MB"] == texts["MB"] == "605"  # of both


def test_rows_are_text():
    assert _encoder_row(record("efficientnet_b7")) == {
        "name": "efficientnet_b7",
        "kind": "image",
        "input": "600 x 600",
        "output": "2560, grid 19 x 19",
        "parameters": "64,097,687",
        "MB": "258",
        "licence": "Apache-2.0",
        "per second": "-",
        "weights": "download: Google, for keras.applications",
    }


def test_damaged_weights_are_recognised_by_their_size(tmp_path, monkeypatch):
    path = tmp_path / "keras_home" / "models" / "efficientnetb7_notop.h5"
    path.parent.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    shown = "~/keras_home/models/efficientnetb7_notop.h5"
    for size, weights_column in (
        (258_076_736, shown),
        (1 << 20, f"damaged: {shown} (1 MB instead of 258)"),
    ):
        with path.open("wb") as file:
            file.truncate(size)
        assert record("efficientnet_b7")["path"] == str(path)
        assert _encoder_row(record("efficientnet_b7"))["weights"] == weights_column


def test_columns_are_aligned():
    lines = table()
    assert len(lines) == 1 + len(IMAGE_ENCODERS) + len(TEXT_ENCODERS)
    for heading in ("kind", "input", "output", "licence"):
        start = lines[0].index(heading)
        assert all(line[start - 1] == " " != line[start] for line in lines)
    for heading in ("parameters", "MB"):
        end = lines[0].index(heading) + len(heading)
        assert all(line[end - 1].isdigit() and line[end] == " " for line in lines[1:])


@pytest.mark.parametrize("name", ["efficientnet_lite0", "all-MiniLM-L6-v2"])
def test_measured_speeds_are_saved(name):
    (encoder,) = find_encoders(name)
    speed = measure_speed(encoder, limit=0.5)
    assert 0.1 < speed < 1e6
    for each in list_encoders():
        assert each["speed"] == (speed if each["name"] == name else None)
        shown = _encoder_row(each)["per second"]
        assert shown.startswith(f"{speed:,.1f} ") if each["name"] == name else shown == "-"


def test_the_towers_of_a_clip_have_separate_speeds(monkeypatch):
    monkeypatch.setattr(listing, "_prepare_images", lambda _: (None, [1], "uint8"))
    monkeypatch.setattr(listing, "_prepare_texts", lambda _: (None, [1], "int32"))
    monkeypatch.setattr(listing, "_seconds", lambda _, inputs: 2 if inputs.dtype == "uint8" else 4)
    photos, texts = find_encoders("CLIP ViT-B/32")
    assert (measure_speed(texts), measure_speed(photos)) == (0.25, 0.5)
    rows = [_encoder_row(each) for each in list_encoders() if each["name"] == CLIP]
    assert [row["per second"][:4] for row in rows] == ["0.5 ", "0.2 "]


def test_a_damaged_file_of_speeds_is_ignored():
    file = listing._speed_file()
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"vgg16": {"speed": 1234.56, "device": "GPU"}}))
    assert _encoder_row(record("vgg16"))["per second"] == "1,234.6 GPU"
    for damaged in ("", "[]", '{"vgg16": 3}', '{"vgg16": {"speed": "x", "device": ""}}'):
        file.write_text(damaged)
        assert all(each["speed"] is None for each in list_encoders())
        assert _encoder_row(record("vgg16"))["per second"] == "-"


def test_the_speed_is_that_of_a_batch_of_about_a_second(monkeypatch):
    """A clock on which a batch takes a tenth of a second and each photo in it a hundredth."""
    clock, batches = [0.0], []

    def seconds(run, photos):
        batches.append(photos.shape[0])
        clock[0] += 0.1 + 0.01 * photos.shape[0]
        return 0.1 + 0.01 * photos.shape[0]

    monkeypatch.setattr(listing, "_prepare_images", lambda _: (None, [1], "uint8"))
    monkeypatch.setattr(listing, "_seconds", seconds)
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    (encoder,) = find_encoders("efficientnet_lite0")
    assert measure_speed(encoder, limit=100) == pytest.approx(128 / 1.38)
    assert batches == [1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 32, 32, 64, 64, 128, 128]
    batches.clear()
    measure_speed(encoder, limit=2)
    assert max(batches) < 128


def test_the_command_is_fast_and_does_not_import_tensorflow():
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


def test_the_command_measures_encoders_by_name(monkeypatch, capsys):
    measured = []
    monkeypatch.setattr(
        listing, "measure_speed", lambda encoder: (measured.append(encoder), 7.0)[1]
    )
    assert imagetext.main(["encoders", "--measure", "VGG16, clip_vit_b32"]) == 0
    clip = IMAGE_ENCODERS["clip_vit_b32"], TEXT_ENCODERS["clip_vit_b32"]
    assert measured == [IMAGE_ENCODERS["vgg16"], *clip]
    output = capsys.readouterr().out
    assert "vgg16: 7.0 images/s" in output
    assert "clip_vit_b32: 7.0 images/s\nclip_vit_b32: 7.0 texts/s" in output
    assert len(encoders("all")) == len(IMAGE_ENCODERS) + len(TEXT_ENCODERS)
    assert measured[3:] == [*IMAGE_ENCODERS.values(), *TEXT_ENCODERS.values()]
    with pytest.raises(UserError, match="did you mean vgg16"):
        encoders("vgg15")
