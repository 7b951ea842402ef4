"""Features by photo: found by the photo's bytes, refused where they would be stale."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from imagetext.errors import UserError
from imagetext.pipelines.feature_store import FLIPPED, PLAIN, FeatureStore
from imagetext.pipelines.features import Features, find_photos, photo_digests, store_folder
from tests.pipelines.test_feature_store import META, SHAPE, row


@pytest.fixture
def photos(tmp_path) -> list[Path]:
    """Five files (no photos: nobody decodes them here), of which 1 and 3 are the same bytes."""
    paths = [tmp_path / f"{number}.jpg" for number in range(5)]
    for number, path in enumerate(paths):
        path.write_bytes(b"photo %d" % (1 if number == 3 else number))
    return paths


def store_rows(photos: list[Path], folder: Path, views=(PLAIN,), **meta) -> None:
    """A row for each different photo and view, numbered by the photo's first place."""
    with FeatureStore.create(folder, META | meta) as store:
        for view in views:
            for number, path in enumerate(photos):
                digest = hashlib.sha256(path.read_bytes()).digest()
                if store.missing([digest], view):
                    store.append([digest], [view], row(number, view)[None])


def found(photos: list[Path], folder: Path, views=(PLAIN,)) -> Features:
    return Features.lookup(photos, FeatureStore.open(folder), photo_digests(photos, []), views)


def test_photos_get_the_features_of_their_bytes(photos, tmp_path):
    folder = tmp_path / "store"
    store_rows(photos, folder, (PLAIN, FLIPPED))
    assert len(FeatureStore.open(folder)) == 2 * 4
    features = found(list(reversed(photos)), folder, (PLAIN, FLIPPED))
    assert (features.shape, features.dtype, features.views) == (SHAPE, np.float16, 2)
    for view in (PLAIN, FLIPPED):
        array, good = features.fetch([0, 1, 3, 1], view)
        expected = np.stack([row(n, view) for n in (4, 1, 1, 1)]).astype(np.float16)
        assert good.tolist() == [True] * 4
        assert np.array_equal(array, expected)
    numbers = np.array([4], np.int64)  # as a graph hands them over
    assert np.array_equal(features.fetch(numbers)[0][0], row(0).astype(np.float16))


def test_a_renamed_photo_keeps_its_features_and_a_changed_one_loses_them(photos, tmp_path):
    folder = tmp_path / "store"
    store_rows(photos, folder)
    photos[0] = photos[0].rename(tmp_path / "other name.png")
    photos[2].write_bytes(b"photo 2 retouched")
    photos[4].unlink()
    problems = []
    digests = photo_digests(photos, problems)
    assert [(problem.file, problem.what) for problem in problems] == [
        (str(photos[4]), "No such file or directory")
    ]
    features = Features.lookup(photos, FeatureStore.open(folder), digests)
    array, good = features.fetch([0, 2, 4, 1])
    assert good.tolist() == [True, False, False, True]
    assert not array[1:3].any()
    assert np.array_equal(array[[0, 3]], np.stack([row(0), row(1)]).astype(np.float16))


def test_a_photo_without_one_of_the_views_has_none(photos, tmp_path):
    folder = tmp_path / "store"
    store_rows(photos, folder)
    store_rows(photos[:2], folder, (FLIPPED,))
    assert found(photos, folder).fetch(range(5))[1].all()
    for view in (PLAIN, FLIPPED):
        good = found(photos, folder, (PLAIN, FLIPPED)).fetch(range(5), view)[1]
        assert good.tolist() == [True, True, False, True, False]


def test_the_cache_keeps_every_identity_apart(monkeypatch, tmp_path):
    monkeypatch.setenv("IMAGETEXT_CACHE", str(tmp_path / "cache"))
    folder = store_folder(META)
    assert folder.parent == tmp_path / "cache" / "features"
    assert folder.name.startswith("tiny-grid-")
    for key, other in (
        ("weights", "f" * 64),
        ("size", 9),
        ("preprocessing", 2),
        ("output", "flat"),
    ):
        assert store_folder(META | {key: other}) != folder
    # However exact its rows are.
    assert store_folder(META | {"precision": "mixed_bfloat16", "dtype": "bfloat16"}) == folder


# ------------------------------------------------------------------------- which photos are meant


def test_a_folder_that_holds_photos_gives_all_of_them(tmp_path):
    for name in ("b.jpg", "a.PNG", "notes.txt", "._b.jpg", "in/c.webp", "in/deeper/d.jpeg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    expected = [tmp_path / name for name in ("a.PNG", "b.jpg", "in/c.webp", "in/deeper/d.jpeg")]
    assert find_photos(tmp_path) == (expected, [])
    (tmp_path / "b.jpg").unlink()
    (tmp_path / "a.PNG").unlink()
    with pytest.raises(UserError, match=r"no dataset found(.|\n)*a folder that contains photos"):
        find_photos(tmp_path)
    assert find_photos(tmp_path, "photos") == (expected[2:], [])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="contains no photos"):
        find_photos(tmp_path / "empty", "photos")
    with pytest.raises(UserError, match="no such folder"):
        find_photos(tmp_path / "absent", "photos")
    with pytest.raises(UserError, match="unknown kind of data 'pictures': expected photos, auto"):
        find_photos(tmp_path, "pictures")


def test_of_a_data_folder_the_photos_of_its_lists_are_meant(course_folder):
    images = course_folder / "flickr8k-resised"
    (images / "dev_1.jpg").unlink()
    (images / "unlisted.jpg").write_bytes(b"x")
    photos, problems = find_photos(course_folder)
    assert len(photos) == 11 and images / "unlisted.jpg" not in photos
    assert problems and all("dev_1.jpg" in problem.what for problem in problems)
    assert len(find_photos(images)[0]) == 12
    assert find_photos(images, "course")[0] == photos
