"""What `index check` finds, and damaged or malicious indexes."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagetext.errors import UserError
from imagetext.retrieval.index import check as check_module
from imagetext.retrieval.index.build import add, build, remove
from imagetext.retrieval.index.check import check
from imagetext.retrieval.index.reader import Index
from tests.retrieval.index.toy import Toy, listed, some_queries, write_photo, write_photos


@pytest.fixture
def index(tmp_path):
    photos = write_photos(tmp_path / "photos", range(12))
    build(Toy(), listed(photos), tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture
def photos(tmp_path, index):
    return tmp_path / "photos"


def test_missing_changed_and_corrupt_photos_are_distinguished(index, photos):
    actual = check(index)
    assert actual.problems == [] and actual.summary == "12 photos in 12 files: no problems"
    (photos / "0001.png").unlink()
    write_photo(photos / "0002.png", 99)
    whole = (photos / "0003.png").read_bytes()
    (photos / "0003.png").write_bytes(whole[: len(whole) // 2])
    (photos / "0004.png").write_bytes(b"")
    (photos / "0005.png").touch()  # another time, the same photo
    actual = check(index)
    reasons = {
        problem.file[-8:]: problem.what.split()[0].rstrip(":") for problem in actual.problems
    }
    assert reasons == {
        "0001.png": "missing",
        "0002.png": "changed",
        "0003.png": "corrupt",
        "0004.png": "corrupt",
    }
    assert actual.summary == "12 photos in 12 files: 1 missing, 1 changed, 2 corrupt"
    assert f"imagetext index add {index}" in actual.problems[1].remedy
    add(Toy(), {str(photos / "0002.png"): ()}, index)
    remove(index, [photos / f"000{number}.png" for number in (1, 3, 4)])
    assert check(index).problems == []


def test_every_file_of_the_index_is_checked(index):
    [segment] = (index / "segments").iterdir()
    for file in sorted(segment.iterdir()):
        content = file.read_bytes()
        if not content:
            continue
        damaged = bytearray(content)
        damaged[len(content) // 2] ^= 1
        for wrong in (bytes(damaged), content[:-2], None):
            file.unlink() if wrong is None else file.write_bytes(wrong)
            actual = check(index)
            assert actual.counts["damaged"] == len(actual.problems) == 1, (file.name, wrong)
            file.write_bytes(content)
    assert check(index).problems == []


@pytest.mark.parametrize("moment", ["read_manifest", "Segment", "_check_vectors"])
def test_a_concurrent_writer_does_not_look_like_damage(index, photos, monkeypatch, moment):
    """A writer switches to another version at various moments of the check."""
    look, changes = getattr(check_module, moment), [range(6)]

    def looked_and_changed(*given):
        if not changes:
            return look(*given)
        actual = look(*given) if moment == "read_manifest" else None
        kept = {str(photos / f"{n:04}.png"): () for n in changes.pop()}
        build(Toy(), kept, index)
        return actual or look(*given)

    monkeypatch.setattr(check_module, moment, looked_and_changed)
    actual = check(index)
    assert actual.problems == [] and not changes and actual.photos == 6


@pytest.mark.parametrize("name", ["vectors.f32", "digests.bin", "photos.jsonl", "segment.json"])
def test_truncated_and_missing_files_are_reported_when_opening(index, name):
    [segment] = (index / "segments").iterdir()
    content = (segment / name).read_bytes()
    (segment / name).write_bytes(content[:-2])
    with pytest.raises(UserError, match=rf"damaged: 000001/.*{name.split('.')[0]}.*build .* again"):
        Index.open(index)
    (segment / name).unlink()
    with pytest.raises(UserError, match=r"damaged: .*is missing; build the index again"):
        Index.open(index)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"width": 13},
        {"width": -12},
        {"width": "12"},
        {"version": None},
        {"parts": [{"name": "../../etc", "rows": 12, "dead": None}]},
        {"parts": [{"name": "000001", "rows": 12, "dead": "../dead-000001.i64"}]},
        {"parts": [{"name": "000001", "rows": 10**30, "dead": None}]},
        {"parts": [{"name": "000001", "rows": 11, "dead": None}]},
        {"parts": [{"name": "000009", "rows": 12, "dead": None}]},
        {"parts": 5},
        {"settings": {"kind": "pickle"}},
        {"settings": {"code": "1"}},
    ],
)
def test_an_invalid_manifest_is_refused(index, change):
    manifest = json.loads((index / "index.json").read_text())
    (index / "index.json").write_text(json.dumps(manifest | change))
    with pytest.raises(UserError, match=r"build the index again"):
        Index.open(index)
    for junk in ("", "[]", "{}", "\x00", "null"):
        (index / "index.json").write_text(junk)
        with pytest.raises(UserError, match=r"damaged: index\.json"):
            Index.open(index)


def test_invalid_lines_and_offsets_are_refused(index):
    [segment] = (index / "segments").iterdir()
    size = (segment / "offsets.u64").stat().st_size
    for number in (0, 2**63, 2**64 - 1):
        np.full(size // 8, number, np.uint64).tofile(segment / "offsets.u64")
        with pytest.raises(UserError, match=r"damaged: 000001/photos\.jsonl"):
            Index.open(index).search(some_queries(1))


def test_removed_rows_must_exist(index, photos):
    remove(index, [photos / "0001.png"])
    [segment] = (index / "segments").iterdir()
    [dead] = segment.glob("dead-*")
    np.array([-1], np.int64).tofile(dead)
    with pytest.raises(UserError, match="names rows that do not exist"):
        Index.open(index)


def test_a_path_to_another_file_returns_nothing(index, photos, tmp_path):
    """Whatever path an index names, only a file with the photo's hash is returned."""
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    hit = Index.open(index).search(some_queries(1), 1)[0][0]
    [segment] = (index / "segments").iterdir()
    lines = (segment / "photos.jsonl").read_bytes()
    end = f"photos/{hit.path[-8:]}".encode()
    place = lines.index(end)
    assert len(end) == len("secret.txt") + 5
    swapped = lines[:place] + b"./././" + b"secret.txt"[:9] + lines[place + len(end) :]
    assert len(swapped) == len(lines)
    (segment / "photos.jsonl").write_bytes(swapped)
    shutil.copy(secret, tmp_path / "secret.tx")
    with Index.open(index) as opened:
        [[led]] = opened.search(some_queries(1), 1)
        assert led.id == hit.id and Path(led.path).read_text() == "secret"
        with pytest.raises(UserError, match="changed or removed since it was indexed"):
            opened.photo_bytes(hit.id)


@pytest.mark.parametrize(
    "id", ["", "../../etc/passwd", "0" * 32, "0" * 31, "Z" * 32, "0" * 64, "\n", "é" * 32]
)
def test_invalid_ids_find_nothing(index, id):
    with Index.open(index) as opened:
        for ask in (opened.photo_bytes, opened.vector):
            with pytest.raises(KeyError):
                ask(id)


def test_a_photo_that_changed_is_served_from_its_copy(index, photos, tmp_path):
    copy = shutil.copy(photos / "0001.png", tmp_path / "copy.png")
    add(Toy(), {str(copy): ()}, index)
    content = (photos / "0001.png").read_bytes()
    name = hashlib.sha256(content).hexdigest()[:32]
    write_photo(photos / "0001.png", 99)
    assert Index.open(index).photo_bytes(name) == content
    Image.open(copy).load()
