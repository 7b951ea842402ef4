"""Extraction of features: values, settings of the store, bad photos, progress and the command."""

from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image, ImageOps

import imagetext
from imagetext.encoders import extraction, images, registry
from imagetext.encoders.extraction import extract_with, identity
from imagetext.errors import DataError, UserError
from imagetext.pipelines.feature_store import FLIPPED, FeatureStore
from imagetext.pipelines.features import store_folder
from imagetext.pipelines.photo_stream import hash_files
from imagetext.pipelines.pixels import photo_reader
from imagetext.pipelines.sample import write_sample
from tests.encoders.tiny_encoder import (
    FIXED,
    META,
    SIDE,
    contents,
    expected,
    must_not_build,
    stored,
    tiny,
    write_photos,
)


@pytest.fixture
def photos(tmp_path) -> list[Path]:
    return write_photos(tmp_path / "photos", 11)


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "store"


@pytest.mark.parametrize("batch_size", [1, 4, 11, 16])
def test_features_are_the_outputs_of_the_model(photos, folder, batch_size):
    done = extract_with(tiny, META, photos, folder, precision="float32", batch_size=batch_size)
    assert (done.new, done.photos, done.bad, done.probe_summary) == (11, 11, [], "")
    assert done.images_per_second > 0
    actual, good = stored(photos, folder).fetch(range(11))
    assert good.all() and actual.dtype == np.float16
    np.testing.assert_allclose(actual.astype(np.float32), expected(photos), rtol=1e-3, atol=1e-3)


def test_equal_files_share_a_row_and_only_new_ones_are_encoded(photos, folder):
    photos[5].write_bytes(photos[2].read_bytes())
    assert extract_with(tiny, META, photos[:6], folder, **FIXED).new == 5
    before = contents(folder)
    done = extract_with(must_not_build, META, photos[:6], folder)
    assert (done.new, len(done.store)) == (0, 5)
    done = extract_with(tiny, META, photos, folder)
    assert (done.new, len(done.store)) == (5, 10)
    for name, content in before.items():
        assert contents(folder)[name].startswith(content)
    actual, _ = stored(photos, folder).fetch(range(11))
    np.testing.assert_allclose(actual.astype(np.float32), expected(photos), rtol=1e-3, atol=1e-3)
    with pytest.raises(UserError, match="no photos"):
        extract_with(must_not_build, META, [], folder)


def test_a_changed_photo_is_encoded_again(photos, folder):
    extract_with(tiny, META, photos, folder, **FIXED)
    Image.new("RGB", (SIDE, SIDE), (250, 3, 99)).save(photos[4])
    assert np.flatnonzero(~stored(photos, folder).fetch(range(11))[1]).tolist() == [4]
    assert extract_with(tiny, META, photos, folder).new == 1
    actual, _ = stored(photos, folder).fetch([4])
    np.testing.assert_allclose(
        actual.astype(np.float32), expected(photos[4:5]), rtol=1e-3, atol=1e-3
    )


def test_bad_photos_are_listed_and_all_others_stored(photos, folder):
    photos[0].write_bytes(b"")
    photos[6].write_bytes(photos[7].read_bytes()[:50])
    photos[9].unlink()
    for build, new in ((tiny, 8), (must_not_build, 0)):  # no encoder is built for bad photos alone
        done = extract_with(build, META, photos, folder, **FIXED)
        assert done.new == new
        assert [(problem.file, problem.what) for problem in done.bad] == [
            (str(photos[0]), "the file is empty"),
            (str(photos[6]), "a damaged or truncated PNG"),
            (str(photos[9]), "No such file or directory"),
        ]
    _, good = done.features.fetch(range(11))
    assert np.flatnonzero(~good).tolist() == [0, 6, 9]
    with pytest.raises(DataError, match=r"none of the photos can be read:\n.*000\.png"):
        extract_with(must_not_build, META, photos[:1], folder.with_name("other"))
    assert not folder.with_name("other").exists()


def test_files_are_not_hashed_again(photos, folder, monkeypatch):
    extract_with(tiny, META, photos, folder, **FIXED)
    hashed, reads, read_bytes = hash_files(photos), [], Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: reads.append(path) or read_bytes(path))
    done = extract_with(must_not_build, META, photos, folder, hashed=hashed)
    assert done.features.fetch(range(11))[1].all()
    assert not set(reads) & set(photos)


@pytest.mark.parametrize("other", ["good", "bad"])
def test_a_photo_that_changes_during_the_extraction_is_not_stored(photos, folder, other):
    hashed = hash_files(photos)
    Image.new("RGB", (SIDE, SIDE), (250, 3, 99)).save(photos[4])
    if other == "bad":  # then all photos of the chunk are read one by one
        photos[5].write_bytes(b"bad")
        hashed = hash_files(photos)._replace(digests=hashed.digests)
    done = extract_with(tiny, META, photos, folder, **FIXED, hashed=hashed)
    problems = {problem.file: problem.what for problem in done.bad}
    assert problems.pop(str(photos[4])) == "the file changed during the extraction"
    assert list(problems) == ([str(photos[5])] if other == "bad" else [])
    assert not done.features.fetch([4])[1].any()


