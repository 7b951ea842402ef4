"""Exact and approximate search against naive twins; queries by text and photo; the montage."""

import builtins
import importlib.util

import numpy as np
import pytest
from PIL import Image

from imagetext.errors import UserError
from imagetext.retrieval.index import approximate, exact
from imagetext.retrieval.index.approximate import IndexSettings, choose_search
from imagetext.retrieval.index.build import add, build, remove
from imagetext.retrieval.index.montage import describe_query, montage, thumbnail
from imagetext.retrieval.index.query import WITHOUT_WEIGHT, PhotoSearch, Query, query_vectors
from imagetext.retrieval.index.reader import Index, SearchResult
from tests.retrieval.index.toy import COLOURS, Toy, listed, said, some_queries, write_photo

needs_faiss = pytest.mark.skipif(
    importlib.util.find_spec("faiss") is None, reason="needs FAISS: pip install 'imagetext[search]'"
)


def clustered(rows: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((32, width))
    points = centres[rng.integers(0, 32, rows)] + 0.5 * rng.standard_normal((rows, width))
    return exact.normalise(points)


@pytest.fixture(autouse=True)
def one_thread():
    """So little work is slower with several threads, on a busy machine a hundred times."""
    faiss = approximate.import_faiss()
    if faiss:
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)
    yield
    if faiss:
        faiss.omp_set_num_threads(threads)


# ------------------------------------------------------------------------------------------ exact


@pytest.mark.parametrize("block", [1, 7, 64 << 20])
@pytest.mark.parametrize("top", [1, 5, 200])
def test_exact_search_equals_sorting_everything(monkeypatch, block, top):
    monkeypatch.setattr(exact, "_BLOCK_BYTES", block * 4 * 6)
    monkeypatch.setattr(exact, "_QUERIES", 4)
    rng = np.random.default_rng(1)
    vectors = rng.integers(-3, 4, (60, 6)).astype(np.float32)  # whole numbers: many equal scores
    queries = rng.integers(-3, 4, (9, 6)).astype(np.float32)
    live = rng.random(60) < 0.7
    for mask in (None, live, np.zeros(60, bool)):
        scores, rows = exact.search(vectors, queries, top, mask)
        assert scores.shape == rows.shape == (9, min(top, 60))
        whole = queries @ vectors.T
        whole[:, ~(np.ones(60, bool) if mask is None else mask)] = -np.inf
        expected = -np.sort(-whole, axis=1)[:, :top]
        np.testing.assert_array_equal(scores, expected)
        there = rows >= 0
        np.testing.assert_array_equal(there, np.isfinite(expected))
        np.testing.assert_array_equal(
            np.take_along_axis(whole, np.maximum(rows, 0), 1)[there], expected[there]
        )
        for actual in rows:
            actual = actual[actual >= 0]
            assert len(set(actual)) == len(actual)


def test_no_vectors_and_no_queries_give_no_results():
    assert exact.search(np.zeros((0, 3), np.float32), np.ones((2, 3)), 5)[1].shape == (2, 0)
    assert exact.search(np.ones((4, 3), np.float32), np.zeros((0, 3)), 5)[1].shape == (0, 4)


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_vectors_without_direction_are_refused(bad):
    with pytest.raises(ValueError, match="zero, NaN or infinite"):
        exact.normalise(np.full((1, 3), bad))


# ------------------------------------------------------------------------------------ approximate


@needs_faiss
@pytest.mark.parametrize("kind", ["ivfpq", "hnsw"])
def test_recall_is_as_measured_and_scores_are_exact(kind):
    vectors, texts = clustered(6000, 16), clustered(300, 16, seed=7)
    searcher = choose_search(vectors, IndexSettings(kind, recall=0.9), texts)
    about = searcher.about
    assert about["kind"] == kind and about["reached"]
    assert set(about["recall"]) == {"photos", "texts"} and min(about["recall"].values()) >= 0.9
    queries = clustered(500, 16, seed=3)
    scores, rows = searcher.search(vectors, queries, 10)
    whole = queries @ vectors.T
    expected = np.argsort(-whole, axis=1)[:, :10]
    hits = [len(set(a) & set(b)) for a, b in zip(rows, expected, strict=True)]
    assert np.mean(hits) / 10 > 0.85
    there = rows >= 0
    actual = np.take_along_axis(whole, np.maximum(rows, 0), 1)
    np.testing.assert_allclose(scores[there], actual[there], atol=1e-5)
    assert (np.diff(scores, axis=1) <= 0).all()


