"""Text encoders by name and from folders: against PyTorch's numbers, and what is refused."""

import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from safetensors.numpy import load_file, save_file

from imagetext.encoders import huggingface_bert, keras_hub_texts, minilm, text_presets, weights
from imagetext.encoders.clip import SHAPES, Blocks, ClipShape
from imagetext.encoders.minilm import BertShape, SentenceEncoder
from imagetext.encoders.registry import TEXT_ENCODERS, text_encoder
from imagetext.encoders.text_tower import TextTower
from imagetext.encoders.texts import build, untrained_network
from imagetext.errors import UserError
from imagetext.pipelines.embeddings import MINILM

REFERENCE = Path(__file__).with_name("text_reference.npz")
BERT_BASE = dict(keras_hub_texts.BERT_BASE)


@functools.cache
def reference() -> dict[str, np.ndarray]:
    with np.load(REFERENCE) as file:
        return dict(file)


def texts() -> list[str]:
    return json.loads(reference()["texts"].tobytes())


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """No weights on this machine, and nobody to ask."""
    for name in ("IMAGETEXT_CACHE", "KAGGLEHUB_CACHE", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.delenv("IMAGETEXT_WEIGHTS", raising=False)
    monkeypatch.setenv("IMAGETEXT_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(weights, "_in_installed_package", lambda _: [])


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """The tiny networks: as Hugging Face saves a BERT, and as keras-hub a BERT and a CLIP."""
    made = {name: tmp_path_factory.mktemp(name) for name in ("hugging_face", "bert", "clip")}
    for name, content in reference().items():
        if name.startswith("bert_folder/"):
            (made["hugging_face"] / Path(name).name).write_bytes(content.tobytes())
    save_bert(made["hugging_face"], made["bert"], tmp_path_factory.mktemp("with_pooler"))
    save_clip(made["clip"])
    return made


def save_bert(source: Path, target: Path, between: Path) -> None:
    """Read by keras-hub, which wants a pooler, and saved by it."""
    from keras_hub.models import BertBackbone, BertTokenizer

    shutil.copytree(source, between, dirs_exist_ok=True)
    tensors = load_file(source / "model.safetensors")
    pooler = {"pooler.dense.weight": np.zeros([12, 12]), "pooler.dense.bias": np.zeros(12)}
    tensors |= {f"bert.{name}": np.float32(value) for name, value in pooler.items()}
    save_file(tensors, between / "model.safetensors")
    BertBackbone.from_preset(str(between)).save_to_preset(str(target))
    tokens = json.loads((source / "tokenizer.json").read_text())["model"]["vocab"]
    BertTokenizer(list(tokens), lowercase=True).save_to_preset(str(target))


def save_clip(target: Path) -> None:
    from keras_hub.models import CLIPBackbone, CLIPTextEncoder, CLIPTokenizer, CLIPVisionEncoder

    known = {
        name.removeprefix("clip/").removeprefix("text_model."): value
        for name, value in reference().items()
        if name.startswith("clip/")
    }
    eyes = CLIPVisionEncoder(2, 4, 1, 1, 4, image_shape=(4, 4, 3), name="eyes")
    reader = CLIPTextEncoder(523, 8, 8, 2, 2, 12, max_sequence_length=20, name="reader")
    backbone = CLIPBackbone(eyes, reader, 6)

    def dense(layer, name):
        layer.kernel.assign(known[f"{name}.weight"].T.reshape(layer.kernel.shape))
        layer.bias.assign(known[f"{name}.bias"].reshape(layer.bias.shape))

    def norm(layer, name):
        layer.set_weights([known[f"{name}.weight"], known[f"{name}.bias"]])

    embedding = reader.embedding
    embedding.token_embedding.embeddings.assign(known["embeddings.token_embedding.weight"])
    positions = known["embeddings.position_embedding.weight"]
    embedding.position_embedding.position_embeddings.assign(positions)
    for number, layer in enumerate(reader.encoder_layers):
        name = f"encoder.layers.{number}"
        norm(layer.layer_norm_1, f"{name}.layer_norm1")
        norm(layer.layer_norm_2, f"{name}.layer_norm2")
        dense(layer.dense_1, f"{name}.mlp.fc1")
        dense(layer.dense_2, f"{name}.mlp.fc2")
        for part in ("query", "key", "value", "output"):
            theirs = "out_proj" if part == "output" else f"{part[0]}_proj"
            dense(getattr(layer.attention, f"{part}_dense"), f"{name}.self_attn.{theirs}")
    norm(reader.layer_norm, "final_layer_norm")
    backbone.text_projection.kernel.assign(known["text_projection.weight"].T)
    backbone.save_to_preset(str(target))
    vocabulary = json.loads(reference()["clip_vocabulary"].tobytes())
    merges = reference()["clip_merges"].tobytes().decode().split("\n")
    CLIPTokenizer(vocabulary, merges).save_to_preset(str(target))


@pytest.fixture
def hugging_face(folders, tmp_path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(folders["hugging_face"], tmp_path / "hugging_face"))


@pytest.fixture(scope="module", params=["hugging_face", "bert", "clip"])
def tower(request, folders) -> TextTower:
    """One of every kind, which tests leave as it is."""
    return build(str(folders[request.param]))


def read(tower: TextTower, given: list[str]) -> dict[str, np.ndarray]:
    ids, mask = tower.tokenize(tf.constant(given))
    found = tower.model({"token_ids": ids, "mask": mask}, training=False)
    return {name: np.asarray(value) for name, value in found.items()} | {"mask": mask.numpy()}


def set_json(path: Path, **values) -> None:
    told = json.loads(path.read_text()) if path.is_file() else {}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(told | values))


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.mark.parametrize(
    ("folder", "states"), [("hugging_face", "bert_states"), ("bert", "bert_rough_states")]
)
def test_a_bert_equals_that_of_transformers(folders, folder, states):
    tower, expected = build(str(folders[folder])), reference()[states]
    ids, mask = tower.tokenize(tf.constant(texts()))
    np.testing.assert_array_equal(ids, reference()["bert_ids"])
    found = read(tower, texts())
    inside = mask.numpy() == 1
    np.testing.assert_allclose(found["tokens"][inside], expected[inside], atol=1e-4)
    mean = np.stack([row[shown].mean(0) for row, shown in zip(expected, inside, strict=True)])
    np.testing.assert_allclose(found["sentence"], unit(mean), atol=1e-4)
    assert (tower.width, tower.max_length) == (12, 16)
    # The two differ by more than what is let pass.
    apart = np.abs(reference()["bert_states"] - reference()["bert_rough_states"])[inside]
    assert apart.max() > 1e-3


def test_a_clip_equals_that_of_transformers(folders):
    tower, inside = build(str(folders["clip"])), reference()["clip_mask"] == 1
    ids, mask = tower.tokenize(tf.constant(texts()))
    np.testing.assert_array_equal(mask, inside)
    np.testing.assert_array_equal(ids, np.where(inside, reference()["clip_ids"], 0))
    found = read(tower, texts())
    np.testing.assert_allclose(
        found["tokens"][inside], reference()["clip_states"][inside], atol=1e-4
    )
    np.testing.assert_allclose(found["sentence"], unit(reference()["clip_sentences"]), atol=1e-5)
    assert (tower.width, tower.max_length) == (6, 20)


def test_what_stands_behind_a_text_does_not_matter(tower):
    given = ["a dog", "snow, 3 cafés ! on sand", ""]
    ids, mask = (part.numpy() for part in tower.tokenize(tf.constant(given)))
    ids = np.pad(ids, [(0, 0), (0, 2)], constant_values=4)
    mask = np.pad(mask, [(0, 0), (0, 2)])
    ids[mask == 0] = 4
    found = tower.model({"token_ids": ids, "mask": mask})
    for row, text in enumerate(given):
        alone = read(tower, [text])
        np.testing.assert_allclose(found["sentence"][row], alone["sentence"][0], atol=1e-5)
        shown = found["tokens"][row][: mask[row].sum()]
        np.testing.assert_allclose(shown, alone["tokens"][0], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found["sentence"], axis=1), 1, atol=1e-5)
    assert np.abs(found["sentence"][0] - found["sentence"][1]).max() > 0.01