def test_flips_are_the_features_of_the_mirrored_photo(photos, folder, tmp_path):
    extract_with(tiny, META, photos[:3], folder, **FIXED)
    done = extract_with(tiny, META, photos, folder, flips=True)
    assert done.new == 8 + 11
    mirrored = [tmp_path / f"mirrored {path.name}" for path in photos]
    for path, mirror in zip(photos, mirrored, strict=True):
        ImageOps.mirror(Image.open(path)).save(mirror)
    features = stored(photos, folder, flips=True)
    actual = features.fetch(range(11), FLIPPED)[0].astype(np.float32)
    np.testing.assert_allclose(actual, expected(mirrored), rtol=1e-3, atol=1e-3)
    plain = features.fetch(range(11))[0].astype(np.float32)
    np.testing.assert_allclose(plain, expected(photos), rtol=1e-3, atol=1e-3)


def test_a_check_extracts_damaged_features_again(photos, folder):
    extract_with(tiny, META, photos, folder, flips=True, **FIXED)
    whole = stored(photos, folder, flips=True).fetch(range(11), 1)[0]
    data = folder / "features-00000.bin"
    row_bytes = data.stat().st_size // 22
    with data.open("rb+") as file:
        for number in (4, 7):  # the third photo, and the fourth one's mirrored view
            file.seek(number * row_bytes)
            file.write(bytes(6))
    assert extract_with(must_not_build, META, photos, folder, flips=True).damaged == []
    done = extract_with(tiny, META, photos, folder, flips=True, check=True)
    assert done.damaged == [str(photos[2]), f"{photos[3]}, mirrored"] and done.new == 2
    np.testing.assert_allclose(
        stored(photos, folder, flips=True).fetch(range(11), 1)[0], whole, atol=1e-3
    )
    done = extract_with(must_not_build, META, photos, folder, flips=True, check=True)
    assert (done.damaged, done.new) == ([], 0)


def test_a_store_of_other_features_is_refused_and_unchanged(photos, folder):
    extract_with(tiny, META, photos[:2], folder, **FIXED)
    before = contents(folder)
    for other, message in (
        ({"encoder": "large"}, "encoder tiny instead of large"),
        ({"output": "pooled", "shape": [5]}, "output grid instead of pooled"),
        ({"weights": "1" * 64}, "weights 000"),
    ):
        with pytest.raises(UserError, match=message):
            extract_with(must_not_build, META | other, photos, folder)
    for settings in ({"precision": "mixed_bfloat16"}, {"dtype": "bfloat16"}, {"batch_size": 5}):
        with pytest.raises(UserError, match=r"was created with .* use \w+, or another"):
            extract_with(must_not_build, META, photos, folder, **settings)
    assert contents(folder) == before


def test_features_too_large_for_float16_fit_into_bfloat16(photos, folder):
    def large():
        return tiny(scale=1e5)

    with pytest.raises(UserError, match=r"exceeds the range of float16.*--dtype bfloat16"):
        extract_with(large, META, photos, folder)
    assert len(FeatureStore.open(folder)) == 0
    other = folder.with_name("other")
    done = extract_with(large, META, photos, other, dtype="bfloat16", precision="float32")
    assert done.new == 11
    assert np.abs(done.store.fetch([3]).astype(np.float32)).max() > 65504
    with pytest.raises(UserError, match="expected one of float16, bfloat16, got 'float8'"):
        extract_with(must_not_build, META, photos, folder.with_name("third"), dtype="float8")


def test_a_concurrent_extraction_into_the_same_folder_is_refused(photos, folder):
    extract_with(tiny, META, photos[:2], folder, **FIXED)
    with (
        FeatureStore.create(folder, META),
        pytest.raises(UserError, match="is adding features"),
    ):
        extract_with(must_not_build, META, photos, folder)


def test_precisions_are_compared_once(photos, folder):
    done = extract_with(tiny, META, photos[:5], folder)
    assert done.probe_summary.startswith("float32 ") and "mixed_bfloat16" in done.probe_summary
    chosen = done.store.meta["precision"]
    assert chosen in ("float32", "mixed_bfloat16")
    done = extract_with(tiny, META, photos, folder)
    assert done.probe_summary == "" and done.store.meta["precision"] == chosen


def test_progress_is_shown_with_speed(photos, folder, monkeypatch, capsys):
    monkeypatch.setattr(extraction, "interactive", lambda: True)
    extract_with(tiny, META, photos, folder, **FIXED)
    output = capsys.readouterr().out
    assert "11/11" in output and "images/s: " in output


def test_a_log_file_gets_lines_of_progress(photos, folder, monkeypatch, capsys):
    extract_with(tiny, META, photos[:5], folder, **FIXED)
    assert "features" not in capsys.readouterr().out  # it took only a moment
    monkeypatch.setattr(extraction, "LOG_INTERVAL", 0.0)
    extract_with(tiny, META, photos, folder)
    assert "6 of 6 features, " in (output := capsys.readouterr().out) and " seconds left" in output


