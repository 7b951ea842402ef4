"""Image encoders by name: every output, every scaling, and weights that are refused."""

import functools
import hashlib
import inspect
import json
import math
import re
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from keras.src.legacy.saving import legacy_h5_format
from safetensors.numpy import save_file

from imagetext.encoders import images, keras_hub_images, presets, registry, weights
from imagetext.encoders.extraction import identity
from imagetext.encoders.images import build
from imagetext.encoders.registry import FIXED, IMAGE_ENCODERS, image_encoder
from imagetext.errors import UserError

#: Encoder -> a small size of photo, with 2 x 2 cells. ViT has one size only.
SMALL = {
    "efficientnet_lite0": 64,
    "efficientnet_lite0_last3": 64,
    "efficientnet_b0": 64,
    "vgg16": 64,
    "resnet50": 64,
    "mobilenet_v2": 64,
    "resnet18": 64,
}
#: One of every way in which towers are made.
KINDS = ["efficientnet_lite0", "efficientnet_b0", "vgg16", "resnet18", "vit_b16"]
VIT_B16 = dict(keras_hub_images.VIT_B16)
MEAN, DEVIATION = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def photos(size: int) -> np.ndarray:
    return np.random.default_rng(size).integers(0, 256, (2, size, size, 3), np.uint8)


