"""An index behind the web app: batches of queries, changes of the index, and unknown words."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from imagetext.errors import UnanswerableError
from imagetext.retrieval.index.query import Query
from imagetext.retrieval.service import RetrievalService


class ToyEncoder:
    """Encodes texts and photos as vectors of three colours."""

    width = 3
    digest = "toy"

    def encode_texts(self, texts):
        colours = ("red", "green", "blue")
        actual = [[0.01 + (colour in text) for colour in colours] for text in texts]
        actual = np.array(actual, np.float32)
        return actual / np.linalg.norm(actual, axis=1, keepdims=True)

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
    """A real index of four photos of a single colour."""
    from imagetext.retrieval.index.build import build
    from imagetext.retrieval.index.reader import Index

    for name, colour in COLOURS.items():
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{name}.png")
    paths = {str(tmp_path / f"{name}.png"): (name,) for name in COLOURS}
    build(ToyEncoder(), paths, tmp_path / "photos.index")
    with Index.open(tmp_path / "photos.index") as index:
        yield index


def bitmap(colour) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(buffer, "BMP")
    return buffer.getvalue()


def names(results) -> list[str]:
    return [result.captions[0] for result in results]


def test_text_photos_ids_and_exclusions_are_added_up(index):
    service = RetrievalService(index, ToyEncoder())
    purple = service.search([Query(photo=bitmap((255, 0, 255)))], top=1)[0][0].id
    queries = [
        Query(text="red"),
        Query(photo=bitmap((0, 0, 255))),
        Query(text="red", photo=bitmap((0, 0, 255))),
        Query(photo_id=purple),
    ]
    actual = service.search(queries, top=2)
    assert [names(hits)[0] for hits in actual[:3]] == ["aaaa", "cccc", "dddd"]
    assert purple not in [hit.id for hit in actual[3]] and len(actual[3]) == 2
    assert len(service) == 4


def test_a_batch_of_queries_equals_single_searches(index):
    from imagetext.retrieval.index.query import PhotoSearch

    service, single = RetrievalService(index, ToyEncoder()), PhotoSearch(index, ToyEncoder())
    queries = [
        Query(text="red and blue", without="blue"),
        Query(text="green", photo=bitmap((10, 20, 250))),
        Query(text="blue"),
    ]
    for query, hits in zip(queries, service.search(queries, top=4), strict=True):
        expected = single.search(query.text, query.photo, query.without, top=4)
        actual = {hit.id: hit.score for hit in hits}
        assert actual == pytest.approx({hit.id: hit.score for hit in expected}, abs=1e-5)


def test_photos_are_read_by_id_and_only_unchanged(index, tmp_path):
    service = RetrievalService(index, ToyEncoder())
    ids = {hit.captions[0]: hit.id for hit in service.search([Query(text="red")], top=4)[0]}
    assert service.photo(ids["aaaa"]) == (tmp_path / "aaaa.png").read_bytes()
    (tmp_path / "aaaa.png").write_bytes(b"something secret")
    (tmp_path / "bbbb.png").unlink()
    assert service.photo(ids["aaaa"]) is None
    assert service.photo(ids["bbbb"]) is None
    assert service.photo("0" * 32) is None
    with pytest.raises(UnanswerableError):
        service.search([Query(photo_id="0" * 32)], top=1)


def test_a_newer_version_of_the_index_is_index(index, tmp_path, monkeypatch):
    from imagetext.retrieval.index.build import add, build

    service = RetrievalService(index, ToyEncoder())
    Image.new("RGB", (8, 8), (255, 255, 0)).save(tmp_path / "eeee.png")
    add(ToyEncoder(), {str(tmp_path / "eeee.png"): ("eeee",)}, tmp_path / "photos.index")
    query = [Query(text="red and green")]
    assert names(service.search(query, top=1)[0]) != ["eeee"] and len(service) == 4  # not yet
    service._next_check = 0
    assert names(service.search(query, top=1)[0]) == ["eeee"] and len(service) == 5
    assert service._next_check > 0
    # An index of another encoder is not index.
    other = ToyEncoder()
    other.digest = "other"
    shutil.rmtree(tmp_path / "photos.index")
    build(other, {str(tmp_path / "eeee.png"): ("eeee",)}, tmp_path / "photos.index")
    service._next_check = 0
    assert len(service.search(query, top=9)[0]) == len(service) == 5


def test_ids_are_known_without_reading_files(index, tmp_path):
    service = RetrievalService(index, ToyEncoder())
    id = service.search([Query(text="red")], top=1)[0][0].id
    for file in tmp_path.glob("*.png"):
        file.unlink()
    assert id in service and "0" * 32 not in service and "zz" not in service
    assert len(service.search([Query(photo_id=id)], top=2)[0]) == 2


def test_unknown_words_are_refused(index):
    from imagetext.retrieval.texts import WordTokenizer

    encoder = ToyEncoder()
    encoder.tokenizer = WordTokenizer(["red", "blue"])
    service = RetrievalService(index, encoder)
    assert service.search([Query(text="a red bicycle")], top=1)
    for query in (Query(text="Bicycle!"), Query(text="red", without="my bicycle")):
        with pytest.raises(UnanswerableError, match=r"knows none .* bicycle|Bicycle"):
            service.search([query], top=1)


def test_a_query_without_a_direction_is_refused(index):
    class Zero(ToyEncoder):
        def encode_texts(self, texts):
            return np.zeros((len(texts), 3), np.float32)

    with pytest.raises(UnanswerableError):
        RetrievalService(index, Zero()).search([Query(text="hm")], top=1)