def test_an_extraction_with_xla_continues_without_it_on_a_cpu(photos, folder, monkeypatch):
    settings = {"precision": "float32+xla", "batch_size": 4}
    used, compile_encoder = [], extraction.compile_encoder

    def record(build, precision, dtype):
        used.append(precision)
        return compile_encoder(build, "float32", dtype)

    monkeypatch.setattr(extraction, "compile_encoder", record)
    for number, gpu in enumerate((True, False)):
        monkeypatch.setattr(extraction, "has_gpu", lambda gpu=gpu: gpu)
        done = extract_with(tiny, META, photos[: 5 * (1 + number)], folder, **settings)
        assert done.store.meta["precision"] == "float32+xla"
    assert used == ["float32+xla", "float32"]


@pytest.fixture
def build_calls(monkeypatch):
    """Register an encoder named tiny; the arguments of all calls that build it."""
    calls = []

    def build(name, output, weights):
        calls.append((name, output, weights))
        model = tiny()
        pooled = keras.layers.GlobalAveragePooling2D()(model.output)
        return keras.Model(model.input, pooled) if output == "pooled" else model

    record = registry.ImageEncoder("tiny", SIDE, 2, 5, 1, "tiny", "tiny", weights="nowhere")
    monkeypatch.setitem(registry.IMAGE_ENCODERS, "tiny", record)
    monkeypatch.setattr(images, "weights_digest", lambda name, weights: f"{weights}".zfill(64))
    monkeypatch.setattr(images, "build", build)
    return calls


def test_the_identity_depends_on_encoder_weights_and_output(build_calls):
    assert identity("tiny", "grid", "a") == META | {"weights": "a".zfill(64)}
    assert identity("tiny", "pooled")["shape"] == [5]
    assert identity("tiny", "flat")["shape"] == [20]
    with pytest.raises(UserError, match="tiny: unknown output 'cells'; expected one of pooled"):
        identity("tiny", "cells")


def test_the_command_extracts_into_the_cache_and_lists_bad_photos(
    build_calls, photos, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("IMAGETEXT_CACHE", str(tmp_path / "cache"))
    photos[2].write_bytes(b"text")
    words = ["data", "features", str(photos[0].parent), "--encoder", "tiny", "--output", "pooled"]
    assert imagetext.main([*words, "--flips", "--weights", "a"]) == 0
    output = capsys.readouterr().out
    assert f"bad: {photos[2]}: not a photo (JPEG, PNG, GIF, BMP or WebP)" in output
    assert "11 photos, 1 of them bad: 20 new features at " in output
    assert "tiny, pooled 5 as float16, computed in " in output
    assert {*build_calls} == {("tiny", "pooled", "a")}
    meta = identity("tiny", "pooled", "a")
    assert str(extraction.store_folder(meta)) in output
    features = stored(photos, store_folder(meta), flips=True)
    expect = expected(photos[:2]).mean(axis=(1, 2))
    np.testing.assert_allclose(features.fetch([0, 1])[0].astype(np.float32), expect, atol=3e-2)
    assert imagetext.main([*words, "--flips", "--weights", "a"]) == 0
    assert (
        "11 photos, 1 of them bad: 0 new features, 20 features in total" in capsys.readouterr().out
    )
    data = store_folder(meta) / "features-00000.bin"
    data.write_bytes(bytes(8) + data.read_bytes()[8:])
    assert imagetext.main([*words, "--weights", "a", "--check"]) == 0
    output = capsys.readouterr().out
    assert f"damaged features: {photos[0]}\n" in output and " 1 new features at" in output
    other = ["--weights", "b", "--to", str(extraction.store_folder(meta))]
    assert imagetext.main([*words, *other]) == 1
    assert "contains other features: weights" in capsys.readouterr().err


@pytest.mark.weights
def test_features_of_a_pretrained_encoder_are_near_those_in_float32(tmp_path):
    if not images.is_available("efficientnet_lite0"):
        pytest.skip("no weights of efficientnet_lite0 here: set IMAGETEXT_WEIGHTS to their folder")
    folder = write_sample(tmp_path / "sample")
    photos = sorted((folder / "flickr8k-resised").iterdir())[:40]
    done = extraction.extract(photos, "efficientnet_lite0", "grid", folder=tmp_path / "store")
    assert (done.new, done.bad) == (40, [])
    model, read = images.build("efficientnet_lite0", "grid"), photo_reader((224, 224))
    exact = model.predict(np.stack([read(path) for path in photos]), verbose=0)
    actual, _ = stored(photos, tmp_path / "store").fetch(range(40))
    off = actual.astype(np.float32) - exact
    assert np.linalg.norm(off) <= 1e-2 * np.linalg.norm(exact)


def test_features_by_random_weights_do_not_vanish():
    """In particular with depthwise convolutions, which Keras initializes with too small values."""
    tower = extraction.build_encoder("efficientnet_lite0", "pooled", "random")
    noise = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    first, second = tower.predict(noise, verbose=0)
    assert 1e-3 < np.abs(first).max() < 1000  # and not 1e-11
    assert np.abs(first - second).max() > 1e-3 * np.abs(first).max()
