"""Reading captioned photos: inputs and targets, order, groups, augmentation, and bad data."""

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


def test_targets_are_the_inputs_shifted_by_one_word(data):
    inputs, targets, weight = next(iter(data.batches("train")))
    tokens = data.vocabulary.tokens
    rows = [
        ([tokens[id] for id in text], [tokens[id] for id in target], mask)
        for photo in zip(inputs["texts"].numpy(), targets.numpy(), weight.numpy(), strict=True)
        for text, target, mask in zip(*photo, strict=True)
    ]
    text, target, mask = rows[0]
    assert text[:6] == ["startseq", "a", "red", "dog", "runs", ""]
    assert target[:6] == ["a", "red", "dog", "runs", "endseq", ""]
    assert mask.tolist() == [1] * 5 + [0] * (len(text) - 5)
    assert rows[4][0] == [""] * len(text) and not rows[4][2].any()  # b.png has one caption
    assert inputs["image"].shape == (2, 16, 16, 3)
    assert targets.shape[-1] == 8  # the longest caption of the batch with its end


def test_each_epoch_has_every_photo_once_in_another_order(tmp_path):
    write(tmp_path)
    data = load(config(tmp_path, batch_size=1))

    def photos(epoch):
        images = [inputs["image"].numpy() for inputs, *_ in data.batches("train", 0, epoch)]
        return [image.tobytes() for image in np.concatenate(images)]

    orders = [tuple(photos(epoch)) for epoch in range(6)]
    assert len(set(map(frozenset, orders))) == 1 and len(set(orders[0])) == 3
    assert len(set(orders)) > 1
    assert orders[0] == tuple(photos(0))


def test_resumed_epoch_skips_batches(data):
    whole, rest = (list(data.batches("train", 0, 3, skip)) for skip in (0, 1))
    assert len(rest) == len(whole) - 1 == data.steps() - 1
    np.testing.assert_array_equal(whole[1][1], rest[0][1])


def test_vocabulary_has_words_of_training_captions_only(data):
    assert "green" not in data.vocabulary.tokens
    _, targets, _ = next(iter(data.batches("dev")))
    words = [data.vocabulary.tokens[id] for id in targets.numpy()[0, 0]]
    assert words == ["a", "<unk>", "dog", "runs", "endseq"]


def test_truncated_caption_has_no_end(tmp_path):
    write(tmp_path)
    data = load(replace(config(tmp_path), text=TextConfig(minimum_count=1, longest=2)))
    numbers = [data.captions.index(text) for text in ("A dog .", "A red dog runs .")]
    texts, targets = data.inputs_and_targets(np.array([*numbers, EMPTY]))
    tokens = np.array(data.vocabulary.tokens)
    assert tokens[texts].tolist() == [["startseq", "a", "dog"], ["startseq", "a", "red"], [""] * 3]
    assert tokens[targets].tolist() == [["a", "dog", "endseq"], ["a", "red", "dog"], [""] * 3]


def test_photos_with_many_captions_become_several_groups(tmp_path):
    write(tmp_path)
    data = load(config(tmp_path, max_captions=2))
    assert data.groups["train"].caption.shape == (4, 2)
    assert data.groups["train"].photo.tolist() == [0, 0, 1, 2]
    numbers, captions = data.photos_of("train")
    assert numbers.tolist() == [0, 1, 2]
    assert captions == [list(texts) for texts in ROWS["train"].values()]


def test_photos_whose_captions_mention_left_or_right_are_not_mirrored(data):
    assert data.may_flip.tolist() == [False, True, True, True]


def test_matches_of_labelled_rows_are_captions(course_folder):
    data = load(config(course_folder))
    assert [len(texts) for texts in data.photos_of("train")[1]] == [3] * 6
    assert not any("of dev" in text.lower() for text in data.photos_of("train")[1][0])


def test_captions_are_preferred_to_lists_of_pairs(course_folder):
    names = [path.name for path in sorted((course_folder / "flickr8k-resised").iterdir())]
    tokens = [f"{name}#0\ta caption of {name}" for name in names]
    (course_folder / "Flickr8k.token.txt").write_text("\n".join(tokens) + "\n")
    for split in ("train", "dev", "test"):
        selected = [name for name in names if name.startswith(split)]
        (course_folder / f"Flickr_8k.{split}Images.txt").write_text("\n".join(selected) + "\n")
    assert open_data(DataConfig(root=str(course_folder))).kind == "Flickr8k"
    assert open_data(DataConfig(root=str(course_folder), kind="course")).labelled


