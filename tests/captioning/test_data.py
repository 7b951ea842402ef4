"""Captions beside their photos: who is read as what, in which order, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from imagetext.captioning.augment import affine_maps, augment, recolour
from imagetext.captioning.config import CaptioningConfig, DataConfig, TextConfig
from imagetext.captioning.data import load, open_data
from imagetext.errors import DataError, UserError
from imagetext.pipelines.batches import EMPTY

ROWS = {
    "train": {
        "a.png": ["A red dog runs .", "A dog .", "a dog on the left"],
        "b.png": ["A blue cat sits on a mat ."],
        "c.png": ["two birds", "Two small birds fly"],
    },
    "dev": {"d.png": ["A green dog runs"]},
}


def write(folder, rows=ROWS) -> None:
    lines = ["image\tcaption\tsplit"]
    (folder / "images").mkdir()
    for split, photos in rows.items():
        for number, (name, captions) in enumerate(photos.items()):
            noise = np.random.default_rng(number).integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / "images" / name)
            lines += [f"{name}\t{caption}\t{split}" for caption in captions]
    (folder / "captions.tsv").write_text("\n".join(lines) + "\n")


def config(folder, minimum_count=1, **options) -> CaptioningConfig:
    data = {"root": str(folder), "image_encoders": [], "image_size": 16, "batch_size": 2}
    return CaptioningConfig(
        data=DataConfig(**(data | options)), text=TextConfig(minimum_count=minimum_count)
    )


@pytest.fixture
def data(tmp_path):
    write(tmp_path)
    return load(config(tmp_path))


def test_a_word_is_answered_where_it_is_not_yet_read(data):
    inputs, truth, weight = next(iter(data.batches("train")))
    say = data.vocabulary.tokens
    rows = [
        ([say[n] for n in read], [say[n] for n in answer], given)
        for photo in zip(inputs["texts"].numpy(), truth.numpy(), weight.numpy(), strict=True)
        for read, answer, given in zip(*photo, strict=True)
    ]
    read, answer, given = rows[0]
    assert read[:6] == ["startseq", "a", "red", "dog", "runs", ""]
    assert answer[:6] == ["a", "red", "dog", "runs", "endseq", ""]
    assert given.tolist() == [1] * 5 + [0] * (len(read) - 5)
    assert rows[4][0] == [""] * len(read) and not rows[4][2].any()  # b.png has one caption
    assert inputs["image"].shape == (2, 16, 16, 3)
    assert truth.shape[-1] == 8  # the longest of the batch, and its end


def test_an_epoch_sees_every_photo_once_in_an_order_of_its_own(tmp_path):
    write(tmp_path)
    data = load(config(tmp_path, batch_size=1))

    def photos(epoch):
        found = [inputs["image"].numpy() for inputs, *_ in data.batches("train", 0, epoch)]
        return [image.tobytes() for image in np.concatenate(found)]

    orders = [tuple(photos(epoch)) for epoch in range(6)]
    assert len(set(map(frozenset, orders))) == 1 and len(set(orders[0])) == 3
    assert len(set(orders)) > 1
    assert orders[0] == tuple(photos(0))


def test_a_resumed_epoch_leaves_out_what_it_has_seen(data):
    whole, rest = (list(data.batches("train", 0, 3, skip)) for skip in (0, 1))
    assert len(rest) == len(whole) - 1 == data.steps() - 1
    np.testing.assert_array_equal(whole[1][1], rest[0][1])


def test_the_vocabulary_is_of_training_captions_only(data):
    assert "green" not in data.vocabulary.tokens
    _, truth, _ = next(iter(data.batches("dev")))
    said = [data.vocabulary.tokens[n] for n in truth.numpy()[0, 0]]
    assert said == ["a", "<unk>", "dog", "runs", "endseq"]


def test_a_caption_that_is_cut_is_taught_no_end(tmp_path):
    write(tmp_path)
    data = load(replace(config(tmp_path), text=TextConfig(minimum_count=1, longest=2)))
    numbers = [data.captions.index(text) for text in ("A dog .", "A red dog runs .")]
    read, answered = data.inputs_and_targets(np.array([*numbers, EMPTY]))
    say = np.array(data.vocabulary.tokens)
    assert say[read].tolist() == [["startseq", "a", "dog"], ["startseq", "a", "red"], [""] * 3]
    assert say[answered].tolist() == [["a", "dog", "endseq"], ["a", "red", "dog"], [""] * 3]


def test_photos_with_many_captions_become_several_groups(tmp_path):
    write(tmp_path)
    found = load(config(tmp_path, max_captions=2))
    assert found.groups["train"].caption.shape == (4, 2)
    assert found.groups["train"].photo.tolist() == [0, 0, 1, 2]
    numbers, captions = found.photos_of("train")
    assert numbers.tolist() == [0, 1, 2]
    assert captions == [list(texts) for texts in ROWS["train"].values()]


def test_photos_whose_captions_know_left_from_right_are_not_mirrored(data):
    assert data.may_flip.tolist() == [False, True, True, True]


def test_matches_of_labelled_rows_are_captions(course_folder):
    found = load(config(course_folder))
    assert [len(texts) for texts in found.photos_of("train")[1]] == [3] * 6
    assert not any("of dev" in text.lower() for text in found.photos_of("train")[1][0])


def test_captions_beside_lists_of_pairs_are_taken(course_folder):
    names = [path.name for path in sorted((course_folder / "flickr8k-resised").iterdir())]
    tokens = [f"{name}#0\ta caption of {name}" for name in names]
    (course_folder / "Flickr8k.token.txt").write_text("\n".join(tokens) + "\n")
    for split in ("train", "dev", "test"):
        own = [name for name in names if name.startswith(split)]
        (course_folder / f"Flickr_8k.{split}Images.txt").write_text("\n".join(own) + "\n")
    assert open_data(DataConfig(root=str(course_folder))).kind == "Flickr8k"
    assert open_data(DataConfig(root=str(course_folder), kind="course")).labelled


def test_a_caption_of_which_nothing_is_left_is_named(tmp_path):
    write(tmp_path, {"train": {"a.png": ["A dog", "42 !"]}, "dev": ROWS["dev"]})
    with pytest.raises(DataError, match=r"captions\.tsv:3: the caption '42 !' has no word left"):
        load(config(tmp_path))
    found = load(config(tmp_path, skip_bad=True))
    assert found.photos_of("train")[1] == [["A dog"]] and found.left_out["train"] == 1


def test_the_line_of_a_caption_of_which_nothing_is_left_is_that_of_the_caption(tmp_path):
    """Not of the photo's first row, nor of the photo in the list of its split."""
    write(tmp_path, {"train": {"a.png": ["A dog", "A cat", "42 !"]}, "dev": ROWS["dev"]})
    with pytest.raises(DataError, match=r"captions\.tsv:4: the caption '42 !' has no word left"):
        load(config(tmp_path))
    (tmp_path / "captions.tsv").unlink()
    rows = ["d.png#0\tA bird", "a.png#0\tA dog", "a.png#1\t3 .", "a.png#2\tA cat", "a.png#3\t3 ."]
    (tmp_path / "Flickr8k.token.txt").write_text("\n".join(rows) + "\n")
    for split, name in (("train", "a.png"), ("dev", "d.png"), ("test", "d.png")):
        (tmp_path / f"Flickr_8k.{split}Images.txt").write_text(f"{name}\n")
    with pytest.raises(DataError, match=r"text\.alphabetic") as told:
        load(config(tmp_path))
    tokens = str(tmp_path / "Flickr8k.token.txt")
    assert [(p.file, p.line) for p in told.value.problems] == [(tokens, 3), (tokens, 5)]
    found = load(config(tmp_path, skip_bad=True))
    assert found.photos_of("train")[1] == [["A dog", "A cat"]] and found.left_out["train"] == 2