def test_padded_ids_tell_their_mask(tower):
    # In CLIP's vocabulary the exclamation mark has the id of the padding.
    given = ["a dog!!! !", "!", "", "dog " * 30]
    ids, mask = tower.tokenize(tf.constant(given))
    padded = tower.to_ids(given)
    assert padded.dtype == np.int32
    np.testing.assert_array_equal(padded, ids)
    for rows in (padded, tf.pad(ids, [[0, 0], [0, 5]])):
        expected = np.pad(mask, [(0, 0), (0, rows.shape[1] - mask.shape[1])])
        np.testing.assert_array_equal(tower.mask(rows), expected)
    assert tower.to_ids([]).shape == (0, 0)
    with pytest.raises(TypeError, match="expected a list of texts"):
        tower.to_ids("a dog")


def test_a_saved_model_opens_without_this_package(tower, tmp_path):
    tower.model.save(tmp_path / "tower.keras")
    opened = keras.saving.load_model(tmp_path / "tower.keras", safe_mode=True)
    ids, mask = tower.tokenize(tf.constant(texts()))
    inputs = {"token_ids": ids, "mask": mask}
    for name, value in opened(inputs).items():
        np.testing.assert_allclose(value, tower.model(inputs)[name], atol=1e-6)
    assert "encoders." not in opened.to_json()


