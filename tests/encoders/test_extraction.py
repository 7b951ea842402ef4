"""From photos to a store: the right features, each once, however often it is interrupted."""

import contextlib
import random
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

import imagetext
from imagetext.encoders import extraction, images, registry
from imagetext.encoders.extraction import extract_with, identity
from imagetext.errors import DataError, UserError
from imagetext.pipelines.feature_store import FLIPPED, PLAIN, RECORD_BYTES, FeatureStore
from imagetext.pipelines.features import Features, photo_digests, store_folder
from imagetext.pipelines.photo_stream import hash_files
from imagetext.pipelines.pixels import photo_reader
from imagetext.pipelines.sample import write_sample

ROOT = Path(__file__).parents[2]
SIDE = 8
META = {
    "format": 1,
    "encoder": "tiny",
    "weights": "0" * 64,
    "size": SIDE,
    "preprocessing": 1,
    "output": "grid",
    "shape": [2, 2, 5],
}
PLAINLY = {"precision": "float32", "batch_size": 4}


def tiny(scale: float = 1 / 128) -> keras.Model:
    """An encoder of photos of 8 x 8, the same one every time."""
    keras.utils.set_random_seed(0)
    image = keras.Input([SIDE, SIDE, 3], dtype="uint8", name="image")
    x = keras.layers.Rescaling(scale, offset=-1)(image)
    x = keras.layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")(x)
    x = keras.layers.Conv2D(5, 3, strides=2, padding="same")(x)
    return keras.Model(image, keras.layers.Activation("linear", dtype="float32")(x), name="tiny")


def not_again():
    pytest.fail("the encoder was built though there is nothing to do")


def write_photos(folder: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03}.png" for number in range(count)]
    for number, path in enumerate(paths):
        noise = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
    return paths


@pytest.fixture
def photos(tmp_path) -> list[Path]:
    return write_photos(tmp_path / "photos", 11)


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "store"


def expected(paths) -> np.ndarray:
    """The naive twin: one photo after the other through the model as it is."""
    model, read = tiny(), photo_reader((SIDE, SIDE))
    rows = [model.predict(read(path)[None], verbose=0) for path in paths]
    return np.concatenate(rows)


def stored(photos, folder, flips: bool = False) -> Features:
    """What a reader finds there who knows nothing of the extraction."""
    views = (PLAIN, FLIPPED) if flips else (PLAIN,)
    return Features.lookup(photos, FeatureStore.open(folder), photo_digests(photos, []), views)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != ".lock"}


@pytest.mark.parametrize("batch_size", [1, 4, 11, 16])
def test_every_photo_gets_what_the_model_makes_of_it(photos, folder, batch_size):
    done = extract_with(tiny, META, photos, folder, precision="float32", batch_size=batch_size)
    assert (done.new, done.photos, done.bad, done.probe_summary) == (11, 11, [], "")
    assert done.images_per_second > 0
    found, good = stored(photos, folder).fetch(range(11))
    assert good.all() and found.dtype == np.float16
    np.testing.assert_allclose(found.astype(np.float32), expected(photos), rtol=1e-3, atol=1e-3)


def test_the_same_bytes_share_a_row_and_only_new_ones_are_encoded(photos, folder):
    photos[5].write_bytes(photos[2].read_bytes())
    assert extract_with(tiny, META, photos[:6], folder, **PLAINLY).new == 5
    before = contents(folder)
    done = extract_with(not_again, META, photos[:6], folder)
    assert (done.new, len(done.store)) == (0, 5)
    done = extract_with(tiny, META, photos, folder)
    assert (done.new, len(done.store)) == (5, 10)
    for name, content in before.items():
        assert contents(folder)[name].startswith(content)
    found, _ = stored(photos, folder).fetch(range(11))
    np.testing.assert_allclose(found.astype(np.float32), expected(photos), rtol=1e-3, atol=1e-3)
    with pytest.raises(UserError, match="no photos"):
        extract_with(not_again, META, [], folder)


