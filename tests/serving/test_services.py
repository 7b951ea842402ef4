"""Real runs behind the web app answer as they do at the command line, many photos at once."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from imagetext.captioning.predict import Captioner
from imagetext.errors import UserError
from imagetext.itm.predict import MatchingModel
from imagetext.serving.answers import Query
from imagetext.serving.photos import cleaned
from imagetext.serving.refusals import Unanswerable
from imagetext.serving.services import CaptioningRun, MatchingRun, PhotoIndex, coverings, spread
from imagetext.serving.settings import Settings
from tests.captioning.tiny_runs import untrained
from tests.itm.test_train import tiny
from tests.scenes import write_scenes


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes") / "data")


@pytest.fixture(scope="module")
def captioning_run(scenes, tmp_path_factory):
    return untrained(scenes, tmp_path_factory.mktemp("runs"), model__kind="gru_attention")


@pytest.fixture(scope="module")
def captioning(captioning_run):
    return CaptioningRun.open(str(captioning_run.folder))


@pytest.fixture(scope="module")
def own(captioning_run):
    return Captioner.load(captioning_run)


@pytest.fixture(scope="module")
def files(scenes):
    return sorted((scenes / "images").glob("*.png"))[:4]


@pytest.fixture(scope="module")
def photos(files):
    return [cleaned(file.read_bytes(), Settings()) for file in files]


def test_captions_are_those_of_the_command_line(captioning, own, files, photos):
    for found, expected in zip(
        captioning.captions_of_bytes(photos, None, 2, True), own.of_photos(files), strict=True
    ):
        assert [caption.text for caption in found] == [each.text for each in expected[:2]]
        for caption, each in zip(found, expected, strict=False):
            assert caption.log_probability == pytest.approx(each.log_probability, abs=1e-4)


def test_maps_are_those_of_one_caption_at_a_time(captioning, own, files, photos):
    found = captioning.captions_of_bytes(photos, None, 3, True)
    for file, captions in zip(files, found, strict=True):
        image = own.read(file)
        for caption, each in zip(captions, own.captions(image[None])[0], strict=True):
            assert caption.words == tuple(each.text.split())
            expected = own.looked(image, each)[: len(caption.words)]
            np.testing.assert_allclose(caption.maps, expected, atol=1e-5)


def test_more_captions_than_beams_widen_the_search(captioning, photos):
    assert len(captioning.captions_of_bytes(photos[:1], None, 5, False)[0]) == 5
    assert captioning.captions_of_bytes(photos[:1], None, 1, False)[0][0].maps is None


@pytest.fixture(scope="module")
def matching(course_master, tmp_path_factory):
    from imagetext.itm.train import train

    run = train(tiny(course_master, tmp_path_factory.mktemp("runs"), report__controls=False))
    return run, course_master / "flickr8k-resised"


def test_probabilities_are_those_of_the_command_line(matching, tmp_path):
    run, images = matching
    service, own = MatchingRun.open(str(run.folder)), MatchingModel.load(run)
    texts = ["caption 0 of Train photo 0 .", "caption 1 of Test photo 2 ."]
    pairs = [(images / f"test_{n}.jpg", text) for n in range(3) for text in texts]
    # As PNG, for Pillow and TensorFlow unpack a JPEG each a little differently.
    given = []
    for path, text in pairs:
        written = io.BytesIO()
        Image.open(path).save(written, "PNG")
        (tmp_path / f"{path.stem}.png").write_bytes(written.getvalue())
        given.append((cleaned(written.getvalue(), Settings()), text))
    found = service.probabilities(given)
    expected = [own(tmp_path / f"{path.stem}.png", [text])[0] for path, text in pairs]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert len({round(value, 6) for value in found}) > 2


def test_an_unknown_sentence_is_told_without_a_path(matching):
    run, images = matching
    service = MatchingRun.open(str(run.folder))
    photo = cleaned((images / "test_0.jpg").read_bytes(), Settings())
    assert "its own data" in service.note
    with pytest.raises(Unanswerable) as told:
        service.probabilities([(photo, "never seen in this data")])
    assert "/" not in str(told.value)


class Corner:
    """A matcher by how bright the upper left corner is: dark speaks against, a little light does so
    less; `sure` is by how much it shifts the log odds of all."""

    def __init__(self, side=16, sure=0.0):
        import keras

        image = keras.Input([side, side, 3], dtype="uint8", name="image")
        texts = keras.Input([None, 3], name="texts")
        bright = keras.ops.mean(keras.ops.cast(image[:, :4, :4], "float32") / 255, axis=(1, 2, 3))
        odds = keras.ops.reshape(8 * bright - 4 + sure, (-1, 1, 1)) + 0 * texts[:, :, :1]
        chances = keras.ops.softmax(keras.ops.concatenate([odds, 0 * odds], axis=-1))
        self.model = keras.Model({"image": image, "texts": texts}, chances)
        self.photo_tower = self
        self.sides = [side]

    def see(self, pixels):
        return pixels[0]

    def of_bytes(self, photos):
        import tensorflow as tf

        from imagetext.pipelines.pixels import decode

        return tf.stack([decode(tf.constant(data), (16, 16)) for data in photos])

    def texts(self, texts):
        if "unknown" in texts:
            raise UserError("/home/someone: no encoder")
        return np.zeros((len(texts), 3), np.float32)


@pytest.mark.parametrize("sure", [0.0, -40.0, 40.0])
def test_regions_are_where_covering_costs_log_odds_however_sure_the_model(sure):
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:4, :4] = 255
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "BMP")
    found = MatchingRun(Corner(sure=sure)).regions(written.getvalue(), "a bright corner")
    assert found.probability == pytest.approx(1 / (1 + np.exp(-4 - sure)), rel=1e-3)
    assert found.covered < 0.5 or sure > 0
    assert found.effect.shape == (8, 8)
    assert found.effect[:2, :2].min() > 1
    assert np.unravel_index(found.effect.argmax(), (8, 8)) == (0, 0)
    assert np.abs(found.effect[3:, 3:]).max() < 1e-3


def test_coverings_cover_everything_once_a_window():
    pixels = np.random.default_rng(0).integers(0, 256, (21, 21, 3)).astype(np.uint8)
    changed = (coverings(pixels) != pixels).any(axis=-1)
    assert changed.shape == (49, 21, 21) and changed.any(axis=0).all()
    assert changed.any(axis=(1, 2)).all() and changed.mean(axis=(1, 2)).max() < 0.1


def test_spread_is_the_mean_of_the_windows_over_a_part():
    drops = np.random.default_rng(0).normal(size=(3, 3))
    found = spread(drops)
    for row in range(4):
        for column in range(4):
            over = [
                drops[r, c]
                for r in (row - 1, row)
                for c in (column - 1, column)
                if 0 <= r < 3 and 0 <= c < 3
            ]
            assert found[row, column] == pytest.approx(np.mean(over), abs=1e-6)


class ToyEncoder:
    """Texts and photos in a space of three colours."""

    width = 3
    digest = "toy"

    def encode_texts(self, texts):
        colours = ("red", "green", "blue")
        found = [[0.01 + (colour in text) for colour in colours] for text in texts]
        found = np.array(found, np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    def encode_photo_bytes(self, photos):
        means = [np.asarray(Image.open(io.BytesIO(p)), float).mean((0, 1)) for p in photos]
        return np.stack([mean / np.linalg.norm(mean) for mean in means]).astype(np.float32)


COLOURS = {
    "aaaa": (255, 0, 0),
    "bbbb": (0, 255, 0),
    "cccc": (0, 0, 255),
    "dddd": (255, 0, 255),
}


@pytest.fixture
def index(tmp_path):
    """Four photos of a colour each, in a real index; and their ids by the names above."""
    from imagetext.retrieval.index.build import build
    from imagetext.retrieval.index.reader import Index

    for name, colour in COLOURS.items():
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{name}.png")
    paths = {str(tmp_path / f"{name}.png"): (name,) for name in COLOURS}
    build(ToyEncoder(), paths, tmp_path / "photos.index")
    with Index.open(tmp_path / "photos.index") as opened:
        yield opened


def bitmap(colour) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(written, "BMP")
    return written.getvalue()


def names(hits) -> list[str]:
    return [hit.captions[0] for hit in hits]


def test_words_photos_ids_and_what_shall_not_be_there_are_added_up(index):
    service = PhotoIndex(index, ToyEncoder())
    purple = service.search([Query(photo=bitmap((255, 0, 255)))], top=1)[0][0].id
    queries = [
        Query(text="red"),
        Query(photo=bitmap((0, 0, 255))),
        Query(text="red", photo=bitmap((0, 0, 255))),
        Query(photo_id=purple),
    ]
    found = service.search(queries, top=2)
    assert [names(hits)[0] for hits in found[:3]] == ["aaaa", "cccc", "dddd"]
    assert purple not in [hit.id for hit in found[3]] and len(found[3]) == 2
    assert len(service) == 4


def test_a_batch_of_queries_finds_what_the_command_line_finds_one_by_one(index):
    from imagetext.retrieval.index.query import PhotoSearch

    service, own = PhotoIndex(index, ToyEncoder()), PhotoSearch(index, ToyEncoder())
    queries = [
        Query(text="red and blue", without="blue"),
        Query(text="green", photo=bitmap((10, 20, 250))),
        Query(text="blue"),
    ]
    for query, hits in zip(queries, service.search(queries, top=4), strict=True):
        expected = own.search(query.text, query.photo, query.without, top=4)
        found = {hit.id: hit.score for hit in hits}
        assert found == pytest.approx({hit.id: hit.score for hit in expected}, abs=1e-5)


def test_photos_of_the_index_are_read_by_id_only_and_as_they_were_indexed(index, tmp_path):
    service = PhotoIndex(index, ToyEncoder())
    ids = {hit.captions[0]: hit.id for hit in service.search([Query(text="red")], top=4)[0]}
    assert service.photo(ids["aaaa"]) == (tmp_path / "aaaa.png").read_bytes()
    (tmp_path / "aaaa.png").write_bytes(b"something secret")
    (tmp_path / "bbbb.png").unlink()
    assert service.photo(ids["aaaa"]) is None
    assert service.photo(ids["bbbb"]) is None
    assert service.photo("0" * 32) is None
    with pytest.raises(Unanswerable):
        service.search([Query(photo_id="0" * 32)], top=1)


def test_a_newer_index_is_noticed(index, tmp_path, monkeypatch):
    from imagetext.retrieval.index.build import add, build

    service = PhotoIndex(index, ToyEncoder())
    Image.new("RGB", (8, 8), (255, 255, 0)).save(tmp_path / "eeee.png")
    add(ToyEncoder(), {str(tmp_path / "eeee.png"): ("eeee",)}, tmp_path / "photos.index")
    asked = [Query(text="red and green")]
    assert names(service.search(asked, top=1)[0]) != ["eeee"] and len(service) == 4  # not at once
    service._look = 0
    assert names(service.search(asked, top=1)[0]) == ["eeee"] and len(service) == 5
    assert service._look > 0
    # Of another encoder: what is there goes on answering.
    other = ToyEncoder()
    other.digest = "other"
    shutil.rmtree(tmp_path / "photos.index")
    build(other, {str(tmp_path / "eeee.png"): ("eeee",)}, tmp_path / "photos.index")
    service._look = 0
    assert len(service.search(asked, top=9)[0]) == len(service) == 5


def test_ids_of_the_index_are_known_without_reading_a_file(index, tmp_path):
    service = PhotoIndex(index, ToyEncoder())
    id = service.search([Query(text="red")], top=1)[0][0].id
    for file in tmp_path.glob("*.png"):
        file.unlink()
    assert id in service and "0" * 32 not in service and "zz" not in service
    assert len(service.search([Query(photo_id=id)], top=2)[0]) == 2


def test_words_that_were_never_read_are_told(index):
    from imagetext.retrieval.texts import WordTokenizer

    encoder = ToyEncoder()
    encoder.pieces = WordTokenizer(["red", "blue"])
    service = PhotoIndex(index, encoder)
    assert service.search([Query(text="a red bicycle")], top=1)
    for query in (Query(text="Bicycle!"), Query(text="red", without="my bicycle")):
        with pytest.raises(Unanswerable, match=r"never read .* bicycle|Bicycle"):
            service.search([query], top=1)


def test_what_is_fetched_for_the_first_sentence_is_said(monkeypatch, tmp_path):
    from imagetext.itm.config import TextConfig
    from imagetext.serving import services

    monkeypatch.setattr(services, "located", lambda name, folder: None)
    assert "MB" in services.reads(TextConfig())
    assert "MB" not in services.reads(TextConfig(input="tokens"))
    monkeypatch.setattr(services, "located", lambda name, folder: tmp_path)
    assert "MB" not in services.reads(TextConfig())


def test_a_query_that_says_nothing_is_told(index):
    class Deaf(ToyEncoder):
        def encode_texts(self, texts):
            return np.zeros((len(texts), 3), np.float32)

    with pytest.raises(Unanswerable):
        PhotoIndex(index, Deaf()).search([Query(text="hm")], top=1)