@pytest.fixture(scope="module", autouse=True)
def narrow_vit():
    """A ViT of one narrow layer: as many patches, a hundredth of the work."""
    small = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 16}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras_hub_images, "VIT_B16", keras_hub_images.VIT_B16 | small)
        yield


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """No weights on this machine, and nobody to ask."""
    for name in ("IMAGETEXT_CACHE", "KERAS_HOME", "KAGGLEHUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.delenv("IMAGETEXT_WEIGHTS", raising=False)
    monkeypatch.setenv("IMAGETEXT_OFFLINE", "1")


def side(name: str) -> int:
    return SMALL.get(name, IMAGE_ENCODERS[name].size)


def small(name: str) -> str:
    """The same encoder for smaller photos."""
    return f"{name}@{SMALL[name]}" if name in SMALL else name


@functools.cache
def grid_tower(name: str) -> keras.Model:
    """Built once for all tests, which leave it as it is."""
    return build(small(name), "grid", weights="random")


@pytest.mark.parametrize("name", ["efficientnet_lite0", "vgg16", "resnet18"])
def test_the_three_outputs_belong_together(name):
    seen, width = photos(side(name)), IMAGE_ENCODERS[name].width
    grid = np.asarray(grid_tower(name)(seen))
    assert np.ptp(grid) > 0 and np.isfinite(grid).all()
    pooled, flat = (build(small(name), kind, weights="random") for kind in ("pooled", "flat"))
    for tower in (pooled, flat):
        tower.set_weights(grid_tower(name).get_weights())
    np.testing.assert_allclose(pooled(seen), grid.mean((1, 2)), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(flat(seen), grid.reshape(2, -1))
    assert (pooled.output_shape, flat.output_shape) == ((None, width), (None, 4 * width))


@pytest.mark.parametrize("name", [*SMALL, "vit_b16"])
def test_photos_go_in_as_bytes_and_cells_come_out(name):
    tower, encoder = grid_tower(name), IMAGE_ENCODERS[name]
    assert tower.name == small(name).replace("@", "_")
    assert (tower.inputs[0].name, tower.inputs[0].dtype) == ("image", "uint8")
    assert tower.input_shape == (None, side(name), side(name), 3)
    assert tower.output.dtype == "float32"
    if name != "vit_b16":
        assert tower.output_shape == (None, 2, 2, encoder.width)
        assert tower.count_params() == encoder.parameters


def test_vits_vector_is_the_class_token_and_its_grid_the_patches():
    towers = {kind: build("vit_b16", kind, weights="random") for kind in ("pooled", "flat")}
    towers["grid"] = grid_tower("vit_b16")
    for tower in towers.values():
        tower.set_weights(towers["grid"].get_weights())
    seen = photos(224)
    backbone = next(one for one in towers["grid"].layers if isinstance(one, keras.Model))
    tokens = np.asarray(backbone(seen / 127.5 - 1.0))
    np.testing.assert_allclose(towers["pooled"](seen), tokens[:, 0], atol=1e-4)
    grid = np.asarray(towers["grid"](seen))
    np.testing.assert_allclose(grid, tokens[:, 1:].reshape(2, 14, 14, 8), atol=1e-4)
    np.testing.assert_array_equal(towers["flat"](seen), grid.reshape(2, -1))
    # The patch in row 3, column 5 is told apart from its neighbours.
    other = seen.copy()
    other[:, 48:64, 80:96] ^= 255
    changed = np.abs(towers["grid"](other) - grid).sum((0, 3))
    assert np.unravel_index(changed.argmax(), changed.shape) == (3, 5)


#: What Keras itself does to photos before each network.
APPLICATIONS = {
    "vgg16": keras.applications.vgg16,
    "resnet50": keras.applications.resnet,
    "mobilenet_v2": keras.applications.mobilenet_v2,
    "inception_v3": keras.applications.inception_v3,
}


@pytest.mark.parametrize("name", APPLICATIONS)
def test_photos_are_scaled_as_keras_does(name):
    scaling = grid_tower(name).get_layer("scale").output
    scaled = keras.Model(grid_tower(name).inputs[0], scaling)(photos(side(name)))
    expected = APPLICATIONS[name].preprocess_input(photos(side(name)).astype(np.float32))
    np.testing.assert_allclose(scaled, expected, atol=2e-5)


@pytest.mark.parametrize("name", APPLICATIONS)
def test_the_networks_are_those_of_keras_behind_its_scaling(name):
    """The whole tower against the network as Keras alone builds it, with the same weights."""
    tower, seen = grid_tower(name), photos(side(name))
    given = APPLICATIONS[name].preprocess_input(seen.astype(np.float32))
    make = getattr(keras.applications, IMAGE_ENCODERS[name].network)
    theirs = make(include_top=False, weights=None, input_shape=seen.shape[1:])
    theirs.set_weights(tower.get_weights())
    np.testing.assert_allclose(tower(seen), theirs(given), rtol=1e-3, atol=1e-4)


def published_efficientnet(path: Path) -> None:
    """A file like Keras' own: random, but the deviation kept where its square belongs."""
    model = keras.applications.EfficientNetB0(include_top=False, weights=None)
    random = np.random.default_rng(5)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            # Such that photos are told apart at the far end, and rounding errors are not.
            shape = layer.gamma.shape
            gamma, variance = random.uniform(0.8, 1.2, shape), random.uniform(0.5, 1, shape)
            layer.set_weights([gamma, *random.normal(0, 0.3, (2, *shape)), variance])
        elif isinstance(layer, layers.Normalization):
            layer.set_weights([MEAN, DEVIATION, np.zeros((), np.float32)])
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)


def test_an_efficientnet_from_a_file_equals_the_one_that_keras_downloads(tmp_path, monkeypatch):
    """Keras scales photos otherwise in networks whose weights it has not fetched itself."""
    path = tmp_path / "keras_home" / "models" / "efficientnetb0_notop.h5"
    path.parent.mkdir(parents=True)
    published_efficientnet(path)
    known = hashlib.md5(path.read_bytes()).hexdigest()
    module = inspect.getmodule(keras.applications.EfficientNetB0)
    monkeypatch.setitem(module.WEIGHTS_HASHES, "b0", ("", known))
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: path.parents[1])
    theirs = keras.applications.EfficientNetB0(include_top=False, weights="imagenet")
    own = path.rename(tmp_path / "own.h5")  # by the published name, the published hash is wanted
    ours = build("efficientnet_b0@64", "grid", weights=own)
    seen = photos(64)
    expected = np.asarray(theirs(seen))
    np.testing.assert_allclose(ours(seen), expected, atol=1e-3 * expected.std())
    assert np.abs(expected[0] - expected[1]).mean() > 0.03 * expected.std()
    # Random weights too are given scaled photos.
    tower = grid_tower("efficientnet_b0")
    layer = next(one for one in tower.layers if isinstance(one, layers.Normalization))
    scaled = keras.Model(tower.inputs[0], layer.output)(photos(64))
    np.testing.assert_allclose(scaled, (photos(64) / 255 - MEAN) / DEVIATION, atol=1e-4)
    ours.save(tmp_path / "b0.keras")
    opened = keras.saving.load_model(tmp_path / "b0.keras", safe_mode=True)
    np.testing.assert_array_equal(opened(photos(64)), ours(photos(64)))


