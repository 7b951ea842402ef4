"""Building, adding and removing, against a naive twin and against a new build."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagetext.errors import DataError, UserError
from imagetext.pipelines.feature_meta import FORMAT
from imagetext.pipelines.feature_store import PLAIN, FeatureStore
from imagetext.retrieval.index import edits, encoding
from imagetext.retrieval.index.build import add, build, remove
from imagetext.retrieval.index.edits import choose_merge
from imagetext.retrieval.index.encoding import FeatureCache
from imagetext.retrieval.index.listing import list_photos
from imagetext.retrieval.index.reader import Index
from tests.retrieval.index.toy import (
    Toy,
    contents,
    listed,
    said,
    some_queries,
    write_photo,
    write_photos,
)


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos", range(40))


def test_results_equal_a_naive_twin(photos, tmp_path):
    done = build(Toy(), listed(photos), tmp_path / "index", run="runs/toy")
    assert (done.added, done.removed, done.bad, done.meta["photos"]) == (40, 0, [], 40)
    paths = sorted(photos.glob("*.png"))
    vectors = Toy().encode_photo_bytes([path.read_bytes() for path in paths])
    queries = some_queries()
    with Index.open(tmp_path / "index") as index:
        assert index.meta["run"] == "runs/toy" and index.meta["kind"] == "exact"
        for query, hits in zip(queries, index.search(queries, top=5), strict=True):
            cosines = vectors @ query / np.linalg.norm(query)
            order = np.argsort(-cosines)[:5]
            assert [hit.path for hit in hits] == [str(paths[place]) for place in order]
            np.testing.assert_allclose([h.score for h in hits], cosines[order], atol=1e-6)
            hit = hits[0]
            content = paths[order[0]].read_bytes()
            assert hit.id == hashlib.sha256(content).hexdigest()[:32]
            assert index.photo_bytes(hit.id) == content
            np.testing.assert_allclose(index.vector(hit.id), vectors[order[0]], atol=1e-6)
        assert len(index.search(queries[:1], top=100)[0]) == 40


def test_identical_files_are_one_photo_with_all_its_paths_and_captions(tmp_path):
    photos = write_photos(tmp_path / "photos", range(5))
    (photos / "deeper").mkdir()
    shutil.copy(photos / "0002.png", photos / "deeper" / "again.png")
    given = {path: (f"a photo called {path[-8:]}",) for path in listed(photos)}
    encoder = Toy()
    done = build(encoder, given, tmp_path / "index")
    assert encoder.encoded == done.added == done.meta["photos"] == 5
    [hits] = Index.open(tmp_path / "index").search(
        Toy().encode_photo_bytes([(photos / "0002.png").read_bytes()])
    )
    assert len(hits) == 5
    assert hits[0].paths == (str(photos / "0002.png"), str(photos / "deeper" / "again.png"))
    assert hits[0].captions == ("a photo called 0002.png", "a photo called gain.png")


def test_random_changes_equal_a_new_build(photos, tmp_path):
    """Fifteen random steps, each compared with an index built from scratch."""
    rng = np.random.default_rng(0)
    every = list(listed(photos))
    copies = {}
    for number in range(0, 40, 4):  # files of the same bytes under other names
        copy = tmp_path / "copies" / f"{number}.png"
        copy.parent.mkdir(exist_ok=True)
        copies[str(copy)] = shutil.copy(photos / f"{number:04}.png", copy)
    every += copies
    there, index, encoder = dict.fromkeys(every[:10], ()), tmp_path / "index", Toy()
    build(encoder, there, index)
    for step in range(15):
        chosen = [every[place] for place in rng.choice(len(every), 6, replace=False)]
        if step % 2:
            gone = [path for path in chosen if path in there]
            if gone:
                remove(index, gone)
            there = {path: texts for path, texts in there.items() if path not in gone}
        else:
            add(encoder, dict.fromkeys(chosen, ()), index)
            there |= dict.fromkeys(chosen, ())
        anew = tmp_path / f"anew-{step}"
        build(Toy(), there, anew)
        assert said(index, some_queries(), 50) == said(anew, some_queries(), 50)
        with Index.open(index) as opened:
            assert sorted(p for _, entry in opened.entries() for p in entry.paths) == sorted(there)
    assert encoder.encoded < 10 + 15 * 6


def test_unchanged_files_are_not_read(photos, tmp_path, monkeypatch):
    index, encoder = tmp_path / "index", Toy()
    build(encoder, listed(photos), index)
    before = contents(index)
    monkeypatch.setattr("imagetext.retrieval.index.encoding._read", None)
    done = add(encoder, listed(photos), index)
    assert (done.added, done.removed, encoder.encoded) == (0, 0, 40)
    assert contents(index) == before


def test_a_changed_photo_replaces_the_old_one_and_captions_are_added(photos, tmp_path):
    index, encoder = tmp_path / "index", Toy()
    build(encoder, listed(photos), index)
    old = (photos / "0003.png").read_bytes()
    write_photo(photos / "0003.png", 99)
    given = listed(photos) | {str(photos / "0004.png"): ("blue",)}
    done = add(encoder, given, index)
    assert (done.added, done.removed, done.meta["photos"], encoder.encoded) == (1, 1, 40, 41)
    with Index.open(index) as opened:
        with pytest.raises(KeyError):
            opened.vector(hashlib.sha256(old).hexdigest()[:32])
        hits = opened.search(encoder.encode_photo_bytes([(photos / "0003.png").read_bytes()]), 1)[0]
        assert hits[0].path.endswith("0003.png") and hits[0].score > 0.999
        [four] = [one for _, one in opened.entries() if one.paths[0].endswith("0004.png")]
        assert four.captions == ("blue",)


def test_moved_photos_are_added_without_encoding(photos, tmp_path):
    index, encoder = tmp_path / "index", Toy()
    build(encoder, listed(photos), index)
    moved = photos.rename(tmp_path / "elsewhere")
    add(encoder, listed(moved), index)
    done = remove(index, [photos])
    assert encoder.encoded == done.meta["photos"] == 40 and done.removed == 0
    assert {h.path for h in Index.open(index).search(some_queries(1), 40)[0]} == set(listed(moved))


def test_everything_can_be_removed_and_something_added_again(photos, tmp_path):
    index, encoder = tmp_path / "index", Toy()
    build(encoder, listed(photos), index)
    assert remove(index, [photos]).removed == 40
    assert said(index, some_queries()) == [[]] * 9
    add(encoder, listed(photos), index)
    assert len(Index.open(index)) == 40


def test_segments_stay_few_and_removed_photos_leave_the_disk(tmp_path):
    index, encoder = tmp_path / "index", Toy()
    photos = write_photos(tmp_path / "photos", range(60))
    paths = list(listed(photos))
    build(encoder, dict.fromkeys(paths[:8], ()), index)
    for path in paths[8:]:
        add(encoder, {path: ()}, index)
        with Index.open(index) as opened:
            assert len(opened.segments) <= 7  # 1 + log2(60)
    remove(index, paths[:30])
    with Index.open(index) as opened:
        assert len(opened) == 30
        assert sum(segment.rows for segment in opened.segments) <= 40
        named = {segment.folder.name for segment in opened.segments}
    assert {path.name for path in (index / "segments").iterdir()} == named
    assert encoder.encoded == 60


@pytest.mark.parametrize(
    "sizes, chosen",
    [
        ([], []),
        ([(9, 9)], []),
        ([(9, 6)], [0]),
        ([(100, 100), (1, 1)], []),
        ([(100, 100), (1, 1), (1, 1)], [1, 2]),
        ([(2, 2), (100, 100), (2, 2)], [0, 2]),
        ([(100, 100), (60, 60), (40, 40)], [0, 1, 2]),
        ([(100, 70), (1, 1)], [0]),
    ],
)
def test_when_segments_are_merged(sizes, chosen):
    assert choose_merge(sizes) == chosen


def test_unreadable_photos_are_left_out_and_reported(photos, tmp_path):
    (photos / "0001.png").write_bytes(b"no photo")
    (photos / "0002.png").write_bytes(b"")
    given = listed(photos) | {str(tmp_path / "absent.png"): ()}
    os.mkfifo(tmp_path / "pipe.png")
    given[str(tmp_path / "pipe.png")] = ()
    done = build(Toy(), given, tmp_path / "index")
    reasons = {Path(problem.file).name: problem.what for problem in done.bad}
    assert reasons == {
        "absent.png": "No such file or directory",
        "pipe.png": "is not a file",
        "0001.png": "not a photo",
        "0002.png": "not a photo",
    }
    assert done.meta["photos"] == 38 and "4 files left out" in done.summary
    with pytest.raises(DataError, match=r"no photo could be read.*\n.*absent.png: No such file"):
        build(Toy(), {str(tmp_path / "absent.png"): ()}, tmp_path / "other")


def test_stored_features_are_used_instead_of_photos(photos, tmp_path):
    meta = {"format": FORMAT, "encoder": "toy", "weights": "0", "size": 2, "preprocessing": 1}
    meta |= {"output": "grid", "shape": [2, 2, 3], "dtype": "float16", "precision": "float32"}
    files = sorted(photos.glob("*.png"))
    with FeatureStore.create(tmp_path / "features", meta) as store:
        digests = [hashlib.sha256(path.read_bytes()).digest() for path in files[:30]]
        pixels = np.random.default_rng(1).integers(0, 256, (30, 2, 2, 3))
        store.append(digests, [PLAIN] * 30, pixels.astype(np.float32))
    encoder = Toy()
    stored = FeatureCache([FeatureStore.open(tmp_path / "features")])
    build(encoder, listed(photos), tmp_path / "index", cache=stored)
    assert encoder.encoded == 10
    with Index.open(tmp_path / "index") as index:
        for number in (0, 17):
            actual = index.vector(digests[number].hex()[:32])
            np.testing.assert_allclose(
                actual, encoder.encode_features(pixels[number][None])[0], 1e-5
            )
    both = FeatureCache([stored.stores[0]] * 2).fetch(digests[:3])
    np.testing.assert_array_equal(both, np.tile(pixels[:3], 2))


def test_stored_features_of_rotated_photos_are_not_used(photos, tmp_path):
    """Stored features are of the photo as decoded; an index shows it upright."""
    path, exif = sorted(photos.glob("*.png"))[0], Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)

    class All:
        shape = (2, 2, 3)

        def missing(self, digests):
            return []

        def rows(self, digests):
            return digests

        def fetch(self, digests):
            return np.ones((len(digests), 2, 2, 3))

    encoder = Toy()
    build(encoder, listed(photos), tmp_path / "index", cache=FeatureCache([All()]))
    assert encoder.encoded == 1


def test_a_chunk_holds_no_more_than_its_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "_CHUNK_BYTES", 100)
    monkeypatch.setattr(encoding, "_CHUNK", 3)
    sizes, paths = (60, 40, 1, 150, 10, 10, 10, 10), []
    for number, size in enumerate(sizes):
        (tmp_path / f"{number}").write_bytes(bytes(size))
        paths.append(str(tmp_path / f"{number}"))
    paths.append(str(tmp_path / "gone"))
    chunks = [[Path(path).name for path in chunk] for chunk in encoding._chunks(paths)]
    assert chunks == [["0", "1"], ["2"], ["3"], ["4", "5", "6"], ["7", "gone"]]
    assert list(encoding._chunks([])) == []


def test_a_build_without_readable_photos_leaves_nothing_behind(tmp_path):
    (tmp_path / "no.jpg").write_text("no photo")
    for name in ("absent.jpg", "no.jpg"):
        with pytest.raises(DataError, match="no photo could be read"):
            build(Toy(), {str(tmp_path / name): ()}, tmp_path / "index")
        assert not (tmp_path / "index" / "building").exists()
        with pytest.raises(UserError, match="not an index"):
            Index.open(tmp_path / "index")


def test_captions_come_from_the_lists_of_data(course_folder):
    photos = list_photos(course_folder / "flickr8k-resised")
    assert len(photos) == 12
    assert photos[str(course_folder / "flickr8k-resised" / "dev_1.jpg")] == tuple(
        f"caption {number} of Dev photo 1 ." for number in range(3)
    )
    shutil.copy(next(iter(photos)), course_folder / "flickr8k-resised" / "unlisted.jpg")
    for folder in (course_folder, course_folder / "flickr8k-resised"):
        actual = list_photos(folder)
        assert actual[str(course_folder / "flickr8k-resised" / "unlisted.jpg")] == ()
        assert len(actual) == 13 and actual.items() > photos.items()
    [(path, captions)] = list_photos([course_folder / "flickr8k-resised" / "dev_1.jpg"]).items()
    assert path.endswith("dev_1.jpg") and captions == ()


def test_file_names_may_have_any_bytes(tmp_path):
    name = os.fsdecode(b'a "quoted"\n\xff\xe4 name.png')
    path = write_photo(tmp_path / "photos" / "plain.png", 1)
    path = path.rename(path.with_name(name))
    build(Toy(), listed(path.parent), tmp_path / "index")
    [[hit]] = Index.open(tmp_path / "index").search(some_queries(1))
    assert hit.path == str(path)
    assert remove(tmp_path / "index", [hit.path]).removed == 1


def test_mistakes_are_reported_with_a_remedy(photos, tmp_path):
    index = tmp_path / "index"
    with pytest.raises(UserError, match="not an index; to make one: imagetext index build"):
        add(Toy(), listed(photos), index)
    with pytest.raises(UserError, match="not an index"):
        remove(index, [photos])
    assert not index.exists()
    with pytest.raises(UserError, match="no photos to index"):
        build(Toy(), {}, index)
    build(Toy("a" * 64), listed(photos), index, run="runs/a")
    before = contents(index)
    with pytest.raises(UserError, match=r"another model: expected aaaaaaaaaaaa, got b+; .*runs/a"):
        add(Toy("b" * 64), listed(photos), index)
    with pytest.raises(UserError, match=r"not in .*, neither as a photo nor as a folder"):
        remove(index, [photos / "nowhere.png"])
    assert contents(index) == before
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        build(Toy(), listed(photos), tmp_path / "file" / "index")


def test_a_full_disk_is_reported_and_the_old_version_stays(photos, tmp_path, monkeypatch):
    index = tmp_path / "index"
    build(Toy(), listed(photos), index)
    before, asked = contents(index), said(index, some_queries())
    write_photo(photos / "new.png", 77)

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("imagetext.retrieval.index.segment.seal", full)
    with pytest.raises(UserError, match="the disk is full"):
        add(Toy(), listed(photos), index)
    assert said(index, some_queries()) == asked
    monkeypatch.undo()
    assert contents(index).items() >= before.items()
    encoder = Toy()
    assert add(encoder, listed(photos), index).added == 1
    assert encoder.encoded == 0  # it was noted before the disk was full
    assert len(Index.open(index)) == 41


def test_another_models_unfinished_work_is_not_mixed_in(photos, tmp_path):
    index = tmp_path / "index"

    class Stops(Toy):
        def encode_texts(self, texts):
            raise KeyboardInterrupt

    given = dict.fromkeys(listed(photos), ("red",))
    with pytest.raises(KeyboardInterrupt):
        build(Stops("first"), given, index)
    with pytest.raises(UserError, match="index is not finished; run the same"):
        Index.open(index)
    with pytest.raises(UserError, match=r"unfinished work of another model.*delete .*building"):
        build(Toy("second"), given, index)
    encoder = Toy("first")
    build(encoder, given, index)
    assert encoder.encoded == 0 and len(Index.open(index)) == 40


def test_a_second_build_replaces_the_first_even_by_another_model(photos, tmp_path):
    index = tmp_path / "index"
    build(Toy("first"), listed(photos), index)
    write_photos(photos, [50])
    (photos / "0000.png").unlink()
    done = build(Toy("second"), listed(photos), index)
    assert (done.meta["photos"], done.meta["version"], done.meta["encoder"]) == (40, 2, "second")
    assert [path.name for path in (index / "segments").iterdir()] == ["000002"]
    manifest = json.loads((index / "index.json").read_text())
    assert manifest["settings"] == {"kind": "auto", "exact_bytes": 1 << 28, "recall": 0.95}


def test_an_interrupted_merge_loses_nothing(photos, tmp_path, monkeypatch):
    index, paths = tmp_path / "index", list(listed(photos))
    build(Toy(), dict.fromkeys(paths[:4], ()), index)
    monkeypatch.setattr(edits, "choose_merge", lambda sizes: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        add(Toy(), dict.fromkeys(paths[4:8], ()), index)
    assert len(Index.open(index)) == 8
    monkeypatch.undo()
    add(Toy(), {}, index)
    assert len(Index.open(index)) == 8 and len(Index.open(index).segments) == 1
