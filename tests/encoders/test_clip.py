"""CLIP towers in all formats equal a CLIP in NumPy; how they are saved and trained."""

import functools
import hashlib
import json
import math
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from imagetext.encoders import clip_towers, images, registry, text_presets, texts
from imagetext.encoders.clip import SHAPES
from imagetext.encoders.extraction import identity
from imagetext.errors import UserError
from tests import tiny_clip
from tests.encoders.clip_cases import END, FORMATS, TENSORS, TOLERANCE, photos, tokenize
from tests.fresh import run_fresh
from tests.tiny_clip import NAME, PHOTOS, POSITIONS, PRESET, SIZE, TEXTS, VECTOR, unit

pytestmark = pytest.mark.usefixtures("no_weights", "small_clip")


@pytest.fixture(scope="module")
def image_tower(clip_folder, small_clip):
    """A function of format and output: a tower, built once, that tests leave as it is."""
    return functools.cache(
        lambda name, output="pooled": images.build(NAME, output, clip_folder(name))
    )


@pytest.fixture(scope="module")
def text_tower(clip_folder, small_clip):
    """The same for texts."""
    return functools.cache(lambda name: texts.build(NAME, clip_folder(name)))


@pytest.mark.parametrize("name", FORMATS)
def test_image_towers_equal_a_numpy_clip(image_tower, name):
    cells, vectors = tiny_clip.seen(TENSORS, photos())
    pooled = image_tower(name)
    assert (pooled.input_shape, pooled.output_shape) == ((None, SIZE, SIZE, 3), (None, VECTOR))
    np.testing.assert_allclose(pooled(photos()), vectors, atol=TOLERANCE * np.abs(vectors).max())
    grid = image_tower(name, "grid")
    np.testing.assert_allclose(grid(photos()), cells, atol=TOLERANCE * np.abs(cells).max())
    assert np.abs(vectors[0] - vectors[1]).max() > 0.1


@pytest.mark.parametrize("name", FORMATS)
def test_text_towers_equal_a_numpy_clip(text_tower, name):
    tower = text_tower(name)
    ids, mask = tokenize(tower)
    tokens, vectors = tiny_clip.read(TENSORS, ids, END)
    actual = tower.model({"token_ids": ids, "mask": mask})
    shown = mask == 1
    assert shown.sum(1).tolist()[1] == 2 and shown.sum(1).max() == POSITIONS == tower.max_length
    np.testing.assert_allclose(actual["tokens"][shown], tokens[shown], atol=2e-4 * TOLERANCE / 2e-5)
    np.testing.assert_allclose(actual["sentence"], unit(vectors), atol=TOLERANCE)
    assert np.abs(unit(vectors)[0] - unit(vectors)[2]).max() > 0.05
    assert tower.model.name == "clip" and tower.width == VECTOR


@pytest.mark.parametrize("name", FORMATS)
def test_the_scale_is_the_learned_one(clip_folder, name):
    assert clip_towers.scale(PRESET, clip_folder(name)) == pytest.approx(40)


def test_a_file_and_its_folder_give_the_same(clip_folder, image_tower):
    for name, file in (("openai", "ViT-B-32.pt"), ("open_clip", "open_clip_model.safetensors")):
        path = clip_folder(name) / file
        expected = image_tower(name)(photos())
        np.testing.assert_array_equal(images.build(NAME, weights=path)(photos()), expected)
        for tower in (
            texts.build(NAME, path),
            texts.build(str(path)),
            texts.build(str(path.parent)),
        ):
            ids, mask = tokenize(tower)
            target = unit(tiny_clip.read(TENSORS, ids, END)[1])
            actual = tower.model({"token_ids": ids, "mask": mask})["sentence"]
            np.testing.assert_allclose(actual, target, atol=TOLERANCE)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert images.weights_digest(NAME, path) == images.weights_digest(NAME, path.parent)
        assert identity(NAME, "pooled", path)["weights"] == digest


def test_the_activation_is_that_of_training(tmp_path):
    """LAION's CLIPs were trained with the exact GELU; using the other one raises no error."""
    folder = tiny_clip.save_hugging_face(tmp_path / "hf", TENSORS)
    settings = json.loads((folder / "config.json").read_text())
    for name in ("vision_config", "text_config"):
        settings[name]["hidden_act"] = "gelu"
    (folder / "config.json").write_text(json.dumps(settings))
    other = tiny_clip.save_open_clip(tmp_path / "laion", TENSORS, quick_gelu=False)
    _, expected = tiny_clip.seen(TENSORS, photos(), "gelu")
    difference = np.abs(expected - tiny_clip.seen(TENSORS, photos())[1]).max()
    for path in (folder, other):
        actual = images.build(NAME, weights=path)(photos())
        np.testing.assert_allclose(actual, expected, atol=TOLERANCE * np.abs(expected).max())
        tower = texts.build(NAME, path)
        ids, mask = tokenize(tower)
        target = unit(tiny_clip.read(TENSORS, ids, END, "gelu")[1])
        actual = tower.model({"token_ids": ids, "mask": mask})["sentence"]
        np.testing.assert_allclose(actual, target, atol=TOLERANCE)
    assert difference > 100 * TOLERANCE * np.abs(expected).max()


def test_pixels_are_scaled_as_configured(tmp_path):
    folder = tiny_clip.save_hugging_face(tmp_path, TENSORS)
    scaling = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
    (folder / "preprocessor_config.json").write_text(json.dumps(scaling))
    mean, deviation = (np.array(values) for values in scaling.values())
    # The NumPy CLIP always uses the scaling of CLIP, so that it needs other pixels.
    scaled = (photos() / 255 - mean) / deviation
    pixels = 255 * (scaled * tiny_clip.DEVIATION + tiny_clip.MEAN)
    _, expected = tiny_clip.seen(TENSORS, pixels)
    actual = images.build(NAME, weights=folder)(photos())
    np.testing.assert_allclose(actual, expected, atol=TOLERANCE * np.abs(expected).max())


