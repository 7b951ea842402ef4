"""The data of a matching run, and how problems in it are reported before training."""

import numpy as np
import pytest
from PIL import Image

import imagetext.encoders.sentences
import imagetext.itm.data
from imagetext.errors import DataError, UserError
from imagetext.itm.config import DataConfig, ITMConfig, TextConfig
from imagetext.itm.data import load, open_data
from imagetext.pipelines import sample
from imagetext.pipelines.embeddings import EmbeddingTable


def config(folder, **options) -> ITMConfig:
    text = {key: options.pop(key) for key in ("encoder", "weights") if key in options}
    data = DataConfig(root=str(folder), **{"image_size": 16, "batch_size": 2, **options})
    return ITMConfig(data=data, text=TextConfig(**text))


def append(path, line: str) -> None:
    path.write_bytes(path.read_bytes() + line.encode())


def test_batches_contain_exactly_the_rows_of_the_list(course_folder):
    data = load(config(course_folder))
    table = EmbeddingTable.read(course_folder / "embeddings.npz")
    listed = (course_folder / "flickr8k.DevImages.txt").read_text().splitlines()
    photos, captions, is_match = data.rows("dev")
    rows = [
        (photo.rsplit("/", 1)[-1], caption, "match" if match else "no-match")
        for photo, caption, match in zip(photos, captions, is_match, strict=True)
    ]
    assert sorted(rows) == sorted(tuple(line.split("\t")) for line in listed)
    start = 0
    for inputs, truth, weight in data.batches("dev"):
        used = weight.numpy() > 0
        texts = inputs["texts"].numpy()[used]
        batch = slice(start, start + len(texts))
        np.testing.assert_array_equal(texts, table.lookup(captions[batch]))
        np.testing.assert_array_equal(truth.numpy()[used][:, 0] == 1, is_match[batch])
        start += len(texts)
    assert start == len(listed)


def test_the_order_depends_on_seed_and_epoch_only(course_folder):
    data = load(config(course_folder))

    def order(**keys):
        return [inputs["image"].numpy().tobytes() for inputs, *_ in data.batches("train", **keys)]

    assert order(seed=0, epoch=1) == order(seed=0, epoch=1)
    assert order(seed=0, epoch=1) != order(seed=0, epoch=2) != order(seed=1, epoch=2)
    assert order(seed=0, epoch=1, skip=2) == order(seed=0, epoch=1)[2:]


def test_all_problems_are_reported_together_with_file_and_line(course_folder):
    train = course_folder / "flickr8k.TrainImages.txt"
    dev = course_folder / "flickr8k.DevImages.txt"
    rows = train.read_text().count("\n")
    append(train, "train_0.jpg\tonly two columns\r\n")
    append(train, "nowhere.jpg\ta caption\tmatch\r\n")
    append(dev, "dev_0.jpg\ta caption\tmaybe\r\n")
    (course_folder / "flickr8k-resised" / "test_1.jpg").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        load(config(course_folder))
    message = str(caught.value)
    assert f"flickr8k.TrainImages.txt:{rows + 1}: expected 3 tab-separated columns" in message
    assert f"flickr8k.TrainImages.txt:{rows + 2}: image 'nowhere.jpg' is missing" in message
    assert "flickr8k.DevImages.txt:" in message
    assert "'maybe'" in message
    assert "test_1.jpg: the file is empty" in message
    assert "skip_bad" in message
    assert len(caught.value.problems) == 4


def test_skip_bad_leaves_out_and_counts_bad_rows(course_folder):
    complete = load(config(course_folder))
    append(course_folder / "flickr8k.TrainImages.txt", "nowhere.jpg\ta caption\tmatch\r\n")
    (course_folder / "flickr8k-resised" / "test_1.jpg").write_text("<html>not a photo</html>")
    data = load(config(course_folder, skip_bad=True))
    assert len(data.skipped) == 2
    assert data.groups["train"].rows == complete.groups["train"].rows
    assert data.groups["test"].rows == complete.groups["test"].rows - 6
    assert not any(photo.endswith("test_1.jpg") for photo in data.rows("test")[0])


def test_a_caption_without_embedding_is_reported_with_its_line(course_folder):
    path = course_folder / "flickr8k.TrainImages.txt"
    line = path.read_text().count("\n") + 1
    append(path, "train_0.jpg\tA caption nobody embedded .\tmatch\r\n")
    with pytest.raises(DataError) as caught:
        load(config(course_folder, weights=str(course_folder)))
    message = str(caught.value)
    assert f"TrainImages.txt:{line}: no embedding for 'A caption nobody embedded .'" in message
    assert "model.safetensors" in message
    data = load(config(course_folder, skip_bad=True, weights=str(course_folder)))
    assert [problem.line for problem in data.skipped] == [line]