def test_a_changed_photo_is_encoded_anew(photos, folder):
    extract_with(tiny, META, photos, folder, **PLAINLY)
    Image.new("RGB", (SIDE, SIDE), (250, 3, 99)).save(photos[4])
    assert np.flatnonzero(~stored(photos, folder).fetch(range(11))[1]).tolist() == [4]
    assert extract_with(tiny, META, photos, folder).new == 1
    found, _ = stored(photos, folder).fetch([4])
    np.testing.assert_allclose(
        found.astype(np.float32), expected(photos[4:5]), rtol=1e-3, atol=1e-3
    )


def test_bad_photos_are_listed_and_all_others_stored(photos, folder):
    photos[0].write_bytes(b"")
    photos[6].write_bytes(photos[7].read_bytes()[:50])
    photos[9].unlink()
    for build, new in ((tiny, 8), (not_again, 0)):  # the encoder is not built for bad ones alone
        done = extract_with(build, META, photos, folder, **PLAINLY)
        assert done.new == new
        assert [(problem.file, problem.what) for problem in done.bad] == [
            (str(photos[0]), "the file is empty"),
            (str(photos[6]), "a damaged or truncated PNG"),
            (str(photos[9]), "No such file or directory"),
        ]
    _, good = done.features.fetch(range(11))
    assert np.flatnonzero(~good).tolist() == [0, 6, 9]
    with pytest.raises(DataError, match=r"none of the photos can be read:\n.*000\.png"):
        extract_with(not_again, META, photos[:1], folder.with_name("other"))
    assert not folder.with_name("other").exists()


def test_files_that_were_hashed_are_not_read_to_be_hashed_again(photos, folder, monkeypatch):
    extract_with(tiny, META, photos, folder, **PLAINLY)
    hashed, reads, read_bytes = hash_files(photos), [], Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: reads.append(path) or read_bytes(path))
    done = extract_with(not_again, META, photos, folder, hashed=hashed)
    assert done.features.fetch(range(11))[1].all()
    assert not set(reads) & set(photos)


@pytest.mark.parametrize("other", ["good", "bad"])
def test_a_photo_that_changes_meanwhile_is_not_stored_under_its_old_bytes(photos, folder, other):
    hashed = hash_files(photos)
    Image.new("RGB", (SIDE, SIDE), (250, 3, 99)).save(photos[4])
    if other == "bad":  # then all of its chunk are read one by one
        photos[5].write_bytes(b"bad")
        hashed = hash_files(photos)._replace(digests=hashed.digests)
    done = extract_with(tiny, META, photos, folder, **PLAINLY, hashed=hashed)
    told = {problem.file: problem.what for problem in done.bad}
    assert told.pop(str(photos[4])) == "the file changed during the extraction"
    assert list(told) == ([str(photos[5])] if other == "bad" else [])
    assert not done.features.fetch([4])[1].any()


def test_flips_are_the_features_of_the_mirrored_photo(photos, folder, tmp_path):
    extract_with(tiny, META, photos[:3], folder, **PLAINLY)
    done = extract_with(tiny, META, photos, folder, flips=True)
    assert done.new == 8 + 11
    mirrored = [tmp_path / f"mirrored {path.name}" for path in photos]
    for path, mirror in zip(photos, mirrored, strict=True):
        ImageOps.mirror(Image.open(path)).save(mirror)
    features = stored(photos, folder, flips=True)
    found = features.fetch(range(11), FLIPPED)[0].astype(np.float32)
    np.testing.assert_allclose(found, expected(mirrored), rtol=1e-3, atol=1e-3)
    plain = features.fetch(range(11))[0].astype(np.float32)
    np.testing.assert_allclose(plain, expected(photos), rtol=1e-3, atol=1e-3)