def test_it_is_exported_with_strings_as_input(tower, tmp_path):
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
        served(tf.constant(texts())), read(tower, texts())["sentence"], atol=1e-5
    )


def test_towers_are_tuned_end_to_end_or_frozen_within_another_model(tower):
    ids, mask = tower.tokenize(tf.constant(texts()))
    inputs = {name: keras.Input([None], dtype="int32", name=name) for name in ("token_ids", "mask")}
    sentence = tower.model(inputs)["sentence"]
    whole = keras.Model(inputs, layers.Dense(1, name="score")(sentence))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(whole({"token_ids": ids, "mask": mask}, training=True) ** 2)
    variables = [variable.value for variable in whole.trainable_variables]
    assert len(variables) == len(tower.model.trainable_variables) + 2 > 20
    assert all(gradient is not None for gradient in tape.gradient(loss, variables))
    given = {"token_ids": ids, "mask": mask}
    np.testing.assert_array_equal(whole(given, training=True), whole(given, training=False))
    tower.model.trainable = False
    try:
        assert len(whole.trainable_variables) == 2
    finally:
        tower.model.trainable = True


@pytest.mark.parametrize("folder", ["hugging_face", "bert", "clip"])
def test_mixed_precision_gives_float32(folders, folder):
    exact = read(build(str(folders[folder])), texts())
    policy = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        rough = read(build(str(folders[folder])), texts())
    finally:
        keras.mixed_precision.set_dtype_policy(policy)
    for name in ("sentence", "tokens"):
        assert rough[name].dtype == np.float32
        assert np.corrcoef(exact[name].ravel(), rough[name].ravel())[0, 1] > 0.98
        assert np.abs(exact[name] - rough[name]).max() > 1e-4
    np.testing.assert_allclose(np.linalg.norm(rough["sentence"], axis=1), 1, atol=1e-5)


def test_random_weights_only_where_asked_for(folders):
    for name in folders:
        trained = read(build(str(folders[name])), texts())
        random = read(build(str(folders[name]), "random"), texts())
        assert random["tokens"].shape == trained["tokens"].shape
        assert np.abs(random["tokens"] - trained["tokens"]).max() > 0.01


def test_an_older_folder_gives_the_same(hugging_face, folders, monkeypatch):
    """google-bert's own: vocab.txt, gamma and beta, and no safetensors."""
    tensors = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): value
        for name, value in load_file(hugging_face / "model.safetensors").items()
    }
    assert "bert.embeddings.LayerNorm.gamma" in tensors and "cls.predictions.bias" in tensors
    tokens = json.loads((hugging_face / "tokenizer.json").read_text())["model"]["vocab"]
    (hugging_face / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens))
    for name in ("tokenizer.json", "tokenizer_config.json", "model.safetensors"):
        (hugging_face / name).unlink()
    with pytest.raises(UserError, match=r"model\.safetensors is missing; .*`hf download"):
        build(str(hugging_face))
    (hugging_face / "pytorch_model.bin").write_bytes(b"")
    monkeypatch.setattr("imagetext.encoders.tensors.read_torch_file", lambda _: tensors)
    found, expected = (
        read(build(str(place)), texts()) for place in (hugging_face, folders["hugging_face"])
    )
    np.testing.assert_array_equal(found["tokens"], expected["tokens"])


