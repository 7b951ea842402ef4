"""Photos decoded ahead: the same pixels as one by one, in order, whatever is bad among them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagetext.pipelines import photo_stream
from imagetext.pipelines.feature_store import FLIPPED, PLAIN
from imagetext.pipelines.photo_stream import PhotoStream
from imagetext.pipelines.pixels import photo_reader

SIDE = 12


@pytest.fixture
def photos(tmp_path) -> list[Path]:
    """Forty different ones, larger and smaller than they are asked for."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(40):
        paths.append(tmp_path / f"{number}.png")
        sides = rng.integers(6, 20, 2)
        Image.fromarray(rng.integers(0, 256, (*sides, 3), dtype=np.uint8)).save(paths[-1])
    return paths


def stream_of(paths, views=(PLAIN,)) -> PhotoStream:
    return PhotoStream(paths, SIDE, views)


def test_the_pixels_are_those_of_reading_one_by_one(photos):
    stream = stream_of(photos, (PLAIN, FLIPPED))
    found = list(stream.decode(stream.missing(None)))
    assert [photo.path for photo, _ in found] == photos
    assert all(photo.views == (PLAIN, FLIPPED) for photo, _ in found)
    read = photo_reader((SIDE, SIDE))
    expected = np.stack([read(path) for path in photos])
    assert np.array_equal(np.stack([pixels for _, pixels in found]), expected)
    assert stream.bad() == []
    assert np.array_equal(stream.sample(3), expected[:3])


def test_bad_photos_are_listed_in_order_with_all_their_copies(photos, tmp_path):
    photos[4].write_bytes(b"")
    photos[20].write_bytes(photos[5].read_bytes()[:60])
    photos[7].write_bytes(photos[20].read_bytes())
    photos[30].unlink()
    photos[31].write_bytes(photos[3].read_bytes())
    stream = stream_of([*photos, photos[4], Path("a\0b.png")])
    found = [photo.path for photo, _ in stream.decode(stream.missing(None))]
    bad = [photos[4], photos[7], photos[20], photos[30], Path("a\0b.png")]
    assert found == [path for path in photos if path not in [*bad, photos[31]]]
    assert [(problem.file, problem.what) for problem in stream.bad()] == [
        (str(photos[4]), "the file is empty"),
        (str(photos[7]), "a damaged or truncated PNG"),
        (str(photos[20]), "a damaged or truncated PNG"),
        (str(photos[30]), "No such file or directory"),
        ("a\0b.png", "embedded null byte"),
    ]


def test_a_photo_that_is_replaced_after_it_was_hashed_is_left_out(photos):
    stream = stream_of(photos)
    photos[2].write_bytes(photos[3].read_bytes())
    photos[6].unlink()
    found = [photo.path for photo, _ in stream.decode(stream.missing(None))]
    assert found == [path for path in photos if path not in (photos[2], photos[6])]
    assert [(problem.file, problem.what) for problem in stream.bad()] == [
        (str(photos[2]), "the file changed during the extraction"),
        (str(photos[6]), "No such file or directory"),
    ]


def test_it_runs_ahead_only_so_far(photos, monkeypatch):
    monkeypatch.setattr(photo_stream, "CHUNK", 2)
    stream, asked = stream_of(photos), []
    whole = stream._pixels
    stream._pixels = lambda chunk: asked.append(chunk) or whole(chunk)
    decoded = stream.decode(stream.missing(None))
    next(decoded)
    assert len(asked) <= photo_stream.CHUNKS_AHEAD
    assert len(list(decoded)) == 39
    assert len(asked) == 20
