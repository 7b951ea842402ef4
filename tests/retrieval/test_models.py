"""The two towers: unit vectors for any input, padding without effect, learning rates."""

import keras
import numpy as np
import pytest

from imagetext.retrieval import models
from imagetext.retrieval.texts import WordTokenizer
from imagetext.retrieval.towers import Towers, cosines, photo_tower, text_tower
from imagetext.training.device import precision
from tests.itm.tiny_encoders import tiny_encoders  # noqa: F401
from tests.retrieval.tiny_runs import tiny

WORDS = WordTokenizer([f"word{n}" for n in range(9)], max_length=12)
ENCODED = {
    "data__image_encoders": ["tiny_a", "tiny_b"],
    "data__image_weights": "random",
    "text__encoder": "all-MiniLM-L6-v2",
}
ALONE = ENCODED | {"data__image_encoders": ["tiny_a"], "data__image_output": "grid"}


def built(shape=(24, 24, 3), **overrides):
    keras.utils.set_random_seed(0)
    config = tiny("", "", **overrides)
    return models.build(config, shape, WORDS), config


def given(shape, count=3, seed=0):
    rng = np.random.default_rng(seed)
    if len(shape) == 3 and shape[-1] == 3:
        return rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    return rng.normal(size=(count, *shape)).astype(np.float32)


IDS = WORDS.to_ids(["word0 word1 word2", "word3", "word4 word5 word6 word7"])


@pytest.mark.parametrize(
    ("shape", "keys", "cells"),
    [
        ((24, 24, 3), {}, 36),
        ((8,), ENCODED, None),
        ((2, 2, 8), ENCODED | {"data__image_output": "grid"}, 4),
        (
            (2, 2, 5),
            ALONE,
            4,
        ),
        (
            (32, 32, 3),
            ALONE | {"data__fine_tune": True},
            4,
        ),
    ],
)
@pytest.mark.usefixtures("tiny_encoders")
def test_all_vectors_have_length_one(shape, keys, cells):
    network, _ = built(shape, **keys, **({"model__late": 0.5} if cells else {}))
    actual = network({"image": given(shape), "texts": IDS}, training=False)
    assert actual["photo"].shape == actual["text"].shape == (3, 16)
    names = ("photo", "text", "cells", "words") if cells else ("photo", "text")
    for name in names:
        lengths = np.linalg.norm(actual[name], axis=-1)
        np.testing.assert_allclose(lengths, 1, atol=1e-4, err_msg=name)
    assert np.ptp(np.asarray(actual["photo"]), axis=0).max() > 0.01  # photos matter
    if cells:
        assert actual["cells"].shape == (3, cells, 8) and actual["words"].shape == (3, 6, 8)
        assert actual["mask"].numpy().sum(1).tolist() == [5, 3, 6]
    else:
        assert set(actual) == {"photo", "text"}


def test_padding_changes_nothing():
    network, _ = built(model__late=0.5)
    tower = text_tower(network)
    alone, padded = tower(IDS[1:2, :3], training=False), tower(IDS, training=False)
    np.testing.assert_allclose(alone["text"][0], padded["text"][1], atol=1e-5)
    np.testing.assert_allclose(alone["words"][0], padded["words"][1, :3], atol=1e-5)


def test_the_order_of_words_matters():
    network, _ = built()
    one, other = text_tower(network)(WORDS.to_ids(["word0 word1", "word1 word0"]))["text"]
    assert np.abs(one - other).max() > 1e-3


@pytest.mark.usefixtures("tiny_encoders")
def test_the_photo_vector_is_pooled_from_its_cells():
    network, _ = built((3, 3, 8), **ENCODED, data__image_output="grid", model__late=0.5)
    tower, cells = photo_tower(network), given((3, 3, 8), 1)
    turned = cells[:, ::-1, ::-1]
    actual = [tower(image, training=False) for image in (cells, turned)]
    np.testing.assert_allclose(actual[0]["photo"], actual[1]["photo"], atol=1e-5)
    assert np.abs(actual[0]["cells"][0] - actual[1]["cells"][0]).max() > 1e-3


@pytest.mark.usefixtures("tiny_encoders")
def test_pretrained_layers_have_a_lower_rate_and_frozen_embeddings():
    network, config = built((8,), **ENCODED, model__encoder_rate=0.1)
    rates = models.pretrained_rates(network, config.model)
    assert rates and all(share == 0.1 for _, share in rates)
    slow = {id(variable) for variable, _ in rates}
    paths = [v.path for v in network.trainable_variables if id(v) in slow]
    assert any("attention_0" in path for path in paths), paths
    assert not any(name in path for path in paths for name in ("words/", "positions/", "photo_"))
    frozen, config = built((8,), **ENCODED, model__encoder_rate=0.0)
    assert not models.pretrained_rates(frozen, config.model)
    assert not models.pretrained_rates(*(lambda n, c: (n, c.model))(*built()))  # all its own


def test_a_saved_network_opens_with_keras_alone(tmp_path):
    network, _ = built(model__late=0.3)
    network.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.name == f"dual_encoder_{WORDS.digest}"
    inputs = {"image": given((24, 24, 3)), "texts": IDS}
    one, other = network(inputs, training=False), again(inputs, training=False)
    for name in one:
        np.testing.assert_allclose(one[name], other[name], atol=1e-5)


def test_vectors_are_float32_under_mixed_precision():
    with precision("mixed_bfloat16"):
        network, _ = built(model__late=0.3)
    actual = network({"image": given((24, 24, 3)), "texts": IDS}, training=True)
    assert {keras.backend.standardize_dtype(rows.dtype) for rows in actual.values()} == {"float32"}


def naive_similarity(network, image, ids, late) -> float:
    """The similarity of one photo and one caption."""
    actual = network({"image": image[None], "texts": ids[None]}, training=False)
    actual = {name: np.asarray(rows)[0] for name, rows in actual.items()}
    words = [word for word, there in zip(actual["words"], actual["mask"], strict=True) if there]
    best = [max(float(word @ cell) for cell in actual["cells"]) for word in words]
    return (1 - late) * float(actual["photo"] @ actual["text"]) + late * float(np.mean(best))


def test_similarities_equal_a_naive_twin(monkeypatch):
    """For any block size; captions are sorted by length and returned in order."""
    monkeypatch.setattr("imagetext.pipelines.batches.TOKENS_PER_BATCH", 14)
    monkeypatch.setattr("imagetext.retrieval.towers.TEXTS_PER_BLOCK", 2)
    network, _ = built(model__late=0.4)
    towers, image = Towers(network, late=0.4), given((24, 24, 3), 4)
    ids = WORDS.to_ids(["word1", "word0 word1 word2 word3", "word4 word5", "word7 word7 word8"])
    photos, texts = towers.encode_images([image[:3], image[3:]]), towers.encode_ids(ids)
    actual = towers.similarities(photos, texts)
    for i, j in np.ndindex(4, 4):
        wanted = naive_similarity(network, image[i], ids[j], 0.4)
        assert actual[i, j] == pytest.approx(wanted, abs=1e-5)
    np.testing.assert_allclose(cosines(photos, texts), photos["photo"] @ texts["text"].T)
