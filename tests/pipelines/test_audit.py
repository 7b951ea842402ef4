"""The leak audit on photos drawn here."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagetext.pipelines.audit import audit, audit_text, normalise
from imagetext.pipelines.duplicates import (
    hash_photos,
    near_duplicate_groups,
    near_duplicates,
    perceptual_hash,
)
from imagetext.pipelines.records import Record


def draw(path: Path, seed: int) -> Path:
    """A photo-like picture: a few random low frequencies in colour."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    coarse.resize((160, 120), Image.Resampling.BICUBIC).save(path, quality=92)
    return path


@pytest.fixture
def photos(tmp_path):
    return [draw(tmp_path / f"{index}.jpg", index) for index in range(5)]


def row(image, caption, label=None):
    return Record(image, (caption,), label)


def pair_of(records_by_split):
    return audit(records_by_split)["pairs"][0]


def test_a_resaved_smaller_copy_is_a_near_duplicate_and_other_photos_are_not(photos, tmp_path):
    copy = tmp_path / "copy.jpg"
    Image.open(photos[0]).resize((90, 70)).save(copy, quality=40)
    hashes, unreadable = hash_photos([*photos, copy])
    assert not unreadable
    assert [pair[:2] for pair in near_duplicates(hashes)] == [(photos[0], copy)]
    assert near_duplicate_groups(hashes) == [(photos[0], copy)]


def test_near_duplicates_equal_a_plain_double_loop():
    rng = np.random.default_rng(0)
    codes = [int(code) for code in rng.integers(0, 2**63, 30, dtype=np.uint64)]
    codes += [code ^ mask for code, mask in zip(codes, [0, 1, 0b111111, 0b1111111], strict=False)]
    hashes = {Path(f"{index}.jpg"): code for index, code in enumerate(codes)}
    paths = list(hashes)
    naive = {
        (a, b, (hashes[a] ^ hashes[b]).bit_count())
        for i, a in enumerate(paths)
        for b in paths[i + 1 :]
        if (hashes[a] ^ hashes[b]).bit_count() <= 6
    }
    assert set(near_duplicates(hashes)) == naive
    assert len(naive) == 3  # 7 bits apart is too far


def test_groups_join_chains():
    hashes = {Path("a"): 0, Path("lone"): 2**64 - 1, Path("b"): 0b11111, Path("c"): 0b1111111111}
    assert near_duplicate_groups(hashes) == [(Path("a"), Path("b"), Path("c"))]


def test_pictures_that_differ_only_in_colour_are_not_duplicates(tmp_path):
    paths = []
    for name, colour in (("red", (200, 0, 0)), ("green", (0, 102, 0))):
        paths.append(tmp_path / f"{name}.png")
        Image.new("RGB", (64, 64), colour).save(paths[-1])
    hashes, _ = hash_photos(paths)
    assert len(near_duplicates(hashes, confirm=False)) == 1
    assert near_duplicates(hashes) == []


def test_shared_photos_count_by_path_and_by_bytes(photos, tmp_path):
    moved = tmp_path / "other" / "renamed.jpg"
    moved.parent.mkdir()
    shutil.copy(photos[1], moved)
    pair = pair_of(
        {
            "dev": [row(photos[0], "a"), row(photos[0], "b"), row(photos[1], "c")],
            "test": [row(photos[0], "d"), row(moved, "e"), row(photos[2], "f")],
        }
    )
    shared = pair["images_shared"]
    assert (shared["count"], shared["same_path"], shared["same_bytes_other_path"]) == (2, 1, 1)
    assert shared["share"] == {"dev": 1.0, "test": pytest.approx(2 / 3)}
    assert pair["near_duplicate_images"]["count"] == 0  # identical files are not listed twice


def test_near_duplicates_across_splits_are_a_leak(photos, tmp_path):
    copy = tmp_path / "again.jpg"
    Image.open(photos[0]).save(copy, quality=50)
    audited = audit({"train": [row(photos[0], "a")], "test": [row(copy, "b")]})
    assert audited["pairs"][0]["images_shared"]["count"] == 0
    assert audited["pairs"][0]["near_duplicate_images"]["examples"][0][:2] == [
        photos[0].as_posix(),
        copy.as_posix(),
    ]
    assert "near-duplicate" in audited["verdict"]


def test_same_name_in_two_folders_is_not_the_same_photo(tmp_path):
    for folder in ("train", "test"):
        (tmp_path / folder).mkdir()
    one, other = draw(tmp_path / "train/1.jpg", 1), draw(tmp_path / "test/1.jpg", 2)
    pair = pair_of({"train": [row(one, "a")], "test": [row(other, "b")]})
    assert pair["images_shared"]["count"] == 0
    assert pair["same_name_other_file"] == {"count": 1, "examples": ["1.jpg"]}