def test_a_photo_that_is_no_photo_is_named(tmp_path):
    write(tmp_path)
    (tmp_path / "images" / "b.png").write_text("no photo")
    with pytest.raises(DataError, match=r"b\.png"):
        load(config(tmp_path))
    found = load(config(tmp_path, skip_bad=True))
    assert len(found.groups["train"]) == 2


def test_a_split_without_captions_is_told(tmp_path):
    write(tmp_path)
    with pytest.raises(UserError, match="the test split is empty"):
        load(config(tmp_path), splits=("test",))


def test_what_decides_the_data_decides_the_signature(tmp_path):
    write(tmp_path)
    first = load(config(tmp_path)).signature
    assert first == load(config(tmp_path)).signature
    assert first != load(config(tmp_path, minimum_count=2)).signature
    assert first != load(config(tmp_path, batch_size=3)).signature


def test_augmented_photos_differ_by_seed_alone():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    free = np.ones(3, bool)
    one, again, other = (augment(pixels, free, (0, epoch, 0)) for epoch in (0, 0, 1))
    assert one.shape == pixels.shape and one.dtype == np.uint8
    np.testing.assert_array_equal(one, again)
    assert (one != other).mean() > 0.5


def test_mirroring_turns_left_into_right_and_is_forbidden_where_told():
    """The corner of the old photo that a new one's left edge shows, over many draws."""
    allowed = affine_maps(np.random.default_rng(0), np.ones(400, bool), 16)
    forbidden = affine_maps(np.random.default_rng(0), np.zeros(400, bool), 16)
    assert 0.4 < (allowed[:, 0] < 0).mean() < 0.6
    assert not (forbidden[:, 0] < 0).any()
    # No map leaves the photo by more than a turn of 15 degrees can.
    for x, y in ((0, 0), (15, 0), (0, 15), (15, 15)):
        across = allowed[:, 0] * x + allowed[:, 1] * y + allowed[:, 2]
        assert across.min() > -4 and across.max() < 19


def test_the_identity_of_the_map_keeps_a_photo(monkeypatch):
    monkeypatch.setattr("imagetext.captioning.augment.AREA", 1.0)
    monkeypatch.setattr("imagetext.captioning.augment.ASPECT", (1.0, 1.0))
    monkeypatch.setattr("imagetext.captioning.augment.ROTATION", 0.0)
    monkeypatch.setattr("imagetext.captioning.augment.COLOUR", 0.0)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    np.testing.assert_array_equal(augment(pixels, np.zeros(4, bool), (0,)), pixels)
    seen = augment(pixels, np.ones(4, bool), (1,))
    for new, old in zip(seen, pixels, strict=True):
        assert np.array_equal(new, old) or np.array_equal(new, old[:, ::-1])
    assert not np.array_equal(seen, pixels)


def test_recolouring_grey_stays_grey():
    grey = np.full((2, 4, 4, 3), 100, np.float32)
    found = recolour(np.random.default_rng(0), grey)
    np.testing.assert_allclose(found, found[..., :1] * np.ones(3), rtol=1e-5)