@needs_faiss
def test_more_recall_takes_more_effort():
    vectors = clustered(6000, 16)
    low, high = (
        choose_search(vectors, IndexSettings("ivfpq", recall=r)).about for r in (0.5, 0.98)
    )
    assert low["recall"]["photos"] < high["recall"]["photos"] >= 0.98
    assert (low["effort"], low["depth"]) < (high["effort"], high["depth"])


@needs_faiss
def test_removed_rows_are_never_found_even_if_all_neighbours_were_removed():
    vectors = clustered(6000, 16)
    searcher = choose_search(vectors, IndexSettings("ivfpq", recall=0.9))
    queries = vectors[:40]
    near = exact.search(vectors, queries, 300)[1]
    live = np.ones(6000, bool)
    live[near.ravel()] = False
    rows = searcher.search(vectors, queries, 10, live)[1]
    np.testing.assert_array_equal(rows, exact.search(vectors, queries, 10, live)[1])
    live[:] = False
    live[17] = True
    assert searcher.search(vectors, queries, 10, live)[1][:, :2].tolist() == [[17, -1]] * 40


def test_few_vectors_are_searched_exactly():
    vectors = clustered(1000, 16)
    assert choose_search(vectors, IndexSettings()) is None
    assert choose_search(vectors[:100], IndexSettings("ivfpq")) is None
    assert choose_search(vectors, IndexSettings("exact", exact_bytes=0)) is None


@needs_faiss
def test_slow_or_imprecise_searches_are_not_chosen(monkeypatch):
    vectors = clustered(2000, 16)
    for about in (
        {"reached": False, "times_exact": 90.0},
        {"reached": True, "times_exact": 1.5},
    ):
        tuned = approximate.ApproximateSearch(None, about)
        monkeypatch.setattr(approximate._Trial, "tune", lambda *_, tuned=tuned: tuned)
        assert choose_search(vectors, IndexSettings(exact_bytes=0)) is None
        assert choose_search(vectors, IndexSettings("hnsw")) is tuned


@pytest.fixture
def many(tmp_path):
    """More photos than a toy index searches exactly, without drawing them all."""
    vectors = clustered(3000, 12)

    class Many(Toy):
        def encode_photo_bytes(self, photos):
            return vectors[[int(photo) for photo in photos]]

    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(3000):
        (folder / f"{number:04}.png").write_bytes(str(number).encode())
    return Many(), folder, vectors


@needs_faiss
def test_an_approximate_index_after_changes_equals_the_exact_one(many, tmp_path, monkeypatch):
    encoder, folder, _ = many
    index, paths = tmp_path / "index", list(listed(folder))
    given = {path: ("red",) if number % 3 else () for number, path in enumerate(paths)}
    settings = IndexSettings("ivfpq", recall=0.97)
    done = build(encoder, {path: given[path] for path in paths[:2000]}, index, settings=settings)
    assert done.meta["kind"] == "ivfpq" and set(done.meta["recall"]) == {"photos", "texts"}
    assert "ivfpq, recall@10" in done.summary
    add(encoder, given, index)
    remove(index, paths[::10])
    with Index.open(index) as opened, Index.open(index, approximate=False) as slow:
        assert opened.segments[0].approximate and not slow.segments[0].approximate
        assert len(opened) == 2700
        queries = clustered(200, 12, seed=5)
        hits = []
        for actual, truth in zip(opened.search(queries, 10), slow.search(queries, 10), strict=True):
            hits.append(len({hit.id for hit in actual} & {hit.id for hit in truth}))
        assert np.mean(hits) / 10 > 0.95
        assert min(hits) < 10 or opened.segments[0].approximate.about["recall"]["photos"] > 0.99
    # Without FAISS it is searched exactly, and says what it lacks.
    monkeypatch.setattr("imagetext.retrieval.index.segment.import_faiss", lambda: None)
    monkeypatch.setattr("imagetext.retrieval.index.reader.import_faiss", lambda: None)
    with Index.open(index) as bare:
        assert bare.meta["kind"] == "exact" and "pip install 'imagetext[search]'" in bare.note
        actual = [[hit.id for hit in hits] for hits in bare.search(queries[:20], 10)]
    assert actual == [[hit.id for hit in hits] for hits in slow.search(queries[:20], 10)]