@pytest.mark.parametrize(
    "told",
    [
        {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
        {"pooling_mode": "cls", "embedding_dimension": 12},
    ],
)
def test_a_sentence_encoder_pools_as_it_was_trained(hugging_face, told):
    set_json(hugging_face / "1_Pooling" / "config.json", word_embedding_dimension=12, **told)
    set_json(hugging_face / "sentence_bert_config.json", max_seq_length=9)
    steps = [{"type": f"sentence_transformers.models.{step}"} for step in huggingface_bert.STEPS]
    (hugging_face / "modules.json").write_text(json.dumps(steps))
    tower = build(str(hugging_face))
    first = reference()["bert_states"][:2, 0]
    np.testing.assert_allclose(read(tower, texts()[:2])["sentence"], unit(first), atol=1e-4)
    assert tower.max_length == 9 and tower.to_ids(["dog " * 20]).shape == (1, 9)


def test_other_ways_to_pool_are_refused(hugging_face, folders, tmp_path):
    pooling = hugging_face / "1_Pooling" / "config.json"
    set_json(pooling, pooling_mode_max_tokens=True, pooling_mode_mean_tokens=False)
    with pytest.raises(UserError, match=r"1_Pooling/config\.json: unsupported pooling max_tokens"):
        build(str(hugging_face))
    set_json(pooling, pooling_mode_mean_tokens=True)
    with pytest.raises(UserError, match="unsupported pooling max_tokens and mean_tokens: expected"):
        build(str(hugging_face))
    pooling.unlink()
    (hugging_face / "modules.json").write_text('[{"type": "sentence_transformers.models.Dense"}]')
    with pytest.raises(UserError, match=r"modules\.json: unsupported step .*Dense: expected"):
        build(str(hugging_face))
    saved = Path(shutil.copytree(folders["bert"], tmp_path / "saved"))
    set_json(saved / "task.json", config={"pooling_mode": "cls"})
    found = read(build(str(saved)), texts())
    expected = unit(reference()["bert_rough_states"][:, 0])
    np.testing.assert_allclose(found["sentence"], expected, atol=1e-4)
    set_json(saved / "task.json", config={"pooling_mode": "max"})
    with pytest.raises(UserError, match="unsupported pooling_mode 'max': expected"):
        build(str(saved))


@pytest.mark.parametrize(
    ("file", "told", "message"),
    [
        (
            "config.json",
            {"hidden_act": "relu"},
            "hidden_act: expected 'gelu', got 'relu'",
        ),
        ("config.json", {"position_embedding_type": "relative_key"}, "expected 'absolute', got"),
        ("config.json", {"is_decoder": True}, "is_decoder: expected False, got True"),
        ("config.json", {"hidden_size": None}, "not a valid BERT configuration"),
        (
            "config.json",
            {"num_attention_heads": 5},
            r"width \(12\) must be .* heads \(5\)",
        ),
        ("config.json", {"num_hidden_layers": 1}, r"unexpected .*layer\.1(?s:.)*SHA-256"),
        ("config.json", {"vocab_size": 9}, "has 23 pieces, but the network has 9"),
        ("config.json", {"model_type": "roberta"}, "expected a BERT or CLIP, got roberta"),
        ("config.json", {"model_type": "clip_text_model"}, "complete CLIP .*, got clip_text_model"),
        ("tokenizer_config.json", {"do_lower_case": False}, "vocabulary is cased, .* an uncased"),
        ("tokenizer_config.json", {"strip_accents": False}, "strip_accents: expected True, got F"),
        ("tokenizer_config.json", {"tokenize_chinese_chars": False}, "expected True, got False"),
        ("tokenizer.json", {"model": {"vocab": {"Dog": 0, "[CLS]": 1}}}, "the vocabulary is cased"),
        (
            "tokenizer.json",
            {"model": {"vocab": {"a": 0, "dog": 2}}},
            "contains no vocabulary of",
        ),
        (
            "tokenizer.json",
            {"model": {"vocab": [["a", 0]]}},
            "no vocabulary of word pieces",
        ),
    ],
)
def test_what_would_be_read_wrongly_is_refused(hugging_face, file, told, message):
    set_json(hugging_face / file, **told)
    with pytest.raises(UserError, match=message) as caught:
        build(str(hugging_face))
    assert str(hugging_face) in str(caught.value)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("model.safetensors", b"damaged", r"model\.safetensors: not the weights of this BERT"),
        ("config.json", b"{", r"config\.json: cannot be read as JSON"),
        ("config.json", b"[]", r"config\.json: expected an object with settings"),
        ("config.json", b"{}", "expected a BERT from Hugging Face .*, a keras-hub preset"),
        ("tokenizer.json", None, r"contains neither vocab\.txt nor tokenizer\.json"),
        ("config.json", None, "expected a BERT from Hugging Face"),
    ],
)
def test_a_flawed_folder_is_told(hugging_face, file, content, message):
    (hugging_face / file).unlink()
    if content is not None:
        (hugging_face / file).write_bytes(content)
    with pytest.raises(UserError, match=message):
        build(str(hugging_face))