def test_a_check_extracts_damaged_features_again(photos, folder):
    extract_with(tiny, META, photos, folder, flips=True, **PLAINLY)
    whole = stored(photos, folder, flips=True).fetch(range(11), 1)[0]
    data = folder / "features-00000.bin"
    row_bytes = data.stat().st_size // 22
    with data.open("rb+") as file:
        for number in (4, 7):  # the third photo, and the fourth one's mirrored view
            file.seek(number * row_bytes)
            file.write(bytes(6))
    assert extract_with(not_again, META, photos, folder, flips=True).damaged == []
    done = extract_with(tiny, META, photos, folder, flips=True, check=True)
    assert done.damaged == [str(photos[2]), f"{photos[3]}, mirrored"] and done.new == 2
    np.testing.assert_allclose(
        stored(photos, folder, flips=True).fetch(range(11), 1)[0], whole, atol=1e-3
    )
    done = extract_with(not_again, META, photos, folder, flips=True, check=True)
    assert (done.damaged, done.new) == ([], 0)


def test_a_store_of_other_features_is_refused_and_left_alone(photos, folder):
    extract_with(tiny, META, photos[:2], folder, **PLAINLY)
    before = contents(folder)
    for other, told in (
        ({"encoder": "large"}, "encoder tiny instead of large"),
        ({"output": "pooled", "shape": [5]}, "output grid instead of pooled"),
        ({"weights": "1" * 64}, "weights 000"),
    ):
        with pytest.raises(UserError, match=told):
            extract_with(not_again, META | other, photos, folder)
    for asked in ({"precision": "mixed_bfloat16"}, {"dtype": "bfloat16"}, {"batch_size": 5}):
        with pytest.raises(UserError, match=r"was created with .* use \w+, or another"):
            extract_with(not_again, META, photos, folder, **asked)
    assert contents(folder) == before


def test_features_too_large_for_float16_are_told_and_fit_into_bfloat16(photos, folder):
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
        extract_with(not_again, META, photos, folder.with_name("third"), dtype="float8")


def test_a_second_extraction_into_the_same_folder_is_told(photos, folder):
    extract_with(tiny, META, photos[:2], folder, **PLAINLY)
    with (
        FeatureStore.create(folder, META),
        pytest.raises(UserError, match="is adding features"),
    ):
        extract_with(not_again, META, photos, folder)


def test_the_precision_is_tried_once_and_kept(photos, folder):
    done = extract_with(tiny, META, photos[:5], folder)
    assert done.probe_summary.startswith("float32 ") and "mixed_bfloat16" in done.probe_summary
    chosen = done.store.meta["precision"]
    assert chosen in ("float32", "mixed_bfloat16")
    done = extract_with(tiny, META, photos, folder)
    assert done.probe_summary == "" and done.store.meta["precision"] == chosen


def test_progress_is_shown_with_speed(photos, folder, monkeypatch, capsys):
    monkeypatch.setattr(extraction, "interactive", lambda: True)
    extract_with(tiny, META, photos, folder, **PLAINLY)
    told = capsys.readouterr().out
    assert "11/11" in told and "images/s: " in told


def test_a_log_file_gets_a_word_of_progress_now_and_then(photos, folder, monkeypatch, capsys):
    extract_with(tiny, META, photos[:5], folder, **PLAINLY)
    assert "features" not in capsys.readouterr().out  # it was done in a moment
    monkeypatch.setattr(extraction, "LOG_INTERVAL", 0.0)
    extract_with(tiny, META, photos, folder)
    assert "6 of 6 features, " in (told := capsys.readouterr().out) and " seconds left" in told


def test_what_was_begun_with_xla_on_a_gpu_goes_on_without_it_on_a_cpu(photos, folder, monkeypatch):
    asked = {"precision": "float32+xla", "batch_size": 4}
    used, compile_encoder = [], extraction.compile_encoder

    def seen(build, precision, dtype):
        used.append(precision)
        return compile_encoder(build, "float32", dtype)

    monkeypatch.setattr(extraction, "compile_encoder", seen)
    for number, gpu in enumerate((True, False)):
        monkeypatch.setattr(extraction, "has_gpu", lambda gpu=gpu: gpu)
        done = extract_with(tiny, META, photos[: 5 * (1 + number)], folder, **asked)
        assert done.store.meta["precision"] == "float32+xla"
    assert used == ["float32+xla", "float32"]