@needs_faiss
def test_a_changed_faiss_file_is_not_loaded(many, tmp_path):
    encoder, folder, _ = many
    build(encoder, listed(folder), tmp_path / "index", settings=IndexSettings("hnsw", recall=0.5))
    [near] = (tmp_path / "index" / "segments").glob("*/near.faiss")
    content = bytearray(near.read_bytes())
    content[50] ^= 1
    near.write_bytes(content)
    with pytest.raises(UserError, match=r"damaged: 000001/near\.faiss: the content has changed"):
        Index.open(tmp_path / "index")
    assert len(Index.open(tmp_path / "index", approximate=False)) == 3000


def test_without_faiss_everything_works_exactly(many, tmp_path, monkeypatch):
    real = builtins.__import__

    def absent(name, *given, **named):
        if name == "faiss":
            raise ImportError(name)
        return real(name, *given, **named)

    monkeypatch.setattr(builtins, "__import__", absent)
    encoder, folder, vectors = many
    with pytest.raises(UserError, match=r"kind ivfpq: FAISS is not installed: pip install"):
        build(encoder, listed(folder), tmp_path / "index", settings=IndexSettings("ivfpq"))
    done = build(encoder, listed(folder), tmp_path / "index", settings=IndexSettings(exact_bytes=0))
    assert done.meta["kind"] == "exact"
    with Index.open(tmp_path / "index") as index:
        [hits] = index.search(vectors[7:8], 5)
    assert [hit.path[-8:] for hit in hits] == [
        f"{row:04}.png" for row in exact.search(vectors, vectors[7:8], 5)[1][0]
    ]


def test_invalid_settings_are_refused():
    with pytest.raises(UserError, match=r"kind: expected one of auto, exact, .*'flat'"):
        IndexSettings("flat")
    with pytest.raises(UserError, match="recall: must be between 0 and 1, got 1"):
        IndexSettings(recall=1)


# ----------------------------------------------------------------------------- words and photos


@pytest.fixture
def coloured(tmp_path):
    for number, colour in enumerate(list(COLOURS) * 4):
        write_photo(tmp_path / "photos" / f"{colour}-{number:02}.png", number, colour)
    build(Toy(), listed(tmp_path / "photos"), tmp_path / "index")
    return tmp_path


def names(hits) -> list[str]:
    return [hit.path.rpartition("/")[2].partition("-")[0] for hit in hits]


def test_queries_by_text_by_photo_by_both_and_with_exclusions(coloured):
    searcher = PhotoSearch(Index.open(coloured / "index"), Toy())
    assert names(searcher.search("red", top=4)) == ["red"] * 4
    photo = (coloured / "photos" / "blue-02.png").read_bytes()
    hits = searcher.search(photo=photo, top=5)
    assert names(hits)[:3] == ["blue"] * 3 and len(hits) == 5
    assert not any(hit.path.endswith("blue-02.png") for hit in hits)  # it is what was asked with
    both = searcher.search("red", photo, top=12)
    assert set(names(both)[:7]) == {"red", "blue"}
    without = searcher.search("red green", without="red", top=12)
    assert names(without)[:4] == ["green"] * 4 and names(without)[-1] != "green"


