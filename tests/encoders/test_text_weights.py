"""Where text towers get their weights and vocabularies from, and which are refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from imagetext.encoders import huggingface_bert, keras_hub_texts, minilm, weights
from imagetext.encoders.clip import SHAPES, Blocks, ClipShape
from imagetext.encoders.minilm import BertShape
from imagetext.encoders.registry import TEXT_ENCODERS
from imagetext.encoders.texts import build, build_tokenizer
from imagetext.errors import UserError
from imagetext.pipelines.embeddings import MINILM
from tests.encoders.tiny_texts import FOLDERS, REFERENCE, encode, reference, set_json, texts
from tests.tiny_clip import unit

pytestmark = pytest.mark.usefixtures("no_weights")


def test_a_folder_in_the_old_format_gives_the_same(hugging_face, text_folders, monkeypatch):
    """That of google-bert: vocab.txt, gamma and beta, and no safetensors."""
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
    actual, expected = (
        encode(build(str(path)), texts()) for path in (hugging_face, text_folders["hugging_face"])
    )
    np.testing.assert_array_equal(actual["tokens"], expected["tokens"])


@pytest.mark.parametrize(
    "pooling",
    [
        {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
        {"pooling_mode": "cls", "embedding_dimension": 12},
    ],
)
def test_a_sentence_encoder_pools_as_in_training(hugging_face, pooling):
    set_json(hugging_face / "1_Pooling" / "config.json", word_embedding_dimension=12, **pooling)
    set_json(hugging_face / "sentence_bert_config.json", max_seq_length=9)
    steps = [{"type": f"sentence_transformers.models.{step}"} for step in huggingface_bert.STEPS]
    (hugging_face / "modules.json").write_text(json.dumps(steps))
    tower = build(str(hugging_face))
    first = reference()["bert_states"][:2, 0]
    np.testing.assert_allclose(encode(tower, texts()[:2])["sentence"], unit(first), atol=1e-4)
    assert tower.max_length == 9 and tower.to_ids(["dog " * 20]).shape == (1, 9)


def test_other_poolings_are_refused(hugging_face, text_folders, tmp_path):
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
    saved = Path(shutil.copytree(text_folders["bert"], tmp_path / "saved"))
    set_json(saved / "task.json", config={"pooling_mode": "cls"})
    actual = encode(build(str(saved)), texts())
    expected = unit(reference()["bert_rough_states"][:, 0])
    np.testing.assert_allclose(actual["sentence"], expected, atol=1e-4)
    set_json(saved / "task.json", config={"pooling_mode": "max"})
    with pytest.raises(UserError, match="unsupported pooling_mode 'max': expected"):
        build(str(saved))


@pytest.mark.parametrize(
    ("file", "settings", "message"),
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
def test_unsupported_settings_are_refused(hugging_face, file, settings, message):
    set_json(hugging_face / file, **settings)
    with pytest.raises(UserError, match=message) as error:
        build(str(hugging_face))
    assert str(hugging_face) in str(error.value)


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
def test_damaged_folders_are_refused(hugging_face, file, content, message):
    (hugging_face / file).unlink()
    if content is not None:
        (hugging_face / file).write_bytes(content)
    with pytest.raises(UserError, match=message):
        build(str(hugging_face))


def test_damaged_presets_are_refused(text_folders, tmp_path):
    saved = Path(shutil.copytree(text_folders["clip"], tmp_path / "saved"))
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
    saved = Path(shutil.copytree(text_folders["bert"], tmp_path / "cased"))
    set_json(saved / "tokenizer.json", config={"lowercase": False})
    with pytest.raises(UserError, match=r"tokenizer\.json: the vocabulary is cased"):
        build(str(saved))


@pytest.mark.parametrize("name", FOLDERS)
def test_a_tokenizer_is_loaded_without_its_network(text_folders, name, monkeypatch):
    for function in ("keras_hub_texts.tower_model", "clip.text_network", "minilm.build"):
        monkeypatch.setattr(f"imagetext.encoders.{function}", None)
    tokenizer = build_tokenizer(str(text_folders[name]))
    if name == "clip":
        expected = np.where(reference()["clip_mask"] == 1, reference()["clip_ids"], 0)
    else:
        expected = reference()["bert_ids"]
    np.testing.assert_array_equal(tokenizer.to_ids(texts()), expected)
    assert tokenizer.max_length == (20 if name == "clip" else 16)


@pytest.fixture
def small(monkeypatch):
    """The networks by name, a thousand times smaller."""
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "max_sequence_length": 20}
    bert = {"vocabulary_size": 23, "intermediate_dim": 4}
    monkeypatch.setattr(keras_hub_texts, "BERT_BASE", keras_hub_texts.BERT_BASE | sizes | bert)
    shape = ClipShape(Blocks(4, 1, 1, 4), Blocks(8, 1, 2, 4), 2, 8, 4, 523, 20)
    monkeypatch.setitem(SHAPES, "clip_vit_b16", shape)


def test_named_towers_can_have_random_weights(small, text_folders, tmp_path, monkeypatch):
    tokens = json.loads(reference()["bert_folder/tokenizer.json"].tobytes())["model"]["vocab"]
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("".join(f"{token}\n" for token in tokens))
    for name in ("bert_base", MINILM):
        with pytest.raises(UserError, match=r"not found, and IMAGETEXT_OFFLINE.*vocab\.txt"):
            build(name, "random")
    monkeypatch.setattr(weights, "fetch", lambda name, folder=None: vocabulary)
    tower = build("bert_base", "random")
    assert encode(tower, texts())["tokens"].shape == (4, 20, 8) and tower.max_length == 20
    shape = BertShape(vocabulary=23, width=12, depth=1, heads=2, feed_forward=4)
    build_bert = minilm.build
    monkeypatch.setattr(minilm, "build", lambda **settings: build_bert(shape, **settings))
    tower = build(MINILM, "random")
    assert encode(tower, texts())["sentence"].shape == (4, 12) and tower.max_length == 256
    with pytest.raises(UserError, match=r"vocabulary not found(?s:.)*Tokenizer\.from_pre"):
        build("clip_vit_b16", "random")
    saved = tmp_path / "imagetext_cache" / "weights" / "clip_vit_base_patch16"
    shutil.copytree(text_folders["clip"] / "assets", saved / "assets")
    assert encode(build("CLIP-ViT-B/16", "random"), texts())["sentence"].shape == (4, 8)


def test_presets_are_found_by_name(text_folders, tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGETEXT_WEIGHTS", str(tmp_path))
    shutil.copytree(text_folders["clip"], tmp_path / "clip_vit_base_patch16")
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
    # A folder that is given is the only one searched; it may be in Hugging Face's format.
    for folder in (text_folders["bert"], text_folders["hugging_face"]):
        assert build("bert_base", folder).width == 12
    with pytest.raises(UserError, match=r"expected bert_base .* got a clip of width 6"):
        build("bert_base", text_folders["clip"])
    with pytest.raises(UserError, match="no CLIP found"):
        build("clip_vit_b16", text_folders["bert"])
    for path in (tmp_path / "nowhere", REFERENCE):
        with pytest.raises(UserError, match="no such folder of weights for bert_base"):
            build("bert_base", path)
    with pytest.raises(UserError, match="contains its weights: expected no weights or"):
        build(str(text_folders["bert"]), text_folders["clip"])


@pytest.mark.parametrize("name", TEXT_ENCODERS)
def test_missing_weights_are_reported_with_remedies(name, tmp_path):
    assert TEXT_ENCODERS[name].locate() is None
    with pytest.raises(UserError, match="not found, and IMAGETEXT_OFFLINE") as error:
        build(name)
    assert "allow the download" in str(error.value)
    with pytest.raises(UserError):
        build(name, tmp_path)