def test_a_caption_missing_from_the_table_is_embedded_if_the_encoder_is_available(
    course_folder, monkeypatch
):
    import imagetext.encoders.minilm

    class Encoder:
        def __call__(self, texts, verbose=False):
            assert texts == ["A new caption ."]
            return np.full((1, 384), 0.05, np.float32)

    monkeypatch.setattr(
        imagetext.encoders.minilm.SentenceEncoder, "load", lambda folder=None: Encoder()
    )
    append(course_folder / "flickr8k.TrainImages.txt", "train_0.jpg\tA new caption .\tmatch\r\n")
    data = load(config(course_folder))
    vector = data.texts[data.captions.index("A new caption .")]
    np.testing.assert_array_equal(vector, np.full(384, 0.05, np.float32))


def test_an_encoder_of_another_width_is_refused_and_nothing_is_cached(
    course_folder, monkeypatch, tmp_path
):
    monkeypatch.setenv("IMAGETEXT_CACHE", str(tmp_path / "cache"))
    encode = lambda texts, verbose: np.ones((len(texts), 768), np.float32)  # noqa: E731
    monkeypatch.setattr(
        imagetext.encoders.sentences, "sentence_encoder", lambda name, weights: encode
    )
    (course_folder / "embeddings.npz").unlink()
    with pytest.raises(UserError, match=r"text\.encoder: .* width 384, but wide gives 768"):
        load(config(course_folder, encoder="wide"))
    assert not (tmp_path / "cache").exists()


def test_embeddings_of_another_width_are_refused(course_folder):
    table = EmbeddingTable.read(course_folder / "embeddings.npz")
    EmbeddingTable(table.captions, table.vectors[:, :100]).write(course_folder / "embeddings.npz")
    with pytest.raises(
        DataError, match=r"embeddings\.npz: expected embeddings of width 384, got 100"
    ):
        load(config(course_folder))


def test_the_pickle_of_the_course_is_read_too(course_folder):
    table = EmbeddingTable.read(course_folder / "embeddings.npz")
    (course_folder / "embeddings.npz").unlink()
    table.write(course_folder / "flickr8k.cmp9137.sentence_transformers.pkl")
    data = load(config(course_folder / "flickr8k-resised"))
    np.testing.assert_array_equal(data.texts, table.lookup(data.captions))


def test_a_malicious_pickle_is_refused_and_not_executed(course_folder, tmp_path):
    import os
    import pickle

    class Malicious:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    (course_folder / "embeddings.npz").unlink()
    path = course_folder / "flickr8k.cmp9137.sentence_transformers.pkl"
    path.write_bytes(pickle.dumps({"a": Malicious()}))
    with pytest.raises(UserError, match="sentence_transformers"):
        load(config(course_folder))
    assert not (tmp_path / "ran").exists()


def test_an_empty_split_is_refused(course_folder):
    (course_folder / "flickr8k.DevImages.txt").write_text("")
    with pytest.raises(UserError, match="the dev split is empty"):
        load(config(course_folder))


def test_pairs_are_made_from_a_captioned_folder(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    rows = ["image,caption,split"]
    for number in range(6):
        colours = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(colours).resize((32, 32)).save(images / f"{number}.png")
        split = "train" if number < 4 else "dev"
        rows += [f'{number}.png,"photo {number}, caption {n}",{split}' for n in range(5)]
    (tmp_path / "captions.csv").write_text("\n".join(rows))
    texts = [row.split(",", 1)[1].rsplit(",", 1)[0].strip('"') for row in rows[1:]]
    vectors = np.random.default_rng(0).normal(size=(len(texts), 384))
    EmbeddingTable(texts, vectors).write(tmp_path / "embeddings.npz")
    data = load(config(tmp_path, matches=2, negatives=3), ("train", "dev"))
    photos, captions, is_match = data.rows("train")
    belongs = [
        f"photo {photo.rsplit('/', 1)[-1][0]}," in text
        for photo, text in zip(photos, captions, strict=True)
    ]
    assert is_match.tolist() == belongs
    assert (sum(belongs), len(belongs)) == (8, 20)


def test_the_signature_depends_on_the_rows(course_folder):
    before = load(config(course_folder)).signature
    assert load(config(course_folder)).signature == before
    path = course_folder / "flickr8k.TrainImages.txt"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert load(config(course_folder)).signature != before


def test_the_sample_is_used_without_a_root(monkeypatch, tmp_path):
    monkeypatch.setenv("IMAGETEXT_CACHE", str(tmp_path))
    monkeypatch.setattr(sample, "TWINS", {"train": 3, "dev": 2, "test": 2})
    assert open_data(DataConfig()).kind == "sample"


def test_embeddings_of_another_encoder_are_refused_before_photos_are_read(
    course_folder, monkeypatch
):
    table = EmbeddingTable.read(course_folder / "embeddings.npz")
    path = course_folder / "embeddings.npz"
    EmbeddingTable(table.captions, table.vectors, encoder="some/model").write(path)
    with monkeypatch.context() as patch:
        patch.setattr(imagetext.itm.data, "open_photos", None)
        with pytest.raises(DataError, match=r"computed by some/model.*--text\.encoder some/model"):
            load(config(course_folder))
    assert load(config(course_folder, encoder="some/model")).groups["train"].rows == 36
