"""CLIP files: vocabularies and old formats that are supported, and what is refused."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from imagetext.encoders import clip_files, clip_towers, images, texts
from imagetext.errors import UserError
from tests import tiny_clip
from tests.encoders.clip_cases import END, TENSORS, TOLERANCE, tokenize
from tests.tiny_clip import NAME, PRESET, unit

pytestmark = pytest.mark.usefixtures("no_weights", "small_clip")


def test_vocabularies_in_other_formats(clip_folder, tmp_path):
    ids, _ = tokenize(texts.build_tokenizer(NAME, clip_folder("hugging_face")))
    folder = Path(shutil.copytree(clip_folder("hugging_face"), tmp_path / "new"))
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    for merges in (tiny_clip.MERGES, [merge.split(" ") for merge in tiny_clip.MERGES]):
        model = {"vocab": tiny_clip.vocabulary(), "merges": merges}
        (folder / "tokenizer.json").write_text(json.dumps({"model": model}))
        np.testing.assert_array_equal(tokenize(texts.build_tokenizer(str(folder)))[0], ids)
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0}}}))
    with pytest.raises(UserError, match=r"tokenizer\.json: contains no byte-pair vocabulary"):
        texts.build(str(folder))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"no vocabulary found; expected vocab\.json and merges"):
        texts.build(str(folder))
    for content in (b"no gzip", gzip.compress(bytes(1 << 25)), gzip.compress(b"\xff\n\xff")):
        (folder / "bpe_simple_vocab_16e6.txt.gz").write_bytes(content)
        with pytest.raises(UserError, match=r"16e6\.txt\.gz: not OpenAI's vocabulary"):
            texts.build(str(folder))
    # A GPU would use zeros for pieces without an embedding.
    pieces = tiny_clip.vocabulary() | {f"more{n}": tiny_clip.VOCABULARY + n for n in range(9)}
    (folder / "vocab.json").write_text(json.dumps(pieces))
    (folder / "merges.txt").write_text("\n".join(tiny_clip.MERGES))
    with pytest.raises(UserError, match="has 531 pieces, but the network has 522"):
        texts.build(str(folder))


def test_a_folder_in_the_old_format_of_hugging_face(clip_folder, tmp_path, monkeypatch):
    """pytorch_model.bin with position ids, and a configuration with sizes in two places."""
    folder = Path(shutil.copytree(clip_folder("hugging_face"), tmp_path / "old"))
    settings = json.loads((folder / "config.json").read_text())
    settings["text_config_dict"] = settings["text_config"]
    settings["text_config"] = {"hidden_size": 9}
    (folder / "config.json").write_text(json.dumps(settings))
    counted = {f"{half}_model.embeddings.position_ids": np.arange(9)[None] for half in ("text",)}
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    monkeypatch.setattr("imagetext.encoders.tensors.read_torch_file", lambda _: TENSORS | counted)
    tower = texts.build(NAME, folder)
    ids, mask = tokenize(tower)
    actual = tower.model({"token_ids": ids, "mask": mask})["sentence"]
    np.testing.assert_allclose(actual, unit(tiny_clip.read(TENSORS, ids, END)[1]), atol=TOLERANCE)


def change_tensors(folder: Path, change) -> Path:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_missing_unexpected_and_misshapen_tensors_are_refused(tmp_path):
    block = "vision_model.encoder.layers.1.mlp.fc1"
    for number, (change, message) in enumerate(
        [
            (lambda t: t.pop(f"{block}.bias"), rf"missing {block}\.bias"),
            (lambda t: t.update({"vision_model.x": np.zeros(1)}), r"unexpected vision_model\.x"),
            (
                lambda t: t.update({f"{block}.weight": np.zeros((96, 9))}),
                r"has shape \(96, 9\), which does not fit ",
            ),
            (
                lambda t: t.update({f"{block}.bias": np.zeros(9)}),
                r"has shape \(9,\), which",
            ),
            (
                lambda t: t.update({"vision_model.embeddings.class_embedding": np.zeros(9)}),
                r"class_embedding has shape \(9,\), which",
            ),
        ]
    ):
        folder = tiny_clip.save_hugging_face(tmp_path / str(number), TENSORS)
        change_tensors(folder, change)
        with pytest.raises(
            UserError, match=rf"safetensors: not the weights of this CLIP: .*{message}"
        ):
            images.build(NAME, weights=folder)
        texts.build(NAME, folder)  # the tensors of this tower are complete
    folder = change_tensors(
        tiny_clip.save_hugging_face(tmp_path / "text", TENSORS),
        lambda t: t.pop("text_projection.weight"),
    )
    with pytest.raises(UserError, match=r"this CLIP: missing text_projection\.weight$"):
        texts.build(NAME, folder)
    folder = change_tensors(
        tiny_clip.save_hugging_face(tmp_path / "scale", TENSORS), lambda t: t.pop("logit_scale")
    )
    with pytest.raises(UserError, match="missing logit_scale"):
        clip_towers.scale(PRESET, folder)


def test_tensors_in_the_original_format_are_reported_by_their_names(tmp_path):
    for number, (change, message) in enumerate(
        [
            (lambda t: t.pop("visual.ln_post.bias"), r"missing visual\.ln_post\.bias"),
            (lambda t: t.pop("text_projection"), "missing text_projection"),
            (lambda t: t.update({"logit_bias": np.zeros(1)}), "unexpected logit_bias"),
            (
                lambda t: t.update({"visual.layer1.0.conv1.weight": np.zeros(1)}),
                "a ResNet are not",
            ),
            (
                lambda t: t.update({"visual.ln_post.bias": np.zeros(7, np.float32)}),
                r"vision_model\.post_layernorm\.bias has shape \(7,\)",
            ),
        ]
    ):
        folder = tiny_clip.save_open_clip(tmp_path / str(number), TENSORS)
        path = folder / "open_clip_model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)
        with pytest.raises(UserError, match=message) as error:
            images.build(NAME, weights=folder)
        assert str(path) in str(error.value)


def set_config(folder: Path, half: str | None = None, **values) -> Path:
    path = folder / "config.json"
    settings = json.loads(path.read_text())
    (settings[half] if half else settings).update(values)
    path.write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize(
    ("half", "values", "message"),
    [
        (
            None,
            {"model_type": "clip_text_model"},
            r"complete CLIP .*, got clip_text_model",
        ),
        (None, {"model_type": "bert"}, "no CLIP found; expected a CLIP from Hugging"),
        (
            "vision_config",
            {"hidden_act": "relu"},
            "activation 'relu': expected 'quick_g",
        ),
        (
            "vision_config",
            {"num_attention_heads": 3},
            r"width \(128\) must be .* heads \(3\)",
        ),
        ("vision_config", {"hidden_size": None}, "not a valid CLIP configuration"),
        ("vision_config", {"num_channels": 4}, "expected num_channels 3, got 4"),
        (
            "vision_config",
            {"patch_size": 0},
            "patch must be from 1 to 12, .* got 0",
        ),
        (
            "vision_config",
            {"num_hidden_layers": 3},
            "not clip_vit_b32: .*; got .* 3 blocks",
        ),
        ("vision_config", {"image_size": 16}, "expected photos of 12 .*; got photos of 16"),
        (None, {"projection_dim": 8}, "got .* vectors of width 8$"),
    ],
)
def test_unsupported_configurations_are_refused(tmp_path, half, values, message):
    folder = set_config(tiny_clip.save_hugging_face(tmp_path / "clip", TENSORS), half, **values)
    with pytest.raises(UserError, match=message) as error:
        images.build(NAME, weights=folder)
    assert str(folder) in str(error.value)


def test_wrong_paths_are_refused(clip_folder, tmp_path):
    with pytest.raises(UserError, match="nowhere: no such file or folder of weights"):
        images.build(NAME, weights=tmp_path / "nowhere")
    with pytest.raises(UserError, match="no CLIP found; expected a CLIP"):
        images.build(NAME, weights=tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(UserError, match="no weights found; expected a CLIP"):
        images.build(NAME, weights=tmp_path)
    (tmp_path / "config.json").write_text('{"class_name": "ResNetBackbone"}')
    with pytest.raises(UserError, match="no CLIP found"):
        images.build(NAME, weights=tmp_path)
    (tmp_path / "config.json").unlink()
    for name in ("ViT-B-32.pt", "ViT-B-16.pt"):
        (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"contains 2 \.pt files; specify which one to read"):
        images.build(NAME, weights=tmp_path)
    with pytest.raises(UserError, match=r"ViT-B-32\.pt: not a complete PyTorch file"):
        images.build(NAME, weights=tmp_path / "ViT-B-32.pt")
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"model\.safetensors: not the weights of a CLIP(?s:.)*SHA"):
        images.build(NAME, weights=tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"the input size of .* is always 12"):
        images.build(f"{NAME}@32", weights=clip_folder("openai"))


def test_weights_without_their_configuration_are_refused(tmp_path):
    folder = tiny_clip.save_open_clip(tmp_path, TENSORS)
    (folder / "open_clip_config.json").unlink()
    with pytest.raises(
        UserError,
        match=r"activation .* is unknown; put its open_clip_config\.json nex",
    ):
        images.build(NAME, weights=folder)
    settings = {"model_cfg": {"vision_cfg": {"attentional_pool": True}}}
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match=r"vision_cfg\.attentional_pool is not supported"):
        images.build(NAME, weights=folder)


def test_the_number_of_heads_is_configured_in_open_clip(tmp_path):
    """It does not follow from the shapes of the tensors."""
    settings = {"vision_cfg": {"head_width": 32}, "text_cfg": {"heads": 4}}
    folder = tiny_clip.save_open_clip(tmp_path, TENSORS, **settings)
    shape = clip_files.read(folder).shape
    assert (shape.photos.heads, shape.texts.heads) == (4, 4)
    assert clip_files.read(tiny_clip.save_open_clip(tmp_path, TENSORS)).shape == tiny_clip.SHAPE