def test_a_flawed_preset_is_told(folders, tmp_path):
    saved = Path(shutil.copytree(folders["clip"], tmp_path / "saved"))
    cut = (saved / "model.weights.h5").read_bytes()[:-2000]
    (saved / "model.weights.h5").write_bytes(cut)
    with pytest.raises(UserError, match=r"model\.weights\.h5: not the weights of(?s:.)*SHA-256"):
        build(str(saved))
    (saved / "assets" / "tokenizer" / "merges.txt").unlink()
    with pytest.raises(UserError, match=r"no vocabulary found; (?s:.)*assets/tokenizer/merges"):
        build(str(saved), "random")
    set_json(saved / "config.json", class_name="ResNetBackbone")
    with pytest.raises(UserError, match="expected a BERT or CLIP, got ResNetBackbone"):
        build(str(saved))
    saved = Path(shutil.copytree(folders["bert"], tmp_path / "cased"))
    set_json(saved / "tokenizer.json", config={"lowercase": False})
    with pytest.raises(UserError, match=r"tokenizer\.json: the vocabulary is cased"):
        build(str(saved))


@pytest.fixture
def small(monkeypatch):
    """Networks of the names, a thousand times smaller."""
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "max_sequence_length": 20}
    bert = {"vocabulary_size": 23, "intermediate_dim": 4}
    monkeypatch.setattr(keras_hub_texts, "BERT_BASE", BERT_BASE | sizes | bert)
    shape = ClipShape(Blocks(4, 1, 1, 4), Blocks(8, 1, 2, 4), 2, 8, 4, 523, 20)
    monkeypatch.setitem(SHAPES, "clip_vit_b16", shape)


def test_named_towers_are_random_if_told_so(small, folders, tmp_path, monkeypatch):
    tokens = json.loads(reference()["bert_folder/tokenizer.json"].tobytes())["model"]["vocab"]
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("".join(f"{token}\n" for token in tokens))
    for name in ("bert_base", MINILM):
        with pytest.raises(UserError, match=r"not found, and IMAGETEXT_OFFLINE.*vocab\.txt"):
            build(name, "random")
    monkeypatch.setattr(weights, "fetch", lambda name, folder=None: vocabulary)
    tower = build("bert_base", "random")
    assert read(tower, texts())["tokens"].shape == (4, 20, 8) and tower.max_length == 20
    shape = BertShape(vocabulary=23, width=12, depth=1, heads=2, feed_forward=4)
    made = minilm.build
    monkeypatch.setattr(minilm, "build", lambda **settings: made(shape, **settings))
    tower = build(MINILM, "random")
    assert read(tower, texts())["sentence"].shape == (4, 12) and tower.max_length == 256
    with pytest.raises(UserError, match=r"vocabulary not found(?s:.)*Tokenizer\.from_pre"):
        build("clip_vit_b16", "random")
    saved = tmp_path / "imagetext_cache" / "weights" / "clip_vit_base_patch16"
    shutil.copytree(folders["clip"] / "assets", saved / "assets")
    assert read(build("CLIP-ViT-B/16", "random"), texts())["sentence"].shape == (4, 8)