def test_presets_are_found_by_name(clip_folder, tmp_path, monkeypatch):
    assert images.locate(NAME) is None and registry.TEXT_ENCODERS[NAME].locate() is None
    with pytest.raises(UserError, match="not found, and IMAGETEXT_OFFLINE") as error:
        images.build(NAME)
    assert "a CLIP from Hugging Face or OpenAI" in str(error.value)
    monkeypatch.setenv("IMAGETEXT_WEIGHTS", str(tmp_path))
    for name in ("hugging_face", "keras_hub"):
        shutil.copytree(clip_folder(name), tmp_path / PRESET)
        assert images.locate(NAME) == text_presets.locate(PRESET) == tmp_path / PRESET
        assert images.is_available(NAME)
        for source in (None, tmp_path, tmp_path / PRESET):
            actual = images.build(NAME, weights=source)(photos())
            expected = tiny_clip.seen(TENSORS, photos())[1]
            np.testing.assert_allclose(actual, expected, atol=TOLERANCE * np.abs(expected).max())
            assert texts.build(NAME, source).width == VECTOR
        shutil.rmtree(tmp_path / PRESET)


def test_random_weights_only_if_requested(clip_folder, tmp_path):
    first, second = (images.build(NAME, weights="random") for _ in range(2))
    assert np.abs(first(photos()) - second(photos())).max() > 0.01
    with pytest.raises(UserError, match="vocabulary not found"):
        texts.build(NAME, "random")
    cache = tmp_path / "imagetext_cache" / "weights" / PRESET
    shutil.copytree(clip_folder("keras_hub") / "assets", cache / "assets")
    assert texts.build(NAME, "random").width == VECTOR
    for name in FORMATS:
        assert texts.build(str(clip_folder(name)), "random").width == VECTOR
    assert clip_towers.scale(PRESET, "random") == pytest.approx(1 / 0.07)


def test_saved_towers_are_loaded_by_keras_alone(clip_folder, tmp_path):
    """In a process without this package and without keras-hub."""
    before = keras.config.dtype_policy()
    for policy in ("float32", "mixed_bfloat16"):
        keras.config.set_dtype_policy(policy)
        try:
            image_tower = images.build(NAME, "grid", clip_folder("openai"))
            text_tower = texts.build(NAME, clip_folder("openai"))
        finally:
            keras.config.set_dtype_policy(before)
        ids, mask = tokenize(text_tower)
        inputs = {"token_ids": ids, "mask": mask}
        outputs = {
            "cells": image_tower(photos()),
            "sentence": text_tower.model(inputs)["sentence"],
        }
        assert {part.dtype.name for part in outputs.values()} == {"float32"}
        folder = tmp_path / policy
        folder.mkdir()
        np.savez(folder / "arrays.npz", photos=photos(), **inputs, **outputs)
        image_tower.save(folder / "image.keras")
        text_tower.model.save(folder / "text.keras")
    script = """
import sys, keras, numpy as np
for policy in ("float32", "mixed_bfloat16"):
    arrays = np.load(f"{policy}/arrays.npz")
    cells = keras.saving.load_model(f"{policy}/image.keras")(arrays["photos"])
    sentence = keras.saving.load_model(f"{policy}/text.keras")(
        {name: arrays[name] for name in ("token_ids", "mask")})["sentence"]
    np.testing.assert_allclose(cells, arrays["cells"], atol=1e-4)
    np.testing.assert_allclose(sentence, arrays["sentence"], atol=1e-5)
sys.exit(bool({"imagetext", "keras_hub"} & set(sys.modules)))
"""
    done = run_fresh(script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()[-2000:]


@pytest.mark.parametrize("name", ["hugging_face", "openai"])
def test_towers_are_trained_without_dropout(image_tower, text_tower, name):
    image, text = image_tower(name), text_tower(name)
    ids, mask = tokenize(text)
    with tf.GradientTape() as tape:
        vectors = image(photos(), training=True)
        sentences = text.model({"token_ids": ids, "mask": mask}, training=True)["sentence"]
        loss = tf.reduce_sum(vectors @ tf.transpose(sentences))
    variables = [*image.trainable_variables, *text.model.trainable_variables]
    assert len(variables) == 2 * 16 * 2 + 4 + 1 + 1 + 1 + 2 + 1 + 1 + 1
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    assert all(gradient is not None for gradient in gradients)
    np.testing.assert_array_equal(vectors, image(photos(), training=False))


def test_names_have_the_sizes_of_openai():
    """Also the sizes that `registered` has replaced agree with the registry."""
    shape, large = SHAPES["clip_vit_b16"], SHAPES["clip_vit_l14"]
    assert (shape.cells, shape.vector, shape.photos.width, shape.texts.heads) == (14, 512, 768, 8)
    assert (large.cells, large.vector, large.photos.depth, large.photos.heads) == (16, 768, 24, 16)
    for name, shape in SHAPES.items():
        encoder, reader = registry.IMAGE_ENCODERS[name], registry.TEXT_ENCODERS[name]
        assert encoder.shape("pooled") == [shape.vector] == [reader.width]
        assert encoder.shape("grid") == [shape.cells, shape.cells, shape.photos.width]
        assert encoder.shape("flat") == [math.prod(encoder.shape("grid"))]
        assert encoder.size == shape.size and reader.tokens == shape.positions
        assert encoder.weights == reader.weights and encoder.is_clip and reader.is_clip
        assert encoder.licence == "MIT" and PHOTOS.width > TEXTS.width
    assert not registry.image_encoder("vit_b16").is_clip
