"""Attention maps: photos coloured where a model attended."""

import io

import numpy as np
import pytest
from PIL import Image

from imagetext.reports.captioning.attention_maps import (
    LETTERS,
    TILE,
    AttentionMaps,
    draw_maps,
    overlay,
    shorten,
)
from imagetext.reports.kit.images import GAP, font

pytestmark = pytest.mark.usefixtures("rendered_plots")


def test_a_word_is_cut_where_it_does_not_fit_below_its_tile():
    assert shorten("dog", TILE) == "dog"
    cut = shorten("w" * 80, TILE)
    assert cut.endswith("w...") and TILE * 0.8 < font(LETTERS).getlength(cut) <= TILE
    assert shorten("狗" * 60, 1) == "狗..." and shorten("\udcff", TILE) == "?"


def test_light_falls_where_the_model_looked():
    """Also where the photo is no square: the cells lie over the whole of it."""
    photo = Image.new("RGB", (90, 60), (80, 80, 80))
    weights = np.array([[0.0, 0, 0], [0, 0, 1]])
    pixels = np.asarray(overlay(photo, weights)).astype(int)
    assert pixels.shape == (60, 90, 3)
    assert pixels[45, 80, 0] > 180 and pixels[45, 80, 0] > pixels[45, 80, 2] + 100  # warm
    assert (pixels[10, 10] == pixels[10, 10, 0]).all()  # grey
    even = np.asarray(overlay(photo, np.full((2, 3), 1 / 6))).astype(int)
    assert (even == even[0, 0]).all() and even[0, 0, 0] > even[0, 0, 2] + 100


@pytest.mark.parametrize("light", [0, 255])
def test_where_the_model_looked_stands_out_on_dark_and_bright_photos(light):
    photo = Image.new("RGB", (60, 60), (light, light, light))
    pixels = np.asarray(overlay(photo, np.array([[1.0, 0], [0, 0]])), float)
    looked, rest = pixels[2, 2], pixels[58, 58]
    assert np.abs(looked - rest).max() > 90 and 40 < rest.mean() < 215


def test_a_sheet_survives_missing_photos_and_odd_words(tmp_path):
    words = ("##ing", "\udcff", "狗" * 60)
    picture = draw_maps(
        tmp_path / "no.jpg", AttentionMaps(words, np.ones((3, 1, 1))), "a $5 title " * 30
    )
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    assert picture.width == GAP + 4 * (TILE + GAP)
    with pytest.raises(ValueError, match="2 words, but 3 maps"):
        AttentionMaps(("a", "b"), np.ones((3, 1, 1)))