# ------------------------------------------------------------------------------------ interrupted


def stop_after(monkeypatch, calls: int) -> None:
    """Let the encoder run so often, then press Ctrl-C. Its features are odd ones: they tell the
    place of the photo in its batch."""
    ran = []

    def stand_in(*_):
        def run(batch):
            ran.append(1)
            if len(ran) > calls:
                raise KeyboardInterrupt
            mean = tf.reduce_mean(tf.cast(batch, tf.float32), axis=[1, 2, 3])
            rows = mean + 1000.0 * tf.range(len(batch), dtype=tf.float32)
            return tf.cast(
                tf.broadcast_to(rows[:, None, None, None], [len(batch), 2, 2, 5]), "float16"
            )

        return run

    monkeypatch.setattr(extraction, "compile_encoder", stand_in)


@pytest.mark.parametrize("flips", [False, True])
def test_an_interruption_anywhere_leaves_no_trace(photos, tmp_path, monkeypatch, flips):
    """Also one in the middle of a batch's rows: photos keep their places in their batches."""
    photos[3].write_bytes(b"bad")
    stop_after(monkeypatch, 99)
    extract_with(not_again, META, photos, tmp_path / "whole", flips, **PLAINLY)
    whole = contents(tmp_path / "whole")
    rows = 20 if flips else 10
    assert len(whole["features-00000.idx"]) == rows * RECORD_BYTES
    for torn in range(rows):
        folder = tmp_path / str(torn)
        stop_after(monkeypatch, 1 + torn // 4)
        ends = 4 * (1 + torn // 4) >= rows
        with contextlib.nullcontext() if ends else pytest.raises(KeyboardInterrupt):
            extract_with(not_again, META, photos, folder, flips, **PLAINLY)
        left = len(FeatureStore.open(folder))
        assert left <= 4 * (1 + torn // 4)
        index = folder / "features-00000.idx"
        if index.exists():
            index.write_bytes(index.read_bytes()[: torn * RECORD_BYTES + 5])
        stop_after(monkeypatch, 99)
        extract_with(not_again, META, photos, folder, flips)
        assert contents(folder) == whole


EXTRACT = """
import sys
from pathlib import Path
from tests.encoders.test_extraction import META, PLAINLY, extract_with, tiny
photos = sorted(Path(sys.argv[1]).iterdir())
print(extract_with(tiny, META, photos, sys.argv[2], flips=True, **PLAINLY).new)
"""
KILLED_PHOTOS = 400


def kill_and_resume(tmp_path: Path, kills: int, seed: int) -> None:
    """Kill an extraction so often, then let it finish: the undisturbed store, byte for byte."""
    rng = random.Random(seed)
    photos = write_photos(tmp_path / "photos", KILLED_PHOTOS)
    command = [sys.executable, "-c", EXTRACT, str(tmp_path / "photos"), str(tmp_path / "killed")]
    index, lengths = tmp_path / "killed" / "features-00000.idx", []
    for number in range(kills):
        # Somewhere in this kill's share of the rows, at any instant of a batch.
        rows = (number + rng.random()) / kills * 2 * KILLED_PHOTOS
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as running:
            while running.poll() is None and (
                not index.exists() or index.stat().st_size < rows * RECORD_BYTES
            ):
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.004))
            running.kill()
        lengths.append(index.stat().st_size // RECORD_BYTES)
    assert lengths == sorted(lengths) and lengths[0] > 0
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(ran.stdout) <= 2 * KILLED_PHOTOS - lengths[-1]
    done = extract_with(tiny, META, photos, tmp_path / "undisturbed", flips=True, **PLAINLY)
    assert done.new == len(set(done.store.keys)) == 2 * KILLED_PHOTOS
    assert contents(tmp_path / "killed") == contents(tmp_path / "undisturbed")


def test_killed_and_resumed_it_equals_the_undisturbed_store(tmp_path):
    kill_and_resume(tmp_path, kills=1, seed=0)


@pytest.mark.slow
def test_killed_ten_times_it_equals_the_undisturbed_store(tmp_path):
    kill_and_resume(tmp_path, kills=10, seed=1)


# ----------------------------------------------------------------------------------- by its name


@pytest.fixture
def known(monkeypatch):
    """An encoder by the name of tiny, and what was asked of it."""
    asked = []

    def build(name, output, weights):
        asked.append((name, output, weights))
        model = tiny()
        pooled = keras.layers.GlobalAveragePooling2D()(model.output)
        return keras.Model(model.input, pooled) if output == "pooled" else model

    record = registry.ImageEncoder("tiny", SIDE, 2, 5, 1, "tiny", "tiny", weights="nowhere")
    monkeypatch.setitem(registry.IMAGE_ENCODERS, "tiny", record)
    monkeypatch.setattr(images, "weights_digest", lambda name, weights: f"{weights}".zfill(64))
    monkeypatch.setattr(images, "build", build)
    return asked


def test_the_identity_tells_encoder_weights_and_output_apart(known):
    assert identity("tiny", "grid", "a") == META | {"weights": "a".zfill(64)}
    assert identity("tiny", "pooled")["shape"] == [5]
    assert identity("tiny", "flat")["shape"] == [20]
    with pytest.raises(UserError, match="tiny: unknown output 'cells'; expected one of pooled"):
        identity("tiny", "cells")


def test_the_verb_extracts_into_the_cache_and_tells_what_was_bad(
    known, photos, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("IMAGETEXT_CACHE", str(tmp_path / "cache"))
    photos[2].write_bytes(b"text")
    words = ["data", "features", str(photos[0].parent), "--encoder", "tiny", "--output", "pooled"]
    assert imagetext.main([*words, "--flips", "--weights", "a"]) == 0
    told = capsys.readouterr().out
    assert f"bad: {photos[2]}: not a photo (JPEG, PNG, GIF, BMP or WebP)" in told
    assert "11 photos, 1 of them bad: 20 new features at " in told
    assert "tiny, pooled 5 as float16, computed in " in told
    assert {*known} == {("tiny", "pooled", "a")}
    meta = identity("tiny", "pooled", "a")
    assert str(extraction.store_folder(meta)) in told
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
    told = capsys.readouterr().out
    assert f"damaged features: {photos[0]}\n" in told and " 1 new features at" in told
    other = ["--weights", "b", "--to", str(extraction.store_folder(meta))]
    assert imagetext.main([*words, *other]) == 1
    assert "contains other features: weights" in capsys.readouterr().err


@pytest.mark.weights
def test_features_of_a_pretrained_encoder_are_near_its_float32(tmp_path):
    if not images.is_available("efficientnet_lite0"):
        pytest.skip("no weights of efficientnet_lite0 here: set IMAGETEXT_WEIGHTS to their folder")
    folder = write_sample(tmp_path / "sample")
    photos = sorted((folder / "flickr8k-resised").iterdir())[:40]
    done = extraction.extract(photos, "efficientnet_lite0", "grid", folder=tmp_path / "store")
    assert (done.new, done.bad) == (40, [])
    model, read = images.build("efficientnet_lite0", "grid"), photo_reader((224, 224))
    exact = model.predict(np.stack([read(path) for path in photos]), verbose=0)
    found, _ = stored(photos, tmp_path / "store").fetch(range(40))
    off = found.astype(np.float32) - exact
    assert np.linalg.norm(off) <= 1e-2 * np.linalg.norm(exact)


def test_random_weights_leave_something_of_a_photo_in_half_precision():
    """Depthwise nets in particular, where Keras draws kernels far too small."""
    tower = extraction.build_encoder("efficientnet_lite0", "pooled", "random")
    noise = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    one, other = tower.predict(noise, verbose=0)
    assert 1e-3 < np.abs(one).max() < 1000  # and not 1e-11
    assert np.abs(one - other).max() > 1e-3 * np.abs(one).max()
