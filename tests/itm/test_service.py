"""A matching run in the web app: the model's probabilities, and regions that explain them."""

import io

import numpy as np
import pytest
from PIL import Image

from imagetext.errors import UnanswerableError, UserError
from imagetext.itm.predict import MatchingModel
from imagetext.itm.regions import average_over_cells, cover_windows
from imagetext.itm.service import MatchingService
from tests.itm.tiny_runs import untrained


@pytest.fixture(scope="module")
def matching(course_master, tmp_path_factory):
    return untrained(
        course_master, tmp_path_factory.mktemp("runs")
    ), course_master / "flickr8k-resised"


def test_probabilities_equal_those_of_the_model(matching):
    run, images = matching
    service, model = MatchingService.open(str(run.folder)), MatchingModel.load(run)
    texts = ["caption 0 of Train photo 0 .", "caption 1 of Test photo 2 ."]
    pairs = [(images / f"test_{n}.jpg", text) for n in range(3) for text in texts]
    result = service.probabilities([(path.read_bytes(), text) for path, text in pairs])
    expected = [model(path, [text])[0] for path, text in pairs]
    np.testing.assert_allclose(result, expected, atol=1e-5)
    assert len({round(value, 6) for value in result}) > 2


def test_the_error_for_an_unknown_sentence_shows_no_path(matching):
    run, images = matching
    service = MatchingService.open(str(run.folder))
    photo = (images / "test_0.jpg").read_bytes()
    assert "the model's own data" in service.note
    with pytest.raises(UnanswerableError) as error:
        service.probabilities([(photo, "never seen in this data")])
    assert "/" not in str(error.value)


class Corner:
    """Its log odds are the brightness of the upper left corner, plus `bias`."""

    def __init__(self, side=16, bias=0.0):
        import keras

        image = keras.Input([side, side, 3], dtype="uint8", name="image")
        texts = keras.Input([None, 3], name="texts")
        bright = keras.ops.mean(keras.ops.cast(image[:, :4, :4], "float32") / 255, axis=(1, 2, 3))
        odds = keras.ops.reshape(8 * bright - 4 + bias, (-1, 1, 1)) + 0 * texts[:, :, :1]
        probabilities = keras.ops.softmax(keras.ops.concatenate([odds, 0 * odds], axis=-1))
        self.model = keras.Model({"image": image, "texts": texts}, probabilities)
        self.photo_tower = self
        self.sides = [side]

    def encode_pixels(self, pixels):
        return pixels[0]

    def encode_bytes(self, photos):
        import tensorflow as tf

        from imagetext.pipelines.pixels import decode

        return tf.stack([decode(tf.constant(data), (16, 16)) for data in photos])

    def prepare_texts(self, texts):
        if "unknown" in texts:
            raise UserError("/home/someone: no encoder")
        return np.zeros((len(texts), 3), np.float32)


@pytest.mark.parametrize("bias", [0.0, -40.0, 40.0])
def test_the_effect_is_high_where_covering_lowers_the_log_odds(bias):
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:4, :4] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "BMP")
    regions = MatchingService(Corner(bias=bias)).regions(buffer.getvalue(), "a bright corner")
    assert regions.probability == pytest.approx(1 / (1 + np.exp(-4 - bias)), rel=1e-3)
    assert regions.covered < 0.5 or bias > 0
    assert regions.effect.shape == (8, 8)
    assert regions.effect[:2, :2].min() > 1
    assert np.unravel_index(regions.effect.argmax(), (8, 8)) == (0, 0)
    assert np.abs(regions.effect[3:, 3:]).max() < 1e-3


def test_windows_cover_the_whole_photo():
    pixels = np.random.default_rng(0).integers(0, 256, (21, 21, 3)).astype(np.uint8)
    changed = (cover_windows(pixels) != pixels).any(axis=-1)
    assert changed.shape == (49, 21, 21) and changed.any(axis=0).all()
    assert changed.any(axis=(1, 2)).all() and changed.mean(axis=(1, 2)).max() < 0.1


def test_a_cell_gets_the_mean_of_the_windows_that_cover_it():
    drops = np.random.default_rng(0).normal(size=(3, 3))
    cells = average_over_cells(drops)
    for row in range(4):
        for column in range(4):
            values = [
                drops[r, c]
                for r in (row - 1, row)
                for c in (column - 1, column)
                if 0 <= r < 3 and 0 <= c < 3
            ]
            assert cells[row, column] == pytest.approx(np.mean(values), abs=1e-6)


def test_a_download_of_the_sentence_encoder_is_announced(monkeypatch, tmp_path):
    from imagetext.itm import service
    from imagetext.itm.config import TextConfig

    monkeypatch.setattr(service, "locate", lambda name, folder: None)
    assert "MB" in service._text_progress(TextConfig())
    assert "MB" not in service._text_progress(TextConfig(input="tokens"))
    monkeypatch.setattr(service, "locate", lambda name, folder: tmp_path)
    assert "MB" not in service._text_progress(TextConfig())