@pytest.mark.parametrize("name", KINDS)
def test_a_saved_tower_opens_without_this_package(name, tmp_path):
    tower, seen = grid_tower(name), photos(side(name))
    tower.save(tmp_path / "tower.keras")
    opened = keras.saving.load_model(tmp_path / "tower.keras", safe_mode=True)
    np.testing.assert_array_equal(opened(seen), tower(seen))
    assert "encoders" not in opened.to_json()


@pytest.mark.parametrize("name", KINDS)
def test_towers_are_tuned_end_to_end_or_frozen_within_another_model(name):
    tower, seen = grid_tower(name), photos(side(name))
    image = keras.Input(seen.shape[1:], dtype="uint8", name="photo")
    whole = keras.Model(image, layers.Flatten()(tower(image)))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(whole(seen, training=False) ** 2)
    assert len(whole.trainable_variables) == len(tower.trainable_variables) > 5
    gradients = tape.gradient(loss, [variable.value for variable in whole.trainable_variables])
    assert all(gradient is not None for gradient in gradients)
    before = tower.get_weights()
    tower.trainable = False
    try:
        # Batch norm too: a frozen tower gives the same in training, and learns no averages.
        exact, trained = whole(seen, training=False), whole(seen, training=True)
        if name != "efficientnet_b0":  # whose dropout is not stopped by freezing
            np.testing.assert_allclose(trained, exact, rtol=1e-4, atol=1e-5)
        assert not whole.trainable_variables
    finally:
        tower.trainable = True
    for then, now in zip(before, tower.get_weights(), strict=True):
        np.testing.assert_array_equal(then, now)


@pytest.mark.parametrize("name", KINDS)
def test_mixed_precision_gives_float32(name):
    exact, seen = grid_tower(name), photos(side(name))
    policy = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        kinds = registry.OUTPUTS if name in ("vgg16", "vit_b16") else ["grid"]
        mixed = {kind: build(small(name), kind, weights="random") for kind in kinds}
    finally:
        keras.mixed_precision.set_dtype_policy(policy)
    assert any(layer.compute_dtype == "bfloat16" for layer in mixed["grid"].layers)
    for kind, tower in mixed.items():
        tower.set_weights(exact.get_weights())
        assert tower.output.dtype == "float32" == tower(seen).dtype.name, kind
    grid, rough = np.asarray(exact(seen)), np.asarray(mixed["grid"](seen))
    assert np.corrcoef(grid.ravel(), rough.ravel())[0, 1] > 0.98


def test_every_encoder_names_weights_that_are_known():
    for name, encoder in IMAGE_ENCODERS.items():
        assert name == encoder.name and encoder.licence and encoder.weights_from
        assert encoder.is_preset or encoder.weights in weights.WEIGHT_FILES


@pytest.mark.slow
@pytest.mark.parametrize("name", IMAGE_ENCODERS)
def test_the_registry_says_what_is_built(name, monkeypatch):
    monkeypatch.setattr(keras_hub_images, "VIT_B16", VIT_B16)
    encoder = IMAGE_ENCODERS[name]
    tower = build(name, "grid", weights="random")
    assert tower.input_shape == (None, encoder.size, encoder.size, 3)
    assert tower.output_shape == (None, encoder.cells, encoder.cells, encoder.width)
    assert tower.count_params() == encoder.parameters


def test_hashes_and_handles_are_those_that_keras_has():
    applications = keras.applications
    for encoder in IMAGE_ENCODERS.values():
        if encoder.module == "keras_applications":
            source = inspect.getsource(inspect.getmodule(getattr(applications, encoder.network)))
            file = weights.WEIGHT_FILES[encoder.weights]
            assert file.md5 or encoder.name == "mobilenet_v2"
            assert f'"{file.md5}"' in source or not file.md5
            folder, filename = file.url.removeprefix("https://").rsplit("/", 1)
            assert filename == Path(file.name).name
            joined = source.replace('"\n    "', "")
            assert folder in joined
    from keras_hub.models import ResNetBackbone, ViTBackbone

    theirs = ResNetBackbone.presets | ViTBackbone.presets
    for name, preset in presets.PRESETS.items():
        assert theirs[name]["kaggle_handle"] == f"kaggle://{preset.handle}"


