"""Batches of photos and captions: pairs, ignored pairs, and their order."""

import shutil

import numpy as np
import pytest
from PIL import Image

from imagetext.errors import DataError, UserError
from imagetext.pipelines.pair_batches import pair_truth
from imagetext.retrieval.data import choose_batches, load
from imagetext.retrieval.texts import WordTokenizer
from tests.itm.tiny_encoders import tiny_encoders  # noqa: F401
from tests.retrieval.tiny_runs import tiny
from tests.scenes import write_scenes

PAIRS = {7: [0, 1, 2], 3: [3], 5: [4, 0], 2: [5], 8: [6], 1: [7, 8]}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes") / "data")


@pytest.fixture(scope="module")
def data(scenes):
    return load(tiny(scenes, ""), ("train", "dev", "test"))


def caption_of(data, ids) -> str:
    same = (data.ids[:, : len(ids)] == ids).all(1) & ~data.ids[:, len(ids) :].any(1)
    (place,) = np.flatnonzero(same)
    return data.captions[place]


def test_an_epoch_contains_every_photo_with_captions_per_epoch_captions(scenes, data):
    own = {row.image: set(row.texts) for row in data.records["train"]}
    where = {data.photos.fetch([n])[0].tobytes(): p for n, p in enumerate(data.photos.paths)}
    seen: dict = {}
    batches = list(data.batches("train", seed=0, epoch=0))
    assert len(batches) == data.steps() == 4
    for inputs, truth in batches:
        image, texts = inputs["image"].numpy(), inputs["texts"].numpy()
        assert image.shape == (6, 24, 24, 3) and truth.shape == (6, 6)
        assert (np.diag(truth) == 1).all()
        assert texts[:, -1].any()  # no longer than its longest caption
        for photo, ids in zip(image, texts, strict=True):
            path = where[photo.tobytes()]
            caption = caption_of(data, ids)
            assert caption in own[path]
            seen.setdefault(path, []).append(caption)
    assert len(seen) == 12 and all(len(set(texts)) == 2 for texts in seen.values())


def test_the_order_depends_on_seed_and_epoch_and_epochs_can_be_resumed(data):
    def texts(epoch, skip=0, seed=0):
        return [inputs["texts"].numpy() for inputs, _ in data.batches("train", seed, epoch, skip)]

    whole, again, rest = texts(3), texts(3), texts(3, skip=2)
    assert all(map(np.array_equal, whole, again)) and len(rest) == len(whole) - 2
    assert all(map(np.array_equal, whole[2:], rest))
    assert not all(map(np.array_equal, whole, texts(4)))
    assert not all(map(np.array_equal, whole, texts(3, seed=1)))


def test_dev_is_in_file_order_with_first_captions(data):
    (batch,) = data.batches("dev")
    said = [caption_of(data, ids) for ids in batch[0]["texts"].numpy()]
    assert said == [row.texts[0] for row in data.records["dev"]]


