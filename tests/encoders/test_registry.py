"""Encoders by name: their descriptions are right, whatever the spelling."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from imagetext.encoders import keras_hub_texts, presets, text_presets, weights
from imagetext.encoders.clip import SHAPES
from imagetext.encoders.extraction import identity
from imagetext.encoders.images import build
from imagetext.encoders.registry import (
    FIXED,
    IMAGE_ENCODERS,
    TEXT_ENCODERS,
    image_encoder,
    text_encoder,
)
from imagetext.encoders.texts import untrained_network
from imagetext.errors import UserError
from imagetext.pipelines.embeddings import MINILM

pytestmark = pytest.mark.usefixtures("no_weights")


def test_image_encoders_have_published_weights():
    for name, encoder in IMAGE_ENCODERS.items():
        assert name == encoder.name and encoder.licence and encoder.weights_from
        assert encoder.is_preset or encoder.weights in weights.WEIGHT_FILES


@pytest.mark.slow
@pytest.mark.parametrize("name", IMAGE_ENCODERS)
def test_image_encoders_are_built_as_described(name):
    encoder = IMAGE_ENCODERS[name]
    tower = build(name, "grid", weights="random")
    assert tower.input_shape == (None, encoder.size, encoder.size, 3)
    assert tower.output_shape == (None, *encoder.shape("grid"))
    assert tower.count_params() == encoder.parameters


def test_hashes_and_handles_are_those_of_keras():
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

    reference = ResNetBackbone.presets | ViTBackbone.presets
    for name, preset in presets.PRESETS.items():
        assert reference[name]["kaggle_handle"] == f"kaggle://{preset.handle}"


def test_image_encoders_take_another_input_size():
    """With the same weights, but these are other features and more cells."""
    larger = image_encoder("EfficientNet-Lite0@64")
    assert (larger.name, larger.shape("grid")) == ("efficientnet_lite0@64", [2, 2, 1280])
    assert larger.weights == image_encoder("efficientnet_lite0").weights
    assert build("efficientnet_lite0@64", "grid", weights="random").output_shape[1:3] == (2, 2)
    identities = [
        identity(name, weights="random") for name in ("efficientnet_lite0@64", "vgg16@64")
    ]
    assert [(each["encoder"], each["size"]) for each in identities] == [
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
def test_other_input_sizes_have_the_described_cells(name):
    tower = build(f"{name}@96", "grid", weights="random")
    assert tower.output_shape[1:] == tuple(image_encoder(f"{name}@96").shape("grid"))


def test_spelling_of_image_encoders_does_not_matter():
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


def test_spelling_of_text_encoders_does_not_matter():
    assert text_encoder("BERT-base").name == "bert_base"
    assert text_encoder("bert_base_en_uncased").name == "bert_base"
    assert text_encoder("all_minilm_l6_v2").name == MINILM
    with pytest.raises(
        UserError, match=r"'bert_bose' \(nor a folder\): did you mean bert_base\? `"
    ):
        text_encoder("bert_bose")
    with pytest.raises(UserError, match="did you mean all-MiniLM-L6-v2"):
        text_encoder("minilm")
    with pytest.raises(
        UserError, match=r"unknown text encoder '\./no/such' \(nor a folder\); `imag"
    ):
        text_encoder("./no/such")


def test_text_encoders_are_described_rightly():
    for name, encoder in TEXT_ENCODERS.items():
        assert name == encoder.name and encoder.licence and encoder.weights_from
        if encoder.is_clip:
            shape = SHAPES[name]
            assert (encoder.tokens, encoder.width) == (shape.positions, shape.vector)
        elif encoder.is_preset:
            assert (encoder.tokens, encoder.width) == (512, keras_hub_texts.BERT_BASE["hidden_dim"])
    from keras_hub.models import BertBackbone, CLIPBackbone

    reference = BertBackbone.presets | CLIPBackbone.presets
    for name, preset in text_presets.TEXT_PRESETS.items():
        assert reference[name]["kaggle_handle"] == f"kaggle://{preset.handle}"
        assert preset.megabytes == pytest.approx(
            reference[name]["metadata"]["params"] * 4e-6, abs=1
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", TEXT_ENCODERS)
def test_text_encoders_have_the_described_parameters(name):
    assert untrained_network(name).count_params() == TEXT_ENCODERS[name].parameters


def test_the_registry_does_not_import_tensorflow():
    check = (
        "import sys; from imagetext.encoders.registry import TEXT_ENCODERS\n"
        "for encoder in TEXT_ENCODERS.values(): encoder.locate()\n"
        "sys.exit(bool({'keras', 'tensorflow', 'kagglehub'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", check], check=True, cwd=Path(__file__).parents[2])
