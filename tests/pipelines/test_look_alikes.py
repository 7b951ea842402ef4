"""Photos that an encoder sees alike, and where its features are found."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from imagetext.pipelines import look_alikes
from imagetext.pipelines.audit import audit, audit_text
from imagetext.pipelines.feature_store import FLIPPED, PLAIN, FeatureStore
from imagetext.pipelines.features import cached_store, photo_digests
from imagetext.pipelines.look_alikes import ALIKE, NEAREST, MeanFeatures
from imagetext.pipelines.records import Record
from tests.pipelines.test_audit import draw
from tests.pipelines.test_feature_store import META, SHAPE


def hexadecimal(number: int) -> str:
    return hashlib.sha256(b"%d" % number).hexdigest()


def filled(folder: Path, digests: list[bytes], array: np.ndarray) -> FeatureStore:
    with FeatureStore.create(folder, META) as store:
        store.append(digests, [PLAIN] * len(digests), array)
    return FeatureStore.open(folder)


@pytest.fixture
def grids() -> np.ndarray:
    """Of 30 photos, of which 20 to 23 are nearly 0 to 3."""
    rng = np.random.default_rng(0)
    found = rng.standard_normal((30, *SHAPE))
    found[20:24] = found[:4] * 3 + rng.normal(0, 0.1, (4, *SHAPE))
    return found.astype(np.float16)


@pytest.mark.parametrize("block", [1, 7, 1024])
def test_alike_pairs_equal_a_plain_double_loop(tmp_path, monkeypatch, grids, block):
    monkeypatch.setattr(look_alikes, "_BLOCK", block)
    digests = [hexadecimal(number) for number in range(30)]
    order = np.random.default_rng(1).permutation(30)
    store = filled(tmp_path, [bytes.fromhex(digests[n]) for n in order], grids[order])
    one, other = digests[:18], digests[16:]  # 16 and 17 are on both sides
    unknown = [hexadecimal(99), "photos/unreadable.jpg"]
    found = MeanFeatures.of(store, [*digests, unknown[0]]).across(
        [*one, *unknown], [*unknown, *other]
    )
    mean = grids.astype(np.float64).mean(axis=(1, 2))
    cosine = {
        (a, b): mean[i] @ mean[j] / np.linalg.norm(mean[i]) / np.linalg.norm(mean[j])
        for i, a in enumerate(digests)
        for j, b in enumerate(digests)
        if a in one and b in other and not {a, b} <= {*one} & {*other}
    }
    assert found["count"] == sum(value >= ALIKE for value in cosine.values()) >= 4
    nearest = sorted(cosine, key=cosine.get, reverse=True)[:NEAREST]
    assert [pair[1:] for pair in found["nearest"]] == nearest
    for value, *pair in found["nearest"]:
        assert value == pytest.approx(cosine[tuple(pair)], abs=1e-3)


def test_few_photos_and_none(tmp_path, grids):
    digests = [hexadecimal(number) for number in range(2)]
    seen = MeanFeatures.of(filled(tmp_path, list(map(bytes.fromhex, digests)), grids[:2]), digests)
    assert len(seen.across(digests[:1], digests[1:])["nearest"]) == 1
    for one, other in (([], digests), (digests, []), (digests, digests)):
        assert seen.across(one, other) == {"count": 0, "nearest": []}


@pytest.fixture
def splits(tmp_path) -> dict[str, list[Record]]:
    paths = [draw(tmp_path / f"{number}.jpg", number) for number in range(5)]
    records = [Record(path, (f"caption {path.stem}",)) for path in paths]
    return {"train": records[:3], "test": records[3:]}


def digests_of(splits) -> list[bytes]:
    return photo_digests([record.image for rows in splits.values() for record in rows], [])


def test_the_audit_shows_the_nearest_pairs_across_and_calls_none_a_leak(splits, tmp_path, grids):
    store = filled(tmp_path / "store", digests_of(splits)[1:], grids[[1, 4, 21, 5]])
    audited = audit(splits, store=store)
    assert audited["alike"] == {
        "encoder": "tiny",
        "cosine": 0.9,
        "photos": 5,
        "with_features": 4,
    }
    (pair,) = audited["pairs"]
    (one, other, cosine), *others = pair["alike_images"]["nearest"]
    assert (Path(one).name, Path(other).name) == ("1.jpg", "3.jpg") and cosine > 0.99
    assert (pair["alike_images"]["count"], len(others)) == (1, 3)
    assert audited["leaks"] == []
    text = audit_text(json.loads(json.dumps(audited)))
    assert "of tiny (available for 4 of 5 photos), similar pairs (cosine 0.9 or more)" in text
    assert f"train / test: 1\n    {cosine:.3f}  1.jpg  3.jpg\n" in text
    assert "alike" not in audit(splits) and "alike" not in audit_text(audit(splits))


def test_the_cache_is_searched_for_the_store_with_most_photos(splits, tmp_path, monkeypatch, grids):
    monkeypatch.setenv("IMAGETEXT_CACHE", str(tmp_path / "cache"))
    digests, stores = digests_of(splits), tmp_path / "cache" / "features"
    assert cached_store(digests) is None
    filled(stores / "others", [hashlib.sha256(b"other").digest()], grids[:1])
    (stores / "broken").mkdir()
    (stores / "broken" / "meta.json").write_text("{")
    assert cached_store(digests) is None
    filled(stores / "few", digests[:2], grids[:2])
    with FeatureStore.create(stores / "most", META) as store:
        store.append(digests[:3], [PLAIN] * 3, grids[:3])
    with FeatureStore.create(stores / "mirrored", META) as store:
        store.append(digests, [FLIPPED] * 5, grids[:5])
    assert cached_store(digests).folder.name == "most"
