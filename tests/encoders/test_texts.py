"""Text towers: the numbers of PyTorch, and how they are saved, exported and trained."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from imagetext.encoders import minilm, weights
from imagetext.encoders.minilm import SentenceEncoder
from imagetext.encoders.registry import TEXT_ENCODERS
from imagetext.encoders.text_tower import TextTower
from imagetext.encoders.texts import build
from imagetext.pipelines.embeddings import MINILM
from tests.encoders.tiny_texts import FOLDERS, encode, reference, texts
from tests.tiny_clip import unit

pytestmark = pytest.mark.usefixtures("no_weights")


@pytest.fixture(scope="module")
def towers(text_folders) -> dict[str, TextTower]:
    """Towers of all kinds, which tests leave as they are."""
    return {name: build(str(folder)) for name, folder in text_folders.items()}


@pytest.fixture(params=FOLDERS)
def tower(request, towers) -> TextTower:
    return towers[request.param]


@pytest.mark.parametrize(
    ("folder", "states"), [("hugging_face", "bert_states"), ("bert", "bert_rough_states")]
)
def test_a_bert_equals_that_of_transformers(towers, folder, states):
    tower, expected = towers[folder], reference()[states]
    ids, mask = tower.tokenize(tf.constant(texts()))
    np.testing.assert_array_equal(ids, reference()["bert_ids"])
    actual = encode(tower, texts())
    inside = mask.numpy() == 1
    np.testing.assert_allclose(actual["tokens"][inside], expected[inside], atol=1e-4)
    mean = np.stack([row[shown].mean(0) for row, shown in zip(expected, inside, strict=True)])
    np.testing.assert_allclose(actual["sentence"], unit(mean), atol=1e-4)
    assert (tower.width, tower.max_length) == (12, 16)
    # The two differ by more than the tolerance.
    difference = np.abs(reference()["bert_states"] - reference()["bert_rough_states"])[inside]
    assert difference.max() > 1e-3


def test_a_clip_equals_that_of_transformers(towers):
    tower, inside = towers["clip"], reference()["clip_mask"] == 1
    ids, mask = tower.tokenize(tf.constant(texts()))
    np.testing.assert_array_equal(mask, inside)
    np.testing.assert_array_equal(ids, np.where(inside, reference()["clip_ids"], 0))
    actual = encode(tower, texts())
    np.testing.assert_allclose(
        actual["tokens"][inside], reference()["clip_states"][inside], atol=1e-4
    )
    np.testing.assert_allclose(actual["sentence"], unit(reference()["clip_sentences"]), atol=1e-5)
    assert (tower.width, tower.max_length) == (6, 20)


def test_padding_does_not_matter(tower):
    sentences = ["a dog", "snow, 3 cafés ! on sand", ""]
    ids, mask = (part.numpy() for part in tower.tokenize(tf.constant(sentences)))
    ids = np.pad(ids, [(0, 0), (0, 2)], constant_values=4)
    mask = np.pad(mask, [(0, 0), (0, 2)])
    ids[mask == 0] = 4
    actual = tower.model({"token_ids": ids, "mask": mask})
    for row, text in enumerate(sentences):
        alone = encode(tower, [text])
        np.testing.assert_allclose(actual["sentence"][row], alone["sentence"][0], atol=1e-5)
        shown = actual["tokens"][row][: mask[row].sum()]
        np.testing.assert_allclose(shown, alone["tokens"][0], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(actual["sentence"], axis=1), 1, atol=1e-5)
    assert np.abs(actual["sentence"][0] - actual["sentence"][1]).max() > 0.01


def test_the_mask_follows_from_the_ids(tower):
    # In CLIP's vocabulary the exclamation mark has the id of the padding.
    sentences = ["a dog!!! !", "!", "", "dog " * 30]
    ids, mask = tower.tokenize(tf.constant(sentences))
    padded = tower.to_ids(sentences)
    assert padded.dtype == np.int32
    np.testing.assert_array_equal(padded, ids)
    for rows in (padded, tf.pad(ids, [[0, 0], [0, 5]])):
        expected = np.pad(mask, [(0, 0), (0, rows.shape[1] - mask.shape[1])])
        np.testing.assert_array_equal(tower.mask(rows), expected)
    assert tower.to_ids([]).shape == (0, 0)
    with pytest.raises(TypeError, match="expected a list of texts"):
        tower.to_ids("a dog")


def test_a_saved_model_is_loaded_without_this_package(tower, tmp_path):
    tower.model.save(tmp_path / "tower.keras")
    opened = keras.saving.load_model(tmp_path / "tower.keras", safe_mode=True)
    ids, mask = tower.tokenize(tf.constant(texts()))
    inputs = {"token_ids": ids, "mask": mask}
    for name, value in opened(inputs).items():
        np.testing.assert_allclose(value, tower.model(inputs)[name], atol=1e-6)
    assert "encoders." not in opened.to_json()


def test_exports_take_strings(tower, tmp_path):
    class Search(tf.Module):
        def __init__(self, tower):
            super().__init__()
            self.tower = tower

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def __call__(self, texts):
            ids, mask = self.tower.tokenize(texts)
            return self.tower.model({"token_ids": ids, "mask": mask}, training=False)["sentence"]

    tf.saved_model.save(Search(tower), str(tmp_path / "search"))
    served = tf.saved_model.load(str(tmp_path / "search"))
    np.testing.assert_allclose(
        served(tf.constant(texts())), encode(tower, texts())["sentence"], atol=1e-5
    )


def test_towers_are_trained_or_frozen_inside_another_model(tower):
    ids, mask = tower.tokenize(tf.constant(texts()))
    inputs = {name: keras.Input([None], dtype="int32", name=name) for name in ("token_ids", "mask")}
    sentence = tower.model(inputs)["sentence"]
    whole = keras.Model(inputs, layers.Dense(1, name="score")(sentence))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(whole({"token_ids": ids, "mask": mask}, training=True) ** 2)
    variables = [variable.value for variable in whole.trainable_variables]
    assert len(variables) == len(tower.model.trainable_variables) + 2 > 20
    assert all(gradient is not None for gradient in tape.gradient(loss, variables))
    arrays = {"token_ids": ids, "mask": mask}
    np.testing.assert_array_equal(whole(arrays, training=True), whole(arrays, training=False))
    tower.model.trainable = False
    try:
        assert len(whole.trainable_variables) == 2
    finally:
        tower.model.trainable = True


@pytest.mark.parametrize("folder", FOLDERS)
def test_mixed_precision_gives_float32(towers, text_folders, folder):
    exact = encode(towers[folder], texts())
    policy = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        rough = encode(build(str(text_folders[folder])), texts())
    finally:
        keras.mixed_precision.set_dtype_policy(policy)
    for name in ("sentence", "tokens"):
        assert rough[name].dtype == np.float32
        assert np.corrcoef(exact[name].ravel(), rough[name].ravel())[0, 1] > 0.98
        assert np.abs(exact[name] - rough[name]).max() > 1e-4
    np.testing.assert_allclose(np.linalg.norm(rough["sentence"], axis=1), 1, atol=1e-5)


def test_random_weights_only_if_requested(towers, text_folders):
    for name in text_folders:
        trained = encode(towers[name], texts())
        random = encode(build(str(text_folders[name]), "random"), texts())
        assert random["tokens"].shape == trained["tokens"].shape
        assert np.abs(random["tokens"] - trained["tokens"]).max() > 0.01


@pytest.mark.weights
def test_minilm_equals_the_sentence_encoder(monkeypatch):
    monkeypatch.undo()
    if not weights.is_available(minilm.MODEL_FILE, minilm.VOCABULARY_FILE):
        pytest.skip("the weights of all-MiniLM-L6-v2 are not on this machine")
    tower = build(MINILM)
    assert tower.model.count_params() == TEXT_ENCODERS[MINILM].parameters
    actual = encode(tower, texts())
    np.testing.assert_allclose(actual["sentence"], SentenceEncoder.load()(texts()), atol=1e-5)
    inside = actual["mask"][..., None]
    mean = (actual["tokens"] * inside).sum(1) / inside.sum(1)
    np.testing.assert_allclose(unit(mean), actual["sentence"], atol=1e-5)
    np.testing.assert_array_equal(tower.mask(tower.to_ids(texts())), actual["mask"])