def test_caption_without_words_is_reported(tmp_path):
    write(tmp_path, {"train": {"a.png": ["A dog", "42 !"]}, "dev": ROWS["dev"]})
    with pytest.raises(DataError, match=r"captions\.tsv:3: the caption '42 !' has no word left"):
        load(config(tmp_path))
    data = load(config(tmp_path, skip_bad=True))
    assert data.photos_of("train")[1] == [["A dog"]] and data.left_out["train"] == 1


def test_caption_without_words_is_reported_with_its_own_line(tmp_path):
    """Not with that of the photo's first row, or of the photo in the list of its split."""
    write(tmp_path, {"train": {"a.png": ["A dog", "A cat", "42 !"]}, "dev": ROWS["dev"]})
    with pytest.raises(DataError, match=r"captions\.tsv:4: the caption '42 !' has no word left"):
        load(config(tmp_path))
    (tmp_path / "captions.tsv").unlink()
    rows = ["d.png#0\tA bird", "a.png#0\tA dog", "a.png#1\t3 .", "a.png#2\tA cat", "a.png#3\t3 ."]
    (tmp_path / "Flickr8k.token.txt").write_text("\n".join(rows) + "\n")
    for split, name in (("train", "a.png"), ("dev", "d.png"), ("test", "d.png")):
        (tmp_path / f"Flickr_8k.{split}Images.txt").write_text(f"{name}\n")
    with pytest.raises(DataError, match=r"text\.alphabetic") as error:
        load(config(tmp_path))
    tokens = str(tmp_path / "Flickr8k.token.txt")
    assert [(p.file, p.line) for p in error.value.problems] == [(tokens, 3), (tokens, 5)]
    data = load(config(tmp_path, skip_bad=True))
    assert data.photos_of("train")[1] == [["A dog", "A cat"]] and data.left_out["train"] == 2


def test_unreadable_photo_is_reported(tmp_path):
    write(tmp_path)
    (tmp_path / "images" / "b.png").write_text("no photo")
    with pytest.raises(DataError, match=r"b\.png"):
        load(config(tmp_path))
    data = load(config(tmp_path, skip_bad=True))
    assert len(data.groups["train"]) == 2


def test_empty_split_is_refused(tmp_path):
    write(tmp_path)
    with pytest.raises(UserError, match="the test split is empty"):
        load(config(tmp_path), splits=("test",))


def test_signature_depends_on_vocabulary_and_batches(tmp_path):
    write(tmp_path)
    first = load(config(tmp_path)).signature
    assert first == load(config(tmp_path)).signature
    assert first != load(config(tmp_path, minimum_count=2)).signature
    assert first != load(config(tmp_path, batch_size=3)).signature


def test_augmentation_depends_on_the_seed_only():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    may_flip = np.ones(3, bool)
    first, again, other = (augment(pixels, may_flip, (0, epoch, 0)) for epoch in (0, 0, 1))
    assert first.shape == pixels.shape and first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5


def test_half_of_the_photos_are_mirrored_if_allowed_and_maps_stay_close_to_the_photo():
    allowed = affine_maps(np.random.default_rng(0), np.ones(400, bool), 16)
    forbidden = affine_maps(np.random.default_rng(0), np.zeros(400, bool), 16)
    assert 0.4 < (allowed[:, 0] < 0).mean() < 0.6
    assert not (forbidden[:, 0] < 0).any()
    # No corner is mapped farther outside than a rotation of 15 degrees can.
    for x, y in ((0, 0), (15, 0), (0, 15), (15, 15)):
        across = allowed[:, 0] * x + allowed[:, 1] * y + allowed[:, 2]
        assert across.min() > -4 and across.max() < 19


def test_augmentation_without_changes_only_mirrors(monkeypatch):
    monkeypatch.setattr("imagetext.captioning.augment.AREA", 1.0)
    monkeypatch.setattr("imagetext.captioning.augment.ASPECT", (1.0, 1.0))
    monkeypatch.setattr("imagetext.captioning.augment.ROTATION", 0.0)
    monkeypatch.setattr("imagetext.captioning.augment.COLOUR", 0.0)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    np.testing.assert_array_equal(augment(pixels, np.zeros(4, bool), (0,)), pixels)
    mirrored = augment(pixels, np.ones(4, bool), (1,))
    for new, old in zip(mirrored, pixels, strict=True):
        assert np.array_equal(new, old) or np.array_equal(new, old[:, ::-1])
    assert not np.array_equal(mirrored, pixels)


def test_recoloured_grey_stays_grey():
    grey = np.full((2, 4, 4, 3), 100, np.float32)
    pixels = recolour(np.random.default_rng(0), grey)
    np.testing.assert_allclose(pixels, pixels[..., :1] * np.ones(3), rtol=1e-5)