def test_a_network_takes_photos_of_another_side():
    """They are other features, of more cells and by the same weights."""
    larger = image_encoder("EfficientNet-Lite0@64")
    assert (larger.name, larger.shape("grid")) == ("efficientnet_lite0@64", [2, 2, 1280])
    assert larger.weights == image_encoder("efficientnet_lite0").weights
    assert build("efficientnet_lite0@64", "grid", weights="random").output_shape[1:3] == (2, 2)
    told = [identity(name, weights="random") for name in ("efficientnet_lite0@64", "vgg16@64")]
    assert [(one["encoder"], one["size"]) for one in told] == [
        ("efficientnet_lite0@64", 64),
        ("vgg16@64", 64),
    ]
    assert image_encoder("efficientnet_lite2@260") == image_encoder("efficientnet_lite2")
    for wrong in ("resnet50@100", "resnet50@", "resnet50@0", "resnet50@-32", "resnet50@4096"):
        with pytest.raises(UserError, match=f"{wrong}: .* a multiple of 32, up to 1024"):
            image_encoder(wrong)
    for fixed in ("vit_b16@384", "clip_vit_b32@384", "inception_v3@320"):
        with pytest.raises(UserError, match=rf"{fixed}: the input size of .* is always \d+"):
            image_encoder(fixed)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [n for n, e in IMAGE_ENCODERS.items() if e.network not in FIXED and not e.is_clip]
)
def test_the_cells_of_another_side_are_those_that_are_built(name):
    tower = build(f"{name}@96", "grid", weights="random")
    assert tower.output_shape[1:] == tuple(image_encoder(f"{name}@96").shape("grid"))


def test_names_are_found_however_they_are_spelled():
    for spelled in ("EfficientNetB0", "EfficientNet-B0", "efficientnet_b0"):
        assert image_encoder(spelled).name == "efficientnet_b0"
    assert image_encoder("ViT-B/16").name == "vit_b16"
    with pytest.raises(
        UserError,
        match=r"encoder 'resnet51': did you mean resnet50.*imagetext encoders",
    ):
        image_encoder("resnet51")
    with pytest.raises(UserError, match="did you mean efficientnet_lite0"):
        image_encoder("lite0")
    for strange in ("xyz", "?"):
        with pytest.raises(UserError, match=rf"encoder '{re.escape(strange)}'; `imagetext enc"):
            image_encoder(strange)
    with pytest.raises(UserError, match="MiniLM: encodes texts, not images"):
        image_encoder("MiniLM")


def test_what_cannot_be_built_is_told():
    with pytest.raises(UserError, match="unknown output 'vector'; expected one of pooled, grid"):
        build("resnet50", "vector", weights="random")
    with pytest.raises(UserError, match="the input size of vit_b16 is always 224"):
        build("vit_b16@256", weights="random")


@pytest.mark.parametrize("name", KINDS)
def test_absent_weights_are_told_with_a_way_out(name, tmp_path):
    assert not images.is_available(name) and images.locate(name) is None
    for ask in (build, images.weights_digest):
        with pytest.raises(UserError, match="not found, and IMAGETEXT_OFFLINE") as caught:
            ask(name)
        assert "allow the download" in str(caught.value)
        with pytest.raises(UserError, match="nowhere: "):
            ask(name, weights=tmp_path / "nowhere")
    assert images.weights_digest(name, "random") == "random"


def test_a_wrong_file_is_refused_with_its_hashes(tmp_path, monkeypatch):
    path = tmp_path / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    path.write_bytes(b"wrong")
    for given in ({"weights": tmp_path}, {"weights": path}, {}):
        monkeypatch.setenv("IMAGETEXT_WEIGHTS", str(tmp_path))
        with pytest.raises(UserError) as caught:
            build("vgg16", **given)
        for part in (
            str(path),
            "expected MD5 6d6bbae143d832006294945121d1f1fc",
            hashlib.md5(b"wrong").hexdigest(),
            hashlib.sha256(b"wrong").hexdigest(),
        ):
            assert part in str(caught.value)
    assert images.locate("vgg16") == path and not images.is_available("vgg16")


@pytest.mark.parametrize("name", ["vgg16", "efficientnet_lite0"])
def test_a_file_of_your_own_must_fit(name, tmp_path):
    path = tmp_path / "mine.h5"
    path.write_bytes(b"no weights")
    with pytest.raises(
        UserError, match=r"mine\.h5: not (the weights of VGG16|a complete PyTorch file)"
    ) as told:
        build(name, weights=path)
    assert f"found SHA-256 {hashlib.sha256(b'no weights').hexdigest()}" in str(told.value)


