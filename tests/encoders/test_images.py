"""Image towers: outputs, scaling of pixels, saving, training and mixed precision."""

import functools
import hashlib
import inspect
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from keras.src.legacy.saving import legacy_h5_format

from imagetext.encoders import registry
from imagetext.encoders.images import build
from imagetext.encoders.registry import IMAGE_ENCODERS
from imagetext.errors import UserError
from tests.encoders.image_cases import DEVIATION, KINDS, MEAN, photos

pytestmark = pytest.mark.usefixtures("no_weights", "narrow_vit")

#: Encoder -> a small input size, with 2 x 2 cells. ViT has only one size.
SMALL = {
    "efficientnet_lite0": 64,
    "efficientnet_lite0_last3": 64,
    "efficientnet_b0": 64,
    "vgg16": 64,
    "resnet50": 64,
    "mobilenet_v2": 64,
    "resnet18": 64,
}


def side(name: str) -> int:
    return SMALL.get(name, IMAGE_ENCODERS[name].size)


def small(name: str) -> str:
    """The name of the encoder with the small input size."""
    return f"{name}@{SMALL[name]}" if name in SMALL else name


@functools.cache
def grid_tower(name: str) -> keras.Model:
    """A tower that tests leave as it is."""
    return build(small(name), "grid", weights="random")


@pytest.mark.parametrize("name", ["efficientnet_lite0", "vgg16", "resnet18"])
def test_all_outputs_come_from_the_grid(name):
    batch, width = photos(side(name)), IMAGE_ENCODERS[name].width
    grid = np.asarray(grid_tower(name)(batch))
    assert np.ptp(grid) > 0 and np.isfinite(grid).all()
    pooled, flat = (build(small(name), kind, weights="random") for kind in ("pooled", "flat"))
    for tower in (pooled, flat):
        tower.set_weights(grid_tower(name).get_weights())
    np.testing.assert_allclose(pooled(batch), grid.mean((1, 2)), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(flat(batch), grid.reshape(2, -1))
    assert (pooled.output_shape, flat.output_shape) == ((None, width), (None, 4 * width))


@pytest.mark.parametrize("name", [*SMALL, "vit_b16"])
def test_inputs_are_uint8_and_outputs_float32_cells(name):
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
    batch = photos(224)
    backbone = next(each for each in towers["grid"].layers if isinstance(each, keras.Model))
    tokens = np.asarray(backbone(batch / 127.5 - 1.0))
    np.testing.assert_allclose(towers["pooled"](batch), tokens[:, 0], atol=1e-4)
    grid = np.asarray(towers["grid"](batch))
    np.testing.assert_allclose(grid, tokens[:, 1:].reshape(2, 14, 14, 8), atol=1e-4)
    np.testing.assert_array_equal(towers["flat"](batch), grid.reshape(2, -1))
    # A change of the patch in row 3, column 5 shows in this cell.
    other = batch.copy()
    other[:, 48:64, 80:96] ^= 255
    changed = np.abs(towers["grid"](other) - grid).sum((0, 3))
    assert np.unravel_index(changed.argmax(), changed.shape) == (3, 5)


#: Keras' modules, with the preprocessing of each network.
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
def test_towers_equal_the_networks_of_keras(name):
    """With the same weights, after Keras' preprocessing."""
    tower, batch = grid_tower(name), photos(side(name))
    inputs = APPLICATIONS[name].preprocess_input(batch.astype(np.float32))
    make = getattr(keras.applications, IMAGE_ENCODERS[name].network)
    reference = make(include_top=False, weights=None, input_shape=batch.shape[1:])
    reference.set_weights(tower.get_weights())
    np.testing.assert_allclose(tower(batch), reference(inputs), rtol=1e-3, atol=1e-4)


def published_efficientnet(path: Path) -> None:
    """A random file like that of Keras, with standard deviations in place of variances."""
    model = keras.applications.EfficientNetB0(include_top=False, weights=None)
    random = np.random.default_rng(5)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            # Photos have to give different features, without amplifying rounding errors.
            shape = layer.gamma.shape
            gamma, variance = random.uniform(0.8, 1.2, shape), random.uniform(0.5, 1, shape)
            layer.set_weights([gamma, *random.normal(0, 0.3, (2, *shape)), variance])
        elif isinstance(layer, layers.Normalization):
            layer.set_weights([MEAN, DEVIATION, np.zeros((), np.float32)])
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)


