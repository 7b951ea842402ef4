"""Inputs of models: pixels or features, and never features of a changed photo."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import imagetext.encoders.extraction
from imagetext.encoders import images
from imagetext.encoders.extraction import extract
from imagetext.encoders.photos import PhotoTower, StoredFeatures, open_photos
from imagetext.errors import DataError, UserError
from imagetext.itm.config import DataConfig
from imagetext.pipelines.pixels import photo_reader
from tests.itm.tiny_encoders import CELLS, SIDE, WIDTHS, tiny_encoders  # noqa: F401

pytestmark = pytest.mark.usefixtures("tiny_encoders")


@pytest.fixture
def paths(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for number, path in enumerate(paths):
        noise = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
    return paths


def config(*names: str, **options) -> DataConfig:
    return DataConfig(image_encoders=list(names), image_weights="random", **options)


def naive(paths, name: str, output: str = "pooled") -> np.ndarray:
    """Encode photos one by one, with the random weights of the store."""
    keras.utils.set_random_seed(0)
    tower, read = images.build(name, output, "random"), photo_reader((SIDE, SIDE))
    return np.concatenate([tower(read(path)[None]).numpy() for path in paths])


def close(actual, expected):
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-3)


def test_features_of_several_encoders_are_concatenated(paths):
    photos = open_photos(paths, config("tiny_b", "tiny_a"), [])
    assert photos.shape == (WIDTHS["tiny_b"] + WIDTHS["tiny_a"],)
    actual, good = photos.fetch([4, 0, 4])
    chosen = [paths[4], paths[0], paths[4]]
    close(actual, np.concatenate([naive(chosen, "tiny_b"), naive(chosen, "tiny_a")], axis=1))
    assert good.all()
    turned = open_photos(paths, config("tiny_a", "tiny_b"), [])
    assert photos.identity != turned.identity


def test_grids_keep_their_cells(paths):
    photos = open_photos(paths, config("tiny_a", image_output="grid"), [])
    assert photos.shape == (CELLS, CELLS, WIDTHS["tiny_a"])
    close(photos.fetch([1, 2])[0], naive(paths[1:3], "tiny_a", "grid"))


def test_inputs_are_pixels_without_encoders_or_to_fine_tune(paths):
    for options, side in (
        ({"image_size": 16}, 16),
        ({"image_size": 16, "image_encoders": ["tiny_a"], "fine_tune": True}, SIDE),
    ):
        photos = open_photos(paths, DataConfig(**options), [])
        assert (photos.shape, photos.dtype) == ((side, side, 3), np.uint8)
        np.testing.assert_array_equal(photos.fetch([3])[0][0], photo_reader((side, side))(paths[3]))


def test_photos_are_encoded_once_unless_they_change(paths, monkeypatch):
    chosen = config("tiny_a", "tiny_b")
    before, _ = open_photos(paths, chosen, []).fetch(range(5))
    with monkeypatch.context() as patch:
        patch.setattr(
            imagetext.encoders.extraction.images, "build", lambda *_: pytest.fail("encoded again")
        )
        again, _ = open_photos(paths, chosen, []).fetch(range(5))
    np.testing.assert_array_equal(again, before)
    Image.new("RGB", (SIDE, SIDE), (250, 3, 99)).save(paths[2])
    after, good = open_photos(paths, chosen, []).fetch(range(5))
    assert good.all()
    close(after[2:3, :5], naive(paths[2:3], "tiny_a"))
    assert np.abs(after[2] - before[2]).max() > 0.01
    np.testing.assert_array_equal(np.delete(after, 2, 0), np.delete(before, 2, 0))


def test_bad_photos_are_reported_once(paths):
    paths[1].write_bytes(b"")
    paths[3].write_text("<html>not a photo</html>")
    problems = []
    photos = open_photos(paths, config("tiny_a", "tiny_b"), problems)
    assert [problem.file for problem in problems] == [str(paths[1]), str(paths[3])]
    actual, good = photos.fetch(range(5))
    assert good.tolist() == [True, False, True, False, True]
    assert not actual[1].any() and actual[0].any()


def test_a_photo_is_good_if_all_encoders_have_features():
    def part(good: list[bool]):
        fetch = lambda numbers, view: (np.ones((3, 2), np.float16), np.array(good))  # noqa: E731
        return SimpleNamespace(paths=[], shape=(2,), fetch=fetch)

    photos = StoredFeatures([part([True, True, False]), part([False, True, True])])
    assert photos.fetch(range(3))[1].tolist() == [False, True, False]


def test_cells_of_several_encoders_are_concatenated(paths):
    chosen = config("tiny_a", "tiny_b", image_output="grid")
    photos = open_photos(paths, chosen, [])
    assert photos.shape == (CELLS, CELLS, WIDTHS["tiny_a"] + WIDTHS["tiny_b"])
    of_each = [naive(paths, name, "grid") for name in ("tiny_a", "tiny_b")]
    close(photos.fetch(range(5))[0], np.concatenate(of_each, axis=-1))


def test_a_folder_has_a_subfolder_for_each_of_several_encoders(paths, tmp_path):
    store = tmp_path / "store"
    for name in ("tiny_a", "tiny_b"):
        extract(paths, name, "pooled", "random", store / name)
    several = open_photos(paths, config("tiny_a", "tiny_b", features=str(store)), [])
    assert several.shape == (8,)
    alone = open_photos(paths, config("tiny_b", features=str(store / "tiny_b")), [])
    np.testing.assert_array_equal(several.fetch([0])[0][:, 5:], alone.fetch([0])[0])


@pytest.mark.parametrize("output", ["pooled", "grid"])
def test_the_tower_gives_the_stored_features(paths, output):
    """Up to half precision: from a file, and from bytes inside a graph."""
    chosen = config("tiny_a", "tiny_b", image_output=output)
    stored, _ = open_photos(paths, chosen, []).fetch(range(5))
    tower = PhotoTower(chosen)
    close(np.stack([tower.encode_file(path) for path in paths]), stored)
    files = [path.read_bytes() for path in paths]
    close(tower.encode_bytes(files).numpy(), stored)
    tower.freeze()
    close(tower.encode_bytes(files[:2]).numpy(), stored[:2])
    close(tf.function(tower.encode_in_graph)(tf.constant(files)).numpy(), stored)


def test_a_tower_without_encoders_gives_pixels_and_reports_bad_files(paths):
    tower = PhotoTower(DataConfig(image_size=16))
    np.testing.assert_array_equal(tower.encode_file(paths[0]), photo_reader((16, 16))(paths[0]))
    paths[0].write_bytes(b"")
    for chosen in (DataConfig(), config("tiny_a")):
        with pytest.raises(ValueError, match="the file is empty"):
            PhotoTower(chosen).encode_file(paths[0])


def test_a_folder_without_features_is_refused_and_unchanged(paths, tmp_path):
    command = r"data features ROOT --encoder tiny_a --output pooled --weights random --to"
    for name, message in (
        ("typo", f"typo: no features found.*{command}"),
        ("", "no features found"),
    ):
        with pytest.raises(UserError, match=message):
            open_photos(paths, config("tiny_a", features=str(tmp_path / name)), [])
    assert sorted(tmp_path.iterdir()) == paths


def test_no_readable_photo_is_an_error(paths):
    paths[0].write_bytes(b"not a photo, and in no other test")
    with pytest.raises(DataError, match=r"none of the photos can be read:\n.*0\.png"):
        open_photos(paths[:1], config("tiny_a", image_output="flat"), [])