def test_captions_are_compared_without_case_spaces_and_full_stop():
    assert normalise(" A  Dog\truns . ") == normalise("a dog runs") != normalise("a dog ran")


def test_label_flips_need_the_opposite_label_on_the_other_side(photos):
    dev = [
        row(photos[0], "Turns .", "match"),
        row(photos[0], "stays", "match"),
        row(photos[0], "only here", "match"),
    ]
    test = [row(photos[1], "turns", "no-match"), row(photos[1], "Stays", "match")]
    pair = pair_of({"dev": dev, "test": test})
    assert pair["captions_shared"]["examples"] == ["stays", "turns"]
    assert pair["label_flips"] == {"count": 1, "examples": ["turns"]}
    assert 'dev / test: "turns"' in audit_text(audit({"dev": dev, "test": test}))


def test_counts_inside_a_split(photos, tmp_path):
    twin = tmp_path / "twin.jpg"
    shutil.copy(photos[0], twin)
    split = audit(
        {
            "dev": [
                row(photos[0], "both", "match"),
                row(photos[0], "Both .", "no-match"),
                row(twin, "one", "no-match"),
            ]
        }
    )["splits"]["dev"]
    assert (split["rows"], split["images"], split["captions"]) == (3, 2, 2)
    assert (split["match"], split["no_match"]) == (1, 2)
    assert split["majority_label"] == "no-match"
    assert split["majority_share"] == pytest.approx(2 / 3)
    assert split["captions_with_both_labels"] == {"count": 1, "examples": ["both"]}
    assert split["repeated_rows"] == 1
    assert split["identical_images"]["count"] == 1


def test_captioned_records_have_captions_and_no_labels(photos):
    audited = audit(
        {
            "train": [Record(photos[0], ("a dog", "a cat", "a cow"))],
            "test": [Record(photos[1], ("A dog .", "a hen"))],
        }
    )
    assert audited["splits"]["train"]["captions"] == 3
    assert audited["splits"]["train"]["majority_share"] is None
    assert audited["pairs"][0]["captions_shared"]["examples"] == ["a dog"]
    assert audited["pairs"][0]["label_flips"]["count"] == 0
    assert audited["verdict"] == "no photo is in two splits"


def test_unreadable_photos_are_listed_and_are_not_one_photo(photos, tmp_path):
    for name in ("empty.jpg", "also_empty.jpg"):
        (tmp_path / name).touch()
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(photos[0].read_bytes()[:400])
    audited = audit(
        {
            "dev": [
                row(tmp_path / "empty.jpg", "a"),
                row(cut, "b"),
                row(tmp_path / "gone.jpg", "c"),
            ],
            "test": [row(tmp_path / "also_empty.jpg", "a"), row(tmp_path / "gone.jpg", "d")],
        }
    )
    why = {Path(e["image"]).name: e["why"] for e in audited["unreadable_images"]["examples"]}
    assert set(why) == {"empty.jpg", "also_empty.jpg", "cut.jpg", "gone.jpg"}
    assert why["gone.jpg"] == "no such file"
    assert audited["pairs"][0]["images_shared"]["count"] == 1  # gone.jpg, by its path


def test_hashes_at_hand_are_used(photos):
    far = dict.fromkeys(photos[:1], perceptual_hash(photos[0]) ^ (2**64 - 1))
    near = {**far, photos[1]: far[photos[0]]}
    records = {"dev": [row(photos[0], "a")], "test": [row(photos[1], "b")]}
    # The wrong hashes make candidates of two strangers; their colours still tell them apart.
    assert audit(records, hashes=near)["pairs"][0]["near_duplicate_images"]["count"] == 0
    assert near_duplicates(near, confirm=False) == [(photos[0], photos[1], 0)]


def test_text_shows_the_counts_and_the_verdict_and_the_dict_is_json(photos):
    audited = audit(
        {
            "dev": [row(photos[0], "a", "match"), row(photos[1], "b", "no-match")],
            "test": [row(photos[0], "c", "no-match"), row(photos[1], "d", "no-match")],
        }
    )
    text = audit_text(json.loads(json.dumps(audited)))
    assert text.endswith("Verdict: 2 photos are in both dev and test.")
    assert "100.0% no-match" in text
    assert "2 (100% of test)" in text
    assert audit_text(audit({"dev": []})).endswith("no photo is in two splits.")