def test_a_query_is_the_sum_of_unit_vectors(coloured):
    photo = (coloured / "photos" / "blue-02.png").read_bytes()
    red, green = Toy().encode_texts(["red", "green"])
    [blue] = Toy().encode_photo_bytes([photo])
    expected = red + blue - WITHOUT_WEIGHT * green
    [actual] = query_vectors(Toy(), [Query(" red ", photo, without="green")])
    np.testing.assert_allclose(actual, expected / np.linalg.norm(expected), atol=1e-6)


def test_invalid_queries_are_reported(coloured):
    index = Index.open(coloured / "index")
    searcher = PhotoSearch(index, Toy())
    for nothing in ({}, {"text": "  "}, {"without": "red"}):
        with pytest.raises(UserError, match="give a text, a photo, or both"):
            searcher.search(**nothing)
    with pytest.raises(UserError, match="the parts of the query cancel"):
        searcher.search("red", without="red")
    with pytest.raises(UserError, match="top: must be at least 1, got 0"):
        searcher.search("red", top=0)
    with pytest.raises(UserError, match="was built with another model"):
        PhotoSearch(index, Toy("other"))
    with pytest.raises(UserError, match=r"shape \[n, 12\], got \[1, 5\]"):
        index.search(np.ones((1, 5)))
    with pytest.raises(UserError, match="zero, NaN or infinite"):
        index.search(np.zeros((1, 12)))


def test_example_photos_come_from_the_whole_index(coloured):
    index = Index.open(coloured / "index")
    all_ids = [digest.hex()[:32] for digest, _ in index.entries()]
    assert [hit.id for hit in index.some(3)] == [all_ids[n] for n in (0, 4, 8)]
    assert [hit.id for hit in index.some(50)] == all_ids
    assert all(hit.path for hit in index.some(2))


def test_the_montage_shows_the_photos_in_order(coloured):
    searcher = PhotoSearch(Index.open(coloured / "index"), Toy())
    hits = searcher.search("green", top=6)
    (coloured / "photos" / hits[1].path).unlink()
    sheet = montage(hits, "green " * 200)
    assert sheet.size == (4 * 236 + 12, 2 * 272 + 48)
    for place, wanted in ((0, "green"), (1, None), (2, "green"), (3, "green")):
        pixel = sheet.getpixel((12 + place * 236 + 112, 48 + 112))
        assert (max(range(3), key=pixel.__getitem__) == 1) == (wanted == "green")
        if wanted is None:
            assert pixel == (226, 228, 232)
    assert montage([]).size[0] > 0
    Image.new("RGB", (3, 500)).save(hits[0].path)
    assert montage(hits[:1]).size == (248, 272 + 12)


def test_small_photos_are_enlarged_and_rotated_ones_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (48, 24), "#ff0000").save(tmp_path / "small.png", exif=exif)
    hit = SearchResult(
        "0" * 32, str(tmp_path / "small.png"), 0.5, (), (str(tmp_path / "small.png"),)
    )
    assert thumbnail(hit).size == (112, 224)
    Image.new("RGB", (1, 999)).save(tmp_path / "small.png")
    assert thumbnail(hit).size == (1, 224)


def test_the_title_describes_the_query():
    assert (
        describe_query("at night", "a/street.jpg", "cars")
        == "at night, like street.jpg, without cars"
    )
    assert (
        describe_query(None, "street.jpg") == "like street.jpg"
        and describe_query(" dogs ") == "dogs"
    )


def test_the_order_of_queries_and_segments_does_not_matter(coloured):
    """Many small adds and one build give the same results."""
    anew = coloured / "anew"
    paths = list(listed(coloured / "photos"))
    build(Toy(), {paths[-1]: ()}, anew)
    for path in paths[:-1]:
        add(Toy(), {path: ()}, anew)
    queries = some_queries(5)
    assert said(anew, queries, 12) == said(coloured / "index", queries, 12)
    assert said(anew, queries[::-1], 12) == said(anew, queries, 12)[::-1]