@pytest.mark.parametrize("size", [2, 4, 6])
@pytest.mark.parametrize("rounds", [1, 3])
def test_a_round_has_each_photo_once_with_one_of_its_captions(size, rounds):
    lengths, seen = np.arange(9), set()
    for epoch in range(20):
        chosen = choose_batches(PAIRS, size, rounds, lengths, 0, epoch)
        assert [len(batch) for batch in chosen] == [size] * (6 // size) * rounds
        for number in range(rounds):
            of_round = np.concatenate(chosen[number * (6 // size) :][: 6 // size])
            photos = of_round[:, 0].tolist()
            assert len(set(photos)) == len(photos)
        every = np.concatenate(chosen)
        assert all(text in PAIRS[photo] for photo, text in every.tolist())
        if rounds == 3 and size == 6:  # photo 7 has three captions, each comes once
            assert sorted(t for p, t in every.tolist() if p == 7) == [0, 1, 2]
        seen |= set(map(tuple, every.tolist()))
    assert seen == {(photo, text) for photo, own in PAIRS.items() for text in own}


def test_captions_of_a_batch_have_similar_lengths():
    pairs, lengths = {n: [n] for n in range(40)}, np.random.default_rng(0).permutation(40)
    spread = [np.ptp(lengths[batch[:, 1]]) for batch in choose_batches(pairs, 4, 1, lengths, 0, 0)]
    assert np.mean(spread) < 10  # by chance, 24


@pytest.mark.parametrize("same", [-1, 1])
def test_truth_equals_a_naive_twin(same):
    known = {photo: np.array(own) for photo, own in PAIRS.items()}
    known[1] = known[2] = np.array([7, 8, 5])  # copies of one picture
    photo, text = np.array([7, 5, 8, 1, 2]), np.array([1, 0, 6, 7, 5])
    truth = pair_truth(photo, text, known, same)
    for i, j in np.ndindex(5, 5):
        wanted = 1 if i == j else same if text[j] in known[photo[i]] else 0
        assert truth[i, j] == wanted, (i, j)
    assert truth[0, 1] == same and truth[1, 0] == 0 and truth[3, 4] == truth[4, 3] == same


@pytest.fixture
def with_copies(scenes, tmp_path):
    """train_1 has the bytes of train_0; train_3 is train_2, saved again slightly smaller."""
    folder = shutil.copytree(scenes, tmp_path / "copied")
    images = folder / "images"
    shutil.copyfile(images / "train_0.png", images / "train_1.png")
    with Image.open(images / "train_2.png") as photo:
        photo.resize((44, 44)).save(images / "train_3.png")
    return folder


@pytest.mark.parametrize("same", ["ignored", "matches"])
def test_captions_of_copies_are_not_negatives(with_copies, same):
    data = load(tiny(with_copies, "", data__batch_size=12, loss__same=same))
    number = {path.name: n for n, path in enumerate(data.photos.paths)}
    for one, other in (("train_0.png", "train_1.png"), ("train_2.png", "train_3.png")):
        pair = [data.pairs["train"][number[name]] for name in (one, other)]
        for name in (one, other):
            assert set(data.known["train"][number[name]]) >= set(pair[0]) | set(pair[1])
    alone = number["train_5.png"]
    assert set(data.known["train"][alone]) == set(data.pairs["train"][alone])
    truth = next(iter(data.batches("train", seed=0, epoch=0)))[1].numpy()
    assert (truth == (1 if same == "matches" else -1)).sum() >= 4 + 12 * (same == "matches")


def test_a_photo_that_becomes_unreadable_is_ignored(data, monkeypatch):
    fetch = data.photos.fetch

    def spoiled(numbers):
        image, good = fetch(numbers)
        return image, good & (np.asarray(numbers) != numbers[2])

    monkeypatch.setattr(data.photos, "fetch", spoiled)
    truth = next(iter(data.batches("train", seed=0, epoch=0)))[1].numpy()
    assert (truth[2] == -1).all() and (truth[:, 2] == -1).all()
    assert (np.delete(np.diag(truth), 2) == 1).all()


def test_photos_with_directional_captions_are_not_mirrored(scenes):
    data = load(tiny(scenes, "", data__flips=True))
    plain = {data.photos.fetch([n])[0][0].tobytes(): n for n in range(len(data.photos.paths))}
    mirrored = {
        data.photos.fetch([n])[0][0, :, ::-1].tobytes(): n for n in range(len(data.photos.paths))
    }
    seen = {"plain": set(), "mirrored": set()}
    for epoch in range(6):
        for inputs, _ in data.batches("train", 0, epoch):
            for image in inputs["image"].numpy():
                kind = "plain" if image.tobytes() in plain else "mirrored"
                seen[kind].add((plain if kind == "plain" else mirrored)[image.tobytes()])
    directional = {
        n for n, p in enumerate(data.photos.paths)
        if any({"left", "right"} & set(t.split()) for r in data.records["train"] if r.image == p
               for t in r.texts)
    }  # fmt: skip
    assert directional and seen["mirrored"] and not seen["mirrored"] & directional
    assert seen["plain"] == set(range(12))


def test_captions_without_words_are_reported_or_left_out(scenes, tmp_path):
    folder = shutil.copytree(scenes, tmp_path / "odd")
    with (folder / "captions.csv").open("a") as file:
        file.write("train_0.png,...,train\n")
    with pytest.raises(DataError, match=r"captions.csv:65: the caption '...' has no word"):
        load(tiny(folder, ""))
    data = load(tiny(folder, "", data__skip_bad=True))
    assert data.left_out == {"train": 1, "dev": 0} and "..." not in data.captions


def test_columns_hold_each_photo_once_with_all_its_captions(data):
    photos, captions, owner = data.columns("dev")
    assert len(photos) == 5 and len(captions) == 15 and owner.tolist() == sorted([*range(5)] * 3)
    for caption, place in zip(captions, owner, strict=True):
        assert caption in data.pairs["dev"][photos[place]]


def test_an_empty_split_is_reported(tmp_path):
    folder = write_scenes(tmp_path / "data", {"train": 3, "dev": 2})
    with pytest.raises(UserError, match="the test split is empty"):
        load(tiny(folder, ""), ("test",), WordTokenizer(["a"]))


@pytest.mark.usefixtures("tiny_encoders")
def test_cells_of_several_encoders_are_concatenated_also_when_mirrored(scenes):
    keys = {
        "data__image_encoders": ["tiny_a", "tiny_b"],
        "data__image_weights": "random",
        "data__image_output": "grid",
        "data__flips": True,
        "text__encoder": "all-MiniLM-L6-v2",
    }
    data = load(tiny(scenes, "", **keys), ("dev",))
    assert data.photos.shape == (2, 2, 8)
    numbers = np.arange(5)
    cells, good = data.photos.fetch(numbers)
    assert good.all() and cells.dtype == np.float32
    mirrored = data._fetch(numbers, np.array([True, False, False, False, False]))[0]
    assert (mirrored[0] != cells[0]).any() and (mirrored[1:] == cells[1:]).all()
    assert data.ids.shape[1] <= 12 and data.tokenizer.max_length == 12
    fewer = load(tiny(scenes, "", **keys, data__image_cells=1), ("dev",)).photos
    np.testing.assert_allclose(fewer.fetch(numbers)[0][:, 0, 0], cells.mean((1, 2)), atol=1e-6)