def test_presets_are_found_by_name(folders, tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGETEXT_WEIGHTS", str(tmp_path))
    shutil.copytree(folders["clip"], tmp_path / "clip_vit_base_patch16")
    with pytest.raises(UserError, match=r"not clip_vit_b16: .*; got .* vectors of width 6"):
        build("clip_vit_b16")
    shape = ClipShape(Blocks(4, 1, 1, 4), Blocks(8, 2, 2, 12), 2, 6, 4, 523, 20)
    monkeypatch.setitem(SHAPES, "clip_vit_b16", shape)
    small = {"clip_vit_b16": TEXT_ENCODERS["clip_vit_b16"], "bert_base": TEXT_ENCODERS["bert_base"]}
    for encoder, width in zip(small.values(), (6, 12), strict=True):
        changed = type(encoder)(encoder.name, 20, width, 0, weights=encoder.weights)
        monkeypatch.setitem(TEXT_ENCODERS, encoder.name, changed)
    assert TEXT_ENCODERS["clip_vit_b16"].locate() == tmp_path / "clip_vit_base_patch16"
    for name in ("clip_vit_b16", "clip_vit_base_patch16"):
        assert build(name).width == 6
    # Given, the folder is the only place; one of Hugging Face's will do.
    for folder in (folders["bert"], folders["hugging_face"]):
        assert build("bert_base", folder).width == 12
    with pytest.raises(UserError, match=r"expected bert_base .* got a clip of width 6"):
        build("bert_base", folders["clip"])
    with pytest.raises(UserError, match="no CLIP found"):
        build("clip_vit_b16", folders["bert"])
    for place in (tmp_path / "nowhere", REFERENCE):
        with pytest.raises(UserError, match="no such folder of weights for bert_base"):
            build("bert_base", place)
    with pytest.raises(UserError, match="contains its weights: expected no weights or"):
        build(str(folders["bert"]), folders["clip"])


@pytest.mark.parametrize("name", TEXT_ENCODERS)
def test_absent_weights_are_told_with_a_way_out(name, tmp_path):
    assert TEXT_ENCODERS[name].locate() is None
    with pytest.raises(UserError, match="not found, and IMAGETEXT_OFFLINE") as caught:
        build(name)
    assert "allow the download" in str(caught.value)
    with pytest.raises(UserError):
        build(name, tmp_path)


def test_names_are_found_however_they_are_spelled():
    assert text_encoder("BERT-base").name == "bert_base"
    assert text_encoder("bert_base_en_uncased").name == "bert_base"
    assert text_encoder("all_minilm_l6_v2").name == MINILM
    with pytest.raises(
        UserError, match=r"'bert_bose' \(nor a folder\): did you mean bert_base\? `"
    ):
        text_encoder("bert_bose")
    with pytest.raises(UserError, match="did you mean all-MiniLM-L6-v2"):
        build("minilm")
    with pytest.raises(
        UserError, match=r"unknown text encoder '\./no/such' \(nor a folder\); `imag"
    ):
        build("./no/such")


def test_the_registry_says_what_is_known():
    for name, encoder in TEXT_ENCODERS.items():
        assert name == encoder.name and encoder.licence and encoder.weights_from
        if encoder.is_clip:
            shape = SHAPES[name]
            assert (encoder.tokens, encoder.width) == (shape.positions, shape.vector)
        elif encoder.is_preset:
            assert (encoder.tokens, encoder.width) == (512, BERT_BASE["hidden_dim"])
    from keras_hub.models import BertBackbone, CLIPBackbone

    theirs = BertBackbone.presets | CLIPBackbone.presets
    for name, preset in text_presets.TEXT_PRESETS.items():
        assert theirs[name]["kaggle_handle"] == f"kaggle://{preset.handle}"
        assert preset.megabytes == pytest.approx(theirs[name]["metadata"]["params"] * 4e-6, abs=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", TEXT_ENCODERS)
def test_the_registry_counts_right(name):
    assert untrained_network(name).count_params() == TEXT_ENCODERS[name].parameters


def test_looking_imports_no_tensorflow():
    check = (
        "import sys; from imagetext.encoders.registry import TEXT_ENCODERS\n"
        "for encoder in TEXT_ENCODERS.values(): encoder.locate()\n"
        "sys.exit(bool({'keras', 'tensorflow', 'kagglehub'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", check], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.weights
def test_minilm_is_the_sentence_encoder_and_more(monkeypatch):
    monkeypatch.undo()
    if not weights.is_available(minilm.MODEL_FILE, minilm.VOCABULARY_FILE):
        pytest.skip("the weights of all-MiniLM-L6-v2 are not on this machine")
    tower = build(MINILM)
    assert tower.model.count_params() == TEXT_ENCODERS[MINILM].parameters
    found = read(tower, texts())
    np.testing.assert_allclose(found["sentence"], SentenceEncoder.load()(texts()), atol=1e-5)
    inside = found["mask"][..., None]
    mean = (found["tokens"] * inside).sum(1) / inside.sum(1)
    np.testing.assert_allclose(unit(mean), found["sentence"], atol=1e-5)
    np.testing.assert_array_equal(tower.mask(tower.to_ids(texts())), found["mask"])
