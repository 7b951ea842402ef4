"""Compiled encoders give the model's features, and probes choose the fastest precision."""

import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from imagetext.encoders import forward
from imagetext.encoders.forward import compile_encoder, probe
from imagetext.errors import UserError

PHOTOS = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)


def network(scale: float = 1 / 128) -> keras.Model:
    """A small encoder with trained statistics of its batch norm."""
    keras.utils.set_random_seed(1)
    image = keras.Input([8, 8, 3], dtype="uint8", name="image")
    x = keras.layers.Rescaling(scale, offset=-1)(image)
    x = keras.layers.Conv2D(6, 3, strides=2, padding="same", use_bias=False)(x)
    norm = keras.layers.BatchNormalization()
    x = keras.layers.ReLU()(norm(x))
    x = keras.layers.Conv2D(5, 3, strides=2, padding="same")(x)
    x = keras.layers.Activation("linear", dtype="float32")(x)
    norm.moving_mean.assign(np.linspace(-1, 1, 6))
    norm.moving_variance.assign(np.linspace(0.5, 2, 6))
    norm.gamma.assign(np.linspace(2, 1, 6))
    return keras.Model(image, x)


@pytest.mark.parametrize("precision", ["float32", "float32+xla"])
def test_the_compiled_encoder_equals_the_model_for_any_batch(precision):
    expected = network().predict(PHOTOS, verbose=0)
    run = compile_encoder(network, precision, "float32")
    np.testing.assert_allclose(run(tf.constant(PHOTOS)), expected, atol=1e-5)
    np.testing.assert_allclose(run(tf.constant(PHOTOS[3:4])), expected[3:4], atol=1e-5)
    assert compile_encoder(network, precision, "bfloat16")(tf.constant(PHOTOS)).dtype == tf.bfloat16


def test_the_policy_is_set_only_while_the_model_is_built():
    exact = compile_encoder(network, "float32", "float32")(tf.constant(PHOTOS)).numpy()
    half = compile_encoder(network, "mixed_bfloat16", "float32")(tf.constant(PHOTOS)).numpy()
    off = np.linalg.norm(half - exact) / np.linalg.norm(exact)
    assert 1e-4 < off < 3e-2
    assert keras.config.dtype_policy().name == "float32"

    def fails():
        raise RuntimeError(keras.config.dtype_policy().name)

    with pytest.raises(RuntimeError, match="mixed_bfloat16"):
        compile_encoder(fails, "mixed_bfloat16", "float16")
    assert keras.config.dtype_policy().name == "float32"
    with pytest.raises(
        UserError, match="unknown precision 'int8': expected auto, float32, mixed_b"
    ):
        compile_encoder(network, "int8", "float16")


@pytest.mark.parametrize(
    ("seconds", "off", "chosen"),
    [
        (0.01, 0.005, "mixed_bfloat16"),
        (0.01, 0.02, "float32"),  # fast, but inaccurate
        (0.01, np.nan, "float32"),
        (0.06, 0.0, "float32"),  # accurate, but slow
    ],
)
def test_the_fastest_accurate_precision_is_chosen(monkeypatch, seconds, off, chosen):
    exact = np.arange(1, 11, dtype=np.float32).reshape(5, 2)

    def stand_in(build, precision, dtype):
        slow, factor = (0.03, 1.0) if precision == "float32" else (seconds, 1 + off)

        def run(photos):
            time.sleep(slow)
            return tf.constant(exact * np.where(np.arange(5) == 2, factor, 1)[:, None], tf.float32)

        return run

    monkeypatch.setattr(forward, "compile_encoder", stand_in)
    monkeypatch.setattr(forward, "has_gpu", lambda: False)
    actual = probe(network, PHOTOS, "float16")
    assert actual.precision == chosen
    factor = actual.forward(tf.constant(PHOTOS)).numpy() / exact
    assert np.allclose(factor, 1 if chosen == "float32" else factor)
    assert actual.summary.startswith("float32 ") and "; mixed_bfloat16 " in actual.summary
    assert f"error {100 * off:.2g} %" in actual.summary or np.isnan(off)


def test_a_real_probe_is_accurate():
    actual = probe(network, PHOTOS, "float16")
    expected = network().predict(PHOTOS, verbose=0)
    rows = actual.forward(tf.constant(PHOTOS)).numpy().astype(np.float32)
    assert rows.shape == expected.shape
    assert np.linalg.norm(rows - expected) <= 0.011 * np.linalg.norm(expected)


def test_a_probe_with_overflowing_features_chooses_float32():
    """Storing them will raise a clear error; the probe must not raise another one."""
    assert probe(lambda: network(1e6), PHOTOS, "float16").precision == "float32"
