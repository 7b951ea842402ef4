"""BERT as a decoder equals the networks of transformers and keras-hub with the same weights."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from imagetext.captioning.config import ModelConfig
from imagetext.captioning.models import build, get_decoder, pretrained_rates, transformer, vit_bert
from imagetext.encoders import clip, keras_hub_texts, minilm, texts
from imagetext.encoders.minilm import BertShape
from imagetext.errors import UserError
from tests import tiny_clip

REFERENCE = Path(__file__).parents[1] / "encoders" / "text_reference.npz"
GRID = [2, 3, 5]
NO_DROPOUT = {"dropout": 0.0, "input_dropout": 0.0}


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    """A tiny BERT as saved by transformers, and its hidden states."""
    with np.load(REFERENCE) as file:
        return dict(file)


@pytest.fixture(scope="module")
def folder(reference, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    for name, content in reference.items():
        if name.startswith("bert_folder/"):
            (folder / Path(name).name).write_bytes(content.tobytes())
    return folder


def photos(count: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, *GRID)).astype(np.float32)


def hidden_states(
    model: keras.Model, config: ModelConfig, ids: np.ndarray, image=None
) -> np.ndarray:
    """Output of the last block: ids int32 [t] -> [t, width]."""
    decoder = get_decoder(model, config)
    decoder.head = lambda x: x
    memory = decoder.encode_image(photos() if image is None else image)
    return decoder.hidden_states(memory, tf.constant(ids[None, None], tf.int32))[0][0, 0].numpy()


def remove_cross_attention(model: keras.Model) -> None:
    for layer in model.layers:
        if layer.name.startswith("cross_") and layer.name.endswith("_merge"):
            layer.set_weights([np.zeros(weight.shape) for weight in layer.weights])


def test_equals_transformers_without_causal_mask_and_photo(reference, folder, monkeypatch):
    config = ModelConfig("vit_bert", decoder_weights=str(folder), **NO_DROPOUT)
    model = build(config, vocabulary_size=26, image_shape=GRID)
    assert model.output_shape == (None, None, None, 26)
    start = [hidden_states(model, config, ids) for ids in reference["bert_ids"]]
    remove_cross_attention(model)
    causal = [hidden_states(model, config, ids) for ids in reference["bert_ids"]]
    # The cross-attention starts near zero, but not at zero.
    difference = np.abs(np.array(start) - np.array(causal))
    assert 0 < difference.max() < 0.2
    monkeypatch.setattr(transformer, "MASKED", 0.0)
    for ids, expected, causal_states in zip(
        reference["bert_ids"], reference["bert_states"], causal, strict=True
    ):
        count = (ids > 0).sum()
        hidden = hidden_states(model, config, ids[:count])
        np.testing.assert_allclose(hidden, expected[:count], atol=1e-4)
        assert np.abs(causal_states[:count] - expected[:count]).max() > 0.01


def test_equals_keras_hub(monkeypatch):
    from keras_hub.models import BertBackbone

    backbone = BertBackbone(19, 2, 2, hidden_dim=8, intermediate_dim=12, max_sequence_length=9)
    random = np.random.default_rng(0)
    for weight in backbone.trainable_variables:
        weight.assign_add(random.normal(0, 0.3, weight.shape))
    for block in backbone.transformer_layers:  # keras-hub approximates GELU
        block._feedforward_intermediate_dense.activation = keras.activations.gelu
    network = keras_hub_texts.tower_model(backbone)
    monkeypatch.setattr(texts, "build", lambda name: type("Tower", (), {"model": network}))
    config = ModelConfig("vit_bert", decoder_weights="bert_base", **NO_DROPOUT)
    model = build(config, vocabulary_size=19, image_shape=GRID)
    remove_cross_attention(model)
    ids = random.integers(1, 19, 7)
    first = hidden_states(model, config, ids)[0]
    monkeypatch.setattr(transformer, "MASKED", 0.0)
    inputs = {"token_ids": ids[None], "mask": np.ones([1, 7], np.int32)}
    np.testing.assert_allclose(
        hidden_states(model, config, ids), network(inputs)["tokens"][0], atol=1e-5
    )
    # With the causal mask, the first word does not depend on the others.
    alone = network(inputs | {"mask": np.array([[1, 0, 0, 0, 0, 0, 0]])})["tokens"][0, 0]
    np.testing.assert_allclose(first, alone, atol=1e-5)
    np.testing.assert_allclose(hidden_states(model, config, ids[:1])[0], alone, atol=1e-5)


@pytest.fixture
def tiny_minilm(monkeypatch):
    keras.utils.set_random_seed(0)
    shape = BertShape(30, width=8, depth=3, heads=4, feed_forward=20, positions=16)
    model = minilm.build(shape, token_states=True)
    names = []
    tower = type("Tower", (), {"model": model})
    monkeypatch.setattr(texts, "build", lambda name: names.append(name) or tower)
    yield model
    assert set(names) <= {"all-MiniLM-L6-v2"}


def test_sizes_come_from_the_weights_and_words_from_their_rows(tiny_minilm, tmp_path):
    config = ModelConfig("vit_bert", width=512, layers=2, heads=8)
    rows = [0, 7, 3, 29, 11]
    model = build(config, 5, GRID, rows=rows)
    table = tiny_minilm.get_layer("words").get_weights()[0]
    np.testing.assert_array_equal(model.get_layer("words").get_weights()[0], table[rows])
    first = build(config, 5, GRID).get_layer("words").get_weights()[0]
    np.testing.assert_array_equal(first, table[:5])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    decoder = get_decoder(loaded, config)
    assert (decoder.width, len(decoder.blocks), decoder.blocks[0].attention.size) == (8, 3, 2)
    assert decoder.positions.input_dim == 16 and loaded.get_layer("expand_2").units == 20
    ids = np.array([1, 2, 3, 4, 0])
    np.testing.assert_array_equal(
        hidden_states(loaded, config, ids), hidden_states(model, config, ids)
    )


def test_pretrained_weights_have_their_learning_rate_or_are_frozen(tiny_minilm):
    config = ModelConfig("vit_bert", encoder_rate=0.25)
    model = build(config, 30, GRID)
    rates = pretrained_rates(model, config)
    # All weights of MiniLM, but not the new layers.
    assert len(rates) == len(tiny_minilm.trainable_variables)
    assert {rate for _, rate in rates} == {0.25}
    pretrained = {variable.path.split("/")[0] for variable, _ in rates}
    everything = {variable.path.split("/")[0] for variable in model.trainable_variables}
    assert "words" in pretrained and "attention_2_merge" in pretrained
    new_layers = ("cross_", "cell", "transform", "final_norm", "word_bias")
    assert all(name.startswith(new_layers) for name in everything - pretrained)
    frozen = build(ModelConfig("vit_bert", encoder_rate=0.0), 30, GRID)
    trained = {variable.path.split("/")[0] for variable in frozen.trainable_variables}
    assert trained == everything - pretrained
    untrained = ModelConfig("vit_bert", width=8, heads=2, decoder_weights="random")
    assert pretrained_rates(build(untrained, 30, GRID), untrained) == []


def test_unsuitable_vocabulary_and_network_are_refused(tiny_minilm, monkeypatch):
    config = ModelConfig("vit_bert")
    message = r"MiniLM-L6-v2: expected a vocabulary of at most 30 words, got 31; set text\.wordp"
    with pytest.raises(UserError, match=message):
        build(config, 31, GRID)
    with pytest.raises(UserError, match=r"clip_vit_b16: not a BERT; set model.decoder_weights"):
        vit_bert.extract_bert(clip.text_network(tiny_clip.SHAPE), "clip_vit_b16")