def test_an_efficientnet_from_a_file_equals_that_of_keras(tmp_path, monkeypatch):
    """Keras corrects the scaling only if it has downloaded the weights itself."""
    path = tmp_path / "keras_home" / "models" / "efficientnetb0_notop.h5"
    path.parent.mkdir(parents=True)
    published_efficientnet(path)
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    module = inspect.getmodule(keras.applications.EfficientNetB0)
    monkeypatch.setitem(module.WEIGHTS_HASHES, "b0", ("", md5))
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: path.parents[1])
    reference = keras.applications.EfficientNetB0(include_top=False, weights="imagenet")
    # Under another name, because under the published one the published hash is required.
    renamed = path.rename(tmp_path / "renamed.h5")
    tower = build("efficientnet_b0@64", "grid", weights=renamed)
    batch = photos(64)
    expected = np.asarray(reference(batch))
    np.testing.assert_allclose(tower(batch), expected, atol=1e-3 * expected.std())
    assert np.abs(expected[0] - expected[1]).mean() > 0.03 * expected.std()
    # Towers with random weights scale pixels, too.
    random = grid_tower("efficientnet_b0")
    layer = next(each for each in random.layers if isinstance(each, layers.Normalization))
    scaled = keras.Model(random.inputs[0], layer.output)(photos(64))
    np.testing.assert_allclose(scaled, (photos(64) / 255 - MEAN) / DEVIATION, atol=1e-4)
    tower.save(tmp_path / "b0.keras")
    opened = keras.saving.load_model(tmp_path / "b0.keras", safe_mode=True)
    np.testing.assert_array_equal(opened(photos(64)), tower(photos(64)))


@pytest.mark.parametrize("name", KINDS)
def test_a_saved_tower_is_loaded_without_this_package(name, tmp_path):
    tower, batch = grid_tower(name), photos(side(name))
    tower.save(tmp_path / "tower.keras")
    opened = keras.saving.load_model(tmp_path / "tower.keras", safe_mode=True)
    np.testing.assert_array_equal(opened(batch), tower(batch))
    assert "encoders" not in opened.to_json()


@pytest.mark.parametrize("name", KINDS)
def test_towers_are_trained_or_frozen_inside_another_model(name):
    tower, batch = grid_tower(name), photos(side(name))
    image = keras.Input(batch.shape[1:], dtype="uint8", name="photo")
    whole = keras.Model(image, layers.Flatten()(tower(image)))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(whole(batch, training=False) ** 2)
    assert len(whole.trainable_variables) == len(tower.trainable_variables) > 5
    gradients = tape.gradient(loss, [variable.value for variable in whole.trainable_variables])
    assert all(gradient is not None for gradient in gradients)
    before = tower.get_weights()
    tower.trainable = False
    try:
        # Including batch norm: the results are the same in training, and its averages fixed.
        exact, trained = whole(batch, training=False), whole(batch, training=True)
        if name != "efficientnet_b0":  # it has dropout in spite of freezing
            np.testing.assert_allclose(trained, exact, rtol=1e-4, atol=1e-5)
        assert not whole.trainable_variables
    finally:
        tower.trainable = True
    for then, now in zip(before, tower.get_weights(), strict=True):
        np.testing.assert_array_equal(then, now)


@pytest.mark.parametrize("name", KINDS)
def test_mixed_precision_gives_float32(name):
    exact, batch = grid_tower(name), photos(side(name))
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
        assert tower.output.dtype == "float32" == tower(batch).dtype.name, kind
    grid, rough = np.asarray(exact(batch)), np.asarray(mixed["grid"](batch))
    assert np.corrcoef(grid.ravel(), rough.ravel())[0, 1] > 0.98


def test_impossible_outputs_and_sizes_are_refused():
    with pytest.raises(UserError, match="unknown output 'vector'; expected one of pooled, grid"):
        build("resnet50", "vector", weights="random")
    with pytest.raises(UserError, match="the input size of vit_b16 is always 224"):
        build("vit_b16@256", weights="random")


def test_the_weights_of_another_network_are_refused(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, grid_tower("mobilenet_v2"))
    with pytest.raises(UserError, match=r"other\.h5: not the weights of VGG16: .*(?s:.)*SHA-256"):
        build("vgg16", weights=tmp_path / "other.h5")
