"""Tiny encoders in place of the pretrained ones, for fast tests.

def test_it(tiny_encoders):                         # the fixture below
    config = DataConfig(image_encoders=["tiny_a"], image_weights="random")
"""

import sys
from types import ModuleType

import keras
import pytest

import imagetext.encoders.forward
import imagetext.encoders.minilm
import imagetext.encoders.weights
from imagetext.encoders import registry
from imagetext.encoders.minilm import BertShape
from imagetext.encoders.minilm import build as build_bert
from imagetext.encoders.registry import ImageEncoder
from imagetext.errors import UserError

SIDE, CELLS = 32, 2
WIDTHS = {"tiny_a": 5, "tiny_b": 3}
WORDS = "[PAD] [UNK] [CLS] [SEP] caption of train dev test photo a dog runs 0 1 2 3 4 5 ."
VOCABULARY = WORDS.split()
TEXT_WIDTH = 16


def tower(network: str, size: int, source):
    """The `tower` function of an encoder module: image, cells and no vector."""
    assert source is None, "there are no weights; use image_weights='random'"
    image = keras.Input([size, size, 3], dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = keras.layers.Conv2D(6, 3, strides=4, padding="same", activation="relu", name="first")(x)
    x = keras.layers.Conv2D(WIDTHS[network], 3, strides=4, padding="same", name="second")(x)
    return image, x, None


def tiny_bert(folder=None, **options) -> keras.Model:
    """Replaces `minilm.load`."""
    shape = BertShape(len(VOCABULARY), TEXT_WIDTH, depth=1, heads=2, feed_forward=16, positions=24)
    return build_bert(shape, **options)


def absent(folder=None):
    raise UserError("weights not at hand")


@pytest.fixture(scope="module")
def tiny_encoders(tmp_path_factory):
    """Image encoders tiny_a and tiny_b, and a BERT with one layer in place of MiniLM."""
    module = ModuleType("imagetext.encoders.tiny")
    module.tower = tower
    vocabulary = tmp_path_factory.mktemp("weights") / "vocab.txt"
    vocabulary.write_text("\n".join(VOCABULARY) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "imagetext.encoders.tiny", module)
        for name, width in WIDTHS.items():
            encoder = ImageEncoder(name, SIDE, CELLS, width, 1, "tiny", name, weights="nowhere")
            patch.setitem(registry.IMAGE_ENCODERS, name, encoder)
        patch.setattr(imagetext.encoders.minilm, "load", tiny_bert)
        patch.setattr(imagetext.encoders.minilm.SentenceEncoder, "load", absent)
        patch.setattr(imagetext.encoders.weights, "fetch", lambda name, folder=None: vocabulary)
        # The precision of the models, so that features can be compared with theirs.
        patch.setattr(imagetext.encoders.forward, "ON_CPU", ("float32",))
        yield
