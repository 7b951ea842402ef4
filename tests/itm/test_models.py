"""The matching models: inputs and outputs, what the heads can express, saving."""

from typing import get_args, get_type_hints

import keras
import numpy as np
import pytest

from imagetext.itm.config import DataConfig, ModelConfig
from imagetext.itm.heads import HEADS
from imagetext.itm.models import build

SIDE, WIDTH = 16, 384
DATA = DataConfig(image_size=SIDE)
SMALL = {"filters": [4, 4, 4], "projection": 8, "hidden": [16], "dropout": 0.0}


def batch(photos: int = 3, sentences: int = 4, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(0, 256, (photos, SIDE, SIDE, 3), dtype=np.uint8),
        "texts": rng.normal(size=(photos, sentences, WIDTH)).astype(np.float32),
    }


def test_the_configuration_accepts_exactly_the_heads():
    assert list(get_args(get_type_hints(ModelConfig)["head"])) == list(HEADS)


@pytest.mark.parametrize("head", ["concat", "additive", "joint"])
def test_the_outputs_are_probabilities_for_every_sentence(head):
    probabilities = np.asarray(build(ModelConfig(head=head, **SMALL), DATA)(batch()))
    assert probabilities.shape == (3, 4, 2)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, atol=1e-6)


@pytest.mark.parametrize("head", ["concat", "additive", "joint"])
def test_grouping_by_photo_does_not_change_the_outputs(head):
    """A photo with k sentences gives the same outputs as k pairs."""
    model, inputs = build(ModelConfig(head=head, **SMALL), DATA), batch()
    grouped = np.asarray(model(inputs))
    pairs = {
        "image": np.repeat(inputs["image"], 4, axis=0),
        "texts": inputs["texts"].reshape(12, 1, WIDTH),
    }
    np.testing.assert_allclose(np.asarray(model(pairs)).reshape(3, 4, 2), grouped, atol=1e-5)


@pytest.mark.parametrize("inputs", ["text", "image"])
def test_a_control_ignores_the_other_side(inputs):
    model = build(ModelConfig(inputs=inputs, **SMALL), DATA)
    first, second = batch(seed=0), batch(seed=1)
    unused, used = ("image", "texts") if inputs == "text" else ("texts", "image")
    expected = np.asarray(model(first))
    np.testing.assert_array_equal(np.asarray(model(first | {unused: second[unused]})), expected)
    assert np.abs(np.asarray(model(first | {used: second[used]})) - expected).max() > 1e-4


def test_the_additive_head_cannot_express_agreement_and_the_others_can():
    """Log odds f(image) + g(text) have no interaction over two photos and two sentences."""
    inputs = batch(photos=2, sentences=1)
    crossed = {
        "image": inputs["image"],
        "texts": np.repeat(inputs["texts"].reshape(1, 2, WIDTH), 2, axis=0),
    }
    for head, additive in (("additive", True), ("concat", False), ("joint", False)):
        keras.utils.set_random_seed(3)
        outputs = np.asarray(build(ModelConfig(head=head, **SMALL), DATA)(crossed))
        odds = np.log(outputs[..., 0] / outputs[..., 1])
        interaction = odds[0, 0] - odds[0, 1] - odds[1, 0] + odds[1, 1]
        assert bool(abs(interaction) < 1e-4) is additive, (head, interaction)


@pytest.mark.parametrize("head", ["concat", "additive", "joint"])
def test_a_saved_model_opens_with_keras_alone(head, tmp_path):
    model, inputs = build(ModelConfig(head=head, **SMALL), DATA), batch()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(np.asarray(loaded(inputs)), np.asarray(model(inputs)))


def test_head_and_softmax_stay_in_float32_under_mixed_precision():
    from imagetext.training.device import precision

    with precision("mixed_bfloat16"):
        model = build(ModelConfig(head="joint", **SMALL), DATA)
    assert model.get_layer("conv_1").compute_dtype == "bfloat16"
    assert model.get_layer("hidden_1").compute_dtype == "float32"
    assert model.get_layer("match").compute_dtype == "float32"
    assert np.isfinite(np.asarray(model(batch()))).all()
