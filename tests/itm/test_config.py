"""Checks of the configuration of a matching run."""

import pytest

from imagetext.errors import UserError
from imagetext.itm.config import AlignConfig, DataConfig, ITMConfig, ModelConfig, TextConfig
from imagetext.itm.train import control_config
from imagetext.training.config import TrainConfig
from imagetext.training.config_files import load_config


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"data.image_output": "grid"}, r"data\.image_output: grid needs an image encoder"),
        (
            {"data.image_encoders": ["efficientnet_lite0", "resnet50"], "data.fine_tune": True},
            r"data\.fine_tune: needs exactly one image encoder, got 2",
        ),
        ({"data.fine_tune": True}, r"data\.fine_tune: needs exactly one image encoder, got 0"),
        (
            {"data.image_encoders": ["efficientnet_lite8"]},
            r"unknown image encoder 'efficientnet_lite8': did you mean efficientnet_lite\d",
        ),
        (
            {"data.image_encoders": ["efficientnet_lite0", "EfficientNet-Lite0"]},
            r"efficientnet_lite0, EfficientNet-Lite0: an encoder is given twice",
        ),
        (
            {"data.image_encoders": ["resnet50", "vgg16"], "data.image_weights": __file__},
            r"data\.image_weights: .*test_config\.py is a single file, but there are 2",
        ),
        ({"data.features": "there"}, r"data\.features: cannot be used, as the model reads pixels"),
        (
            {"text.input": "tokens", "text.encoder": "bert_bose"},
            r"text\.encoder: unknown text encoder 'bert_bose' .*: did you mean bert_base",
        ),
        (
            {"text.input": "tokens", "text.encoder": "all-mpnet-base-v2"},
            r"text\.encoder: unknown text encoder .*`imagetext encoders` lists all encoders",
        ),
        (
            {"text.input": "tokens", "text.encoder": "tests", "text.weights": "there"},
            r"text\.weights: tests is a folder with its own weights; leave text\.weights out",
        ),
        ({"model.head": "attention"}, r"data\.image_output grid and text\.input tokens"),
        (
            {"model.head": "attention", "text.input": "tokens"},
            r"data\.image_output grid and text\.input tokens",
        ),
        (
            {
                "model.head": "attention",
                "data.image_encoders": ["resnet50"],
                "data.image_output": "grid",
            },
            r"data\.image_output grid and text\.input tokens",
        ),
        (
            {"model.head": "attention", "model.heads": 7},
            r"model\.projection \(128\) must be divisible by model\.heads \(7\)",
        ),
        ({"model.late": 0.5}, r"model\.late: needs model\.head cosine, got concat"),
        (
            {"model.late": 0.5, "model.head": "cosine", "text.input": "tokens"},
            r"model\.late: needs the cells .*data\.image_output grid and text\.input tokens",
        ),
        ({"data.image_cells": 5}, "needs stored grids, got 5; set data.image_output grid"),
        ({"model.encoder_rate": -0.1}, r"model\.encoder_rate: must be at least 0, got -0\.1"),
        ({"model.input_dropout": 1.0}, r"model\.input_dropout: .*1\.0"),
        ({"align.epochs": -1}, r"align\.epochs: must be at least 0, got -1"),
        ({"align.batch_size": 1}, r"align\.batch_size: must be at least 2, got 1"),
        ({"align.temperature": 0.0}, r"align\.temperature: must be above 0, got 0\.0"),
        ({"align.hardness": -1.0}, r"align\.hardness: must be at least 0, got -1\.0"),
        ({"align.flips": True}, r"align\.flips: applies to stored features only"),
        ({"train.epochs": 0}, r"train\.epochs: must be at least 1 unless align\.epochs is"),
        (
            {"train.epochs": 0, "align.epochs": 3, "model.inputs": "text"},
            r"train\.epochs: must be at least 1 unless",
        ),
    ],
)
def test_invalid_values_are_refused_with_a_remedy(overrides, message):
    with pytest.raises(UserError, match=message):
        load_config(ITMConfig, None, overrides)


def test_only_the_attention_head_checks_the_number_of_heads():
    assert ModelConfig(projection=100, heads=8).projection == 100


def test_the_encoder_decides_the_input_of_the_model():
    cnn = DataConfig(image_size=64)
    stored = DataConfig(image_size=64, image_encoders=["EfficientNet-Lite2"])
    tuned = DataConfig(image_size=64, image_encoders=["efficientnet_lite2"], fine_tune=True)
    assert [c.from_pixels for c in (cnn, stored, tuned)] == [True, False, True]
    assert [c.pixels_side for c in (cnn, stored, tuned)] == [64, 260, 260]


def test_a_run_can_be_used_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    encoders = ["efficientnet_lite2"]
    data = DataConfig(root="a", image_encoders=encoders, features="b", image_weights="c").absolute()
    assert [data.root, data.features, data.image_weights] == [str(tmp_path / n) for n in "abc"]
    assert DataConfig(image_weights="random").absolute().image_weights == "random"
    (tmp_path / "bert").mkdir()
    text = TextConfig(input="tokens", encoder="bert", weights="random").absolute()
    assert (text.encoder, text.weights) == (str(tmp_path / "bert"), "random")
    for named in (TextConfig(input="tokens", encoder="bert_base"), TextConfig(encoder="bert")):
        assert named.absolute().encoder == named.encoder
    assert AlignConfig(extra_captions="d").absolute().extra_captions == str(tmp_path / "d")
    assert AlignConfig().absolute() == AlignConfig()


def test_controls_are_trained_as_long_as_the_model():
    """If the run is trained by alignment alone, they take its epochs and learning rate."""
    align = AlignConfig(epochs=7, learning_rate=0.5)
    config = ITMConfig(
        align=align, train=TrainConfig(epochs=0, learning_rate=0.1, monitor="val_auc")
    )
    assert config.aligns
    for inputs in ("text", "image"):
        control = control_config(config, inputs)
        assert (control.train.epochs, control.train.learning_rate) == (7, 0.5)
        assert control.model.inputs == inputs and not control.aligns
    trained = ITMConfig(align=align, train=TrainConfig(epochs=2, monitor="val_auc"))
    assert control_config(trained, "text").train == trained.train
