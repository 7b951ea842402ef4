"""Where image towers get their weights from, and which are refused."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from imagetext.encoders import images, keras_hub_images
from imagetext.encoders.images import build
from imagetext.errors import UserError
from tests.encoders.image_cases import DEVIATION, KINDS, MEAN, photos

pytestmark = pytest.mark.usefixtures("no_weights", "narrow_vit")


@pytest.mark.parametrize("name", KINDS)
def test_missing_weights_are_reported_with_remedies(name, tmp_path):
    assert not images.is_available(name) and images.locate(name) is None
    for function in (build, images.weights_digest):
        with pytest.raises(UserError, match="not found, and IMAGETEXT_OFFLINE") as error:
            function(name)
        assert "allow the download" in str(error.value)
        with pytest.raises(UserError, match="nowhere: "):
            function(name, weights=tmp_path / "nowhere")
    assert images.weights_digest(name, "random") == "random"


def test_damaged_files_are_refused_with_their_hashes(tmp_path, monkeypatch):
    path = tmp_path / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    path.write_bytes(b"wrong")
    for arguments in ({"weights": tmp_path}, {"weights": path}, {}):
        monkeypatch.setenv("IMAGETEXT_WEIGHTS", str(tmp_path))
        with pytest.raises(UserError) as error:
            build("vgg16", **arguments)
        for part in (
            str(path),
            "expected MD5 6d6bbae143d832006294945121d1f1fc",
            hashlib.md5(b"wrong").hexdigest(),
            hashlib.sha256(b"wrong").hexdigest(),
        ):
            assert part in str(error.value)
    assert images.locate("vgg16") == path and not images.is_available("vgg16")


@pytest.mark.parametrize("name", ["vgg16", "efficientnet_lite0"])
def test_other_files_must_fit(name, tmp_path):
    path = tmp_path / "mine.h5"
    path.write_bytes(b"no weights")
    with pytest.raises(
        UserError, match=r"mine\.h5: not (the weights of VGG16|a complete PyTorch file)"
    ) as error:
        build(name, weights=path)
    assert f"found SHA-256 {hashlib.sha256(b'no weights').hexdigest()}" in str(error.value)


def test_keras_hub_presets_are_loaded_from_a_folder(tmp_path, monkeypatch):
    from keras_hub.models import ResNetBackbone

    folder = tmp_path / "presets" / "resnet_18_imagenet"
    saved = ResNetBackbone(**keras_hub_images.RESNET18)
    saved.save_to_preset(str(folder))
    batch = photos(64)
    expected = saved((batch / 255 - MEAN) / DEVIATION)
    monkeypatch.setenv("IMAGETEXT_WEIGHTS", str(tmp_path / "presets"))
    assert images.is_available("resnet18") and images.locate("resnet18") == folder
    digest = hashlib.sha256((folder / "model.weights.h5").read_bytes()).hexdigest()
    for source in (None, folder, folder.parent):
        tower = build("resnet18@64", "grid", source)
        np.testing.assert_allclose(tower(batch), expected, rtol=1e-3, atol=1e-4)
        assert images.weights_digest("resnet18", source) == digest
    cut = (folder / "model.weights.h5").read_bytes()[:-1000]
    (folder / "model.weights.h5").write_bytes(cut)
    with pytest.raises(
        UserError, match=r"model\.weights\.h5: not the weights of resnet18"
    ) as error:
        build("resnet18")
    assert hashlib.sha256(cut).hexdigest() in str(error.value)


def test_another_resnet_is_refused(tmp_path):
    from keras_hub.models import ResNetBackbone

    deeper = keras_hub_images.RESNET18 | {"stackwise_num_blocks": [1, 1, 1, 1]}
    ResNetBackbone(**deeper).save_to_preset(str(tmp_path))
    with pytest.raises(
        UserError, match=r"not a resnet18: expected .*_num_blocks .*, got \[1, 1, 1, 1\]"
    ):
        build("resnet18", weights=tmp_path)


def numpy_vit(tensors: dict, inputs: np.ndarray, heads: int) -> np.ndarray:
    """Scaled photos [b, 224, 224, 3] -> states of class token and patches [b, 197, width]."""

    def dense(x, name):
        return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    def norm(x, name):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-12)
        return x * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]

    patches = inputs.reshape(-1, 14, 16, 14, 16, 3).transpose(0, 1, 3, 5, 2, 4)
    kernel = tensors["vit.embeddings.patch_embeddings.projection.weight"]
    x = patches.reshape(-1, 196, 768) @ kernel.reshape(len(kernel), 768).T
    x = x + tensors["vit.embeddings.patch_embeddings.projection.bias"]
    first = np.repeat(tensors["vit.embeddings.cls_token"], len(x), 0)
    x = np.concatenate([first, x], 1) + tensors["vit.embeddings.position_embeddings"]
    layer = "vit.encoder.layer.0"
    inside = norm(x, f"{layer}.layernorm_before")
    query, key, value = (
        np.stack(np.split(dense(inside, f"{layer}.attention.attention.{part}"), heads, -1), 1)
        for part in ("query", "key", "value")
    )
    scores = np.exp(query @ key.swapaxes(-1, -2) / np.sqrt(query.shape[-1]))
    mixed = scores / scores.sum(-1, keepdims=True) @ value
    mixed = mixed.transpose(0, 2, 1, 3).reshape(x.shape)
    x = x + dense(mixed, f"{layer}.attention.output.dense")
    inside = dense(norm(x, f"{layer}.layernorm_after"), f"{layer}.intermediate.dense")
    inside = inside * 0.5 * (1 + np.vectorize(math.erf)(inside / np.sqrt(2)))
    return norm(x + dense(inside, f"{layer}.output.dense"), "vit.layernorm")


def vit_checkpoint(folder: Path) -> dict[str, np.ndarray]:
    """Save the narrow ViT like Hugging Face, with an unusual scaling of pixels."""
    sizes = {
        "vit.embeddings.patch_embeddings.projection.weight": (8, 3, 16, 16),
        "vit.embeddings.patch_embeddings.projection.bias": (8,),
        "vit.embeddings.cls_token": (1, 1, 8),
        "vit.embeddings.position_embeddings": (1, 197, 8),
        "classifier.weight": (5, 8),
        "classifier.bias": (5,),
    }
    layer = "vit.encoder.layer.0"
    for name in ("query", "key", "value"):
        sizes[f"{layer}.attention.attention.{name}.weight"] = (8, 8)
        sizes[f"{layer}.attention.attention.{name}.bias"] = (8,)
    for name, out, into in [
        (f"{layer}.attention.output.dense", 8, 8),
        (f"{layer}.intermediate.dense", 16, 8),
        (f"{layer}.output.dense", 8, 16),
    ]:
        sizes |= {f"{name}.weight": (out, into), f"{name}.bias": (out,)}
    for name in (f"{layer}.layernorm_before", f"{layer}.layernorm_after", "vit.layernorm"):
        sizes |= {f"{name}.weight": (8,), f"{name}.bias": (8,)}
    random = np.random.default_rng(3)
    tensors = {name: np.float32(random.normal(0, 0.3, size)) for name, size in sizes.items()}
    config = {
        "model_type": "vit",
        "architectures": ["ViTForImageClassification"],
        **{"image_size": 224, "patch_size": 16, "hidden_size": 8, "intermediate_size": 16},
        **{"num_hidden_layers": 1, "num_attention_heads": 2, "qkv_bias": True},
        **{"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    }
    scaling = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(scaling))
    save_file(tensors, folder / "model.safetensors")
    return tensors


def test_a_vit_from_hugging_face_equals_a_numpy_vit(tmp_path):
    tensors = vit_checkpoint(tmp_path / "vit")
    tower = build("vit_b16", "pooled", weights=tmp_path / "vit")
    batch = photos(224)
    scaled = (batch / 255 - np.array([0.4, 0.5, 0.6])) / np.array([0.2, 0.3, 0.4])
    expected = numpy_vit(tensors, scaled, heads=2)
    np.testing.assert_allclose(tower(batch), expected[:, 0], atol=1e-3)
    grid = build("vit_b16", "grid", weights=tmp_path / "vit")(batch)
    np.testing.assert_allclose(grid, expected[:, 1:].reshape(2, 14, 14, 8), atol=1e-3)


def test_the_digest_includes_settings(tmp_path):
    """With another scaling of pixels, the same weights give other features."""
    vit_checkpoint(tmp_path / "vit")
    digests = [images.weights_digest("vit_b16", tmp_path / "vit")]
    for name, key in (("preprocessor_config.json", "image_mean"), ("config.json", "hidden_size")):
        file = tmp_path / "vit" / name
        settings = json.loads(file.read_text())
        file.write_text(json.dumps(settings | {key: settings[key] * 2}))
        digests.append(images.weights_digest("vit_b16", tmp_path / "vit"))
    assert len(set(digests)) == 3 and {len(digest) for digest in digests} == {64}


def test_the_digest_of_a_file_ignores_other_files(tmp_path):
    (tmp_path / "mine.pth").write_bytes(b"weights")
    (tmp_path / "config.json").write_text("{}")
    digest = images.weights_digest("efficientnet_lite0", tmp_path / "mine.pth")
    assert digest == hashlib.sha256(b"weights").hexdigest()


def test_damaged_checkpoints_are_refused(tmp_path):
    folder = tmp_path / "vit"
    tensors = vit_checkpoint(folder)
    del tensors["vit.layernorm.weight"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(
        UserError, match=r"model\.safetensors: not the weights of vit_b16: .*layern"
    ):
        build("vit_b16", weights=folder)
    (folder / "preprocessor_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"preprocessor_config\.json: not the weights"):
        build("vit_b16", weights=folder)
