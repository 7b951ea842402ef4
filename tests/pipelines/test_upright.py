"""Photos turned and put on paper, whoever decodes them; and left alone where they are upright."""

import io

import numpy as np
import pytest
from PIL import Image

from imagetext.pipelines import upright as upright_module
from imagetext.pipelines.pixels import bytes_reader
from imagetext.pipelines.upright import upright, upright_bytes

ORIENTATION = 0x0112


def quarters() -> Image.Image:
    """Red and green above, blue and white below, so that every turn shows."""
    corners = np.uint8([[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (255, 255, 255)]])
    return Image.fromarray(corners).resize((32, 16), Image.Resampling.NEAREST)


def saved(image: Image.Image, kind: str, **options) -> bytes:
    written = io.BytesIO()
    image.save(written, kind, **options)
    return written.getvalue()


def turned_file(kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    lossless = {"lossless": True} if kind == "WEBP" else {}
    return saved(quarters(), kind, exif=exif, **lossless)


def decoded(data: bytes, size=(32, 16)) -> np.ndarray:
    """As a model is given it."""
    return bytes_reader(size)(data).astype(int)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_photo_is_decoded_as_it_is_seen(kind, orientation):
    data = turned_file(kind, orientation)
    seen = np.asarray(upright(Image.open(io.BytesIO(data))), int)
    sides = seen.shape[:2]
    assert sides == ((16, 32) if orientation < 5 else (32, 16))
    np.testing.assert_array_equal(decoded(upright_bytes(data), sides), seen)
    assert np.abs(decoded(data, sides) - seen).max() == 255
    assert tuple(decoded(upright_bytes(turned_file(kind, 6)), (32, 16))[0, 0]) == (0, 0, 255)


def test_what_is_transparent_lies_on_white_paper():
    image = quarters().convert("RGBA")
    image.putalpha(Image.fromarray(np.uint8([[0, 128], [255, 255]])).resize((32, 16), 0))
    found = decoded(upright_bytes(saved(image, "PNG")), (16, 32))
    assert found[0, 0].tolist() == [255, 255, 255]
    np.testing.assert_allclose(found[0, 31], [127, 255, 127], atol=1)
    assert found[15, 0].tolist() == [0, 0, 255]


def test_sixteen_bits_are_as_they_are_decoded():
    deep = np.uint16([[0, 255, 256, 40000], [65535, 32767, 32768, 1000]])
    data = saved(Image.fromarray(deep), "PNG")
    assert upright_bytes(data) is data
    seen = np.asarray(upright(Image.open(io.BytesIO(data))), int)
    np.testing.assert_array_equal(seen, decoded(data, (2, 4)))
    assert seen[..., 0].tolist() == [[0, 0, 1, 156], [255, 127, 128, 3]]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_the_very_bytes_are_left_where_nothing_is_to_be_done(kind):
    for data in (saved(quarters(), kind), b"no photo", b"", saved(quarters(), kind)[:40]):
        assert upright_bytes(data) is data


def test_what_is_too_large_is_left_to_who_refuses_it(monkeypatch):
    data = turned_file("PNG", 6)
    monkeypatch.setattr(upright_module, "MOST_PIXELS", 32 * 16)
    assert upright_bytes(data) is not data
    monkeypatch.setattr(upright_module, "MOST_PIXELS", 32 * 16 - 1)
    assert upright_bytes(data) is data