def test_the_weights_of_another_network_are_refused(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, grid_tower("mobilenet_v2"))
    with pytest.raises(UserError, match=r"other\.h5: not the weights of VGG16: .*(?s:.)*SHA-256"):
        build("vgg16", weights=tmp_path / "other.h5")


def test_presets_of_keras_hub_are_read_from_a_folder(tmp_path, monkeypatch):
    from keras_hub.models import ResNetBackbone

    folder = tmp_path / "presets" / "resnet_18_imagenet"
    saved = ResNetBackbone(**keras_hub_images.RESNET18)
    saved.save_to_preset(str(folder))
    seen = photos(64)
    expected = saved((seen / 255 - MEAN) / DEVIATION)
    monkeypatch.setenv("IMAGETEXT_WEIGHTS", str(tmp_path / "presets"))
    assert images.is_available("resnet18") and images.locate("resnet18") == folder
    digest = hashlib.sha256((folder / "model.weights.h5").read_bytes()).hexdigest()
    for given in (None, folder, folder.parent):
        tower = build("resnet18@64", "grid", given)
        np.testing.assert_allclose(tower(seen), expected, rtol=1e-3, atol=1e-4)
        assert images.weights_digest("resnet18", given) == digest
    cut = (folder / "model.weights.h5").read_bytes()[:-1000]
    (folder / "model.weights.h5").write_bytes(cut)
    with pytest.raises(UserError, match=r"model\.weights\.h5: not the weights of resnet18") as told:
        build("resnet18")
    assert hashlib.sha256(cut).hexdigest() in str(told.value)


def test_another_resnet_is_not_taken_for_resnet18(tmp_path):
    from keras_hub.models import ResNetBackbone

    deeper = keras_hub_images.RESNET18 | {"stackwise_num_blocks": [1, 1, 1, 1]}
    ResNetBackbone(**deeper).save_to_preset(str(tmp_path))
    with pytest.raises(
        UserError, match=r"not a resnet18: expected .*_num_blocks .*, got \[1, 1, 1, 1\]"
    ):
        build("resnet18", weights=tmp_path)


def numpy_vit(tensors: dict, given: np.ndarray, heads: int) -> np.ndarray:
    """Scaled photos [b, 224, 224, 3] -> states of class token and patches [b, 197, width]."""

    def dense(x, name):
        return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    def norm(x, name):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-12)
        return x * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]

    patches = given.reshape(-1, 14, 16, 14, 16, 3).transpose(0, 1, 3, 5, 2, 4)
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
    """A folder as Hugging Face's, of the narrow ViT, trained on photos scaled in its own way."""
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


def test_a_vit_of_hugging_faces_equals_a_plain_numpy_vit(tmp_path):
    tensors = vit_checkpoint(tmp_path / "vit")
    tower = build("vit_b16", "pooled", weights=tmp_path / "vit")
    seen = photos(224)
    given = (seen / 255 - np.array([0.4, 0.5, 0.6])) / np.array([0.2, 0.3, 0.4])
    expected = numpy_vit(tensors, given, heads=2)
    np.testing.assert_allclose(tower(seen), expected[:, 0], atol=1e-3)
    grid = build("vit_b16", "grid", weights=tmp_path / "vit")(seen)
    np.testing.assert_allclose(grid, expected[:, 1:].reshape(2, 14, 14, 8), atol=1e-3)


def test_the_same_weights_with_another_scaling_are_others(tmp_path):
    """Features of one must not be taken for the other's."""
    vit_checkpoint(tmp_path / "vit")
    digests = [images.weights_digest("vit_b16", tmp_path / "vit")]
    for name, key in (("preprocessor_config.json", "image_mean"), ("config.json", "hidden_size")):
        file = tmp_path / "vit" / name
        told = json.loads(file.read_text())
        file.write_text(json.dumps(told | {key: told[key] * 2}))
        digests.append(images.weights_digest("vit_b16", tmp_path / "vit"))
    assert len(set(digests)) == 3 and {len(digest) for digest in digests} == {64}


def test_what_lies_beside_a_file_of_weights_is_not_its(tmp_path):
    (tmp_path / "mine.pth").write_bytes(b"weights")
    (tmp_path / "config.json").write_text("{}")
    digest = images.weights_digest("efficientnet_lite0", tmp_path / "mine.pth")
    assert digest == hashlib.sha256(b"weights").hexdigest()


def test_a_flawed_checkpoint_is_told(tmp_path):
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
