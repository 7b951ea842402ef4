"""Photos that strangers send: by content, measured first, turned upright, and plain afterwards."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from imagetext.serving.photos import SCAN, cleaned, thumbnail, upright
from imagetext.serving.refusals import Refused
from imagetext.serving.settings import Settings

from .stand_ins import photo

SETTINGS = Settings()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def saved(image: Image.Image, kind: str, **options) -> bytes:
    written = io.BytesIO()
    image.save(written, kind, **options)
    return written.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_every_kind_becomes_a_plain_bitmap_of_the_same_pixels(kind):
    data = photo(kind)
    clean = opened(cleaned(data, SETTINGS))
    assert clean.format == "BMP" and clean.mode == "RGB"
    assert np.array_equal(np.asarray(clean), np.asarray(opened(data).convert("RGB")))


@pytest.mark.parametrize(
    "data",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.4",
        b"MM\x00*" + bytes(64),
        b"x",
        b"BM",
    ],
)
def test_what_is_no_photo_is_refused_whatever_its_name(data):
    with pytest.raises(Refused) as refused:
        cleaned(data, SETTINGS)
    assert refused.value.status == 415


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_a_photo_cut_short_is_refused(kind):
    data = photo(kind)
    with pytest.raises(Refused) as refused:
        cleaned(data[: len(data) // 2], SETTINGS)
    assert refused.value.code == "damaged"


def bomb(side: int) -> bytes:
    """A PNG of some kilobytes that says it is, and is, enormous (its rows end early, unread)."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + side)) for _ in range(2_000)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("side", [8_000, 12_000, 40_000])  # Pillow itself: silent, warns, raises
def test_a_bomb_is_refused_before_it_is_unpacked(side):
    data = bomb(side)
    assert len(data) < 100_000
    tracemalloc.start()
    with pytest.raises(Refused) as refused:
        cleaned(data, SETTINGS)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused.value.code == "too-many-pixels" and most < 4_000_000


@pytest.mark.parametrize("turn", range(1, 9))
def test_all_eight_ways_to_hold_a_camera_are_known(turn):
    pixels = np.random.default_rng(turn).integers(0, 256, (5, 9, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = turn
    data = saved(Image.fromarray(pixels), "PNG", exif=exif)
    expected = ImageOps.exif_transpose(opened(data))
    assert np.array_equal(opened(cleaned(data, SETTINGS)), expected)


def test_photos_are_turned_as_their_camera_says():
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # held upright: to be turned by a quarter, clockwise
    turned = opened(cleaned(saved(Image.fromarray(pixels), "PNG", exif=exif), SETTINGS))
    assert turned.size == (20, 40)
    assert np.asarray(turned)[:20].min() == 255 and np.asarray(turned)[20:].max() == 0


def test_transparency_is_shown_on_white_and_deep_greys_stay_grey():
    clear = Image.fromarray(np.zeros((8, 8, 4), np.uint8))
    assert np.asarray(opened(cleaned(saved(clear, "PNG"), SETTINGS))).min() == 255
    deep = Image.fromarray(np.full((8, 8), 32768, np.uint16))
    assert set(np.asarray(opened(cleaned(saved(deep, "PNG"), SETTINGS))).ravel()) == {128}


def test_large_photos_are_shrunk_and_small_ones_left_as_they_are():
    large = saved(Image.new("RGB", (3000, 1500)), "JPEG")
    assert opened(cleaned(large, SETTINGS)).size == (1024, 512)
    assert opened(cleaned(photo(size=(64, 48)), SETTINGS)).size == (64, 48)
    small = opened(thumbnail(large, 360, SETTINGS))
    assert small.size == (360, 180) and small.format == "JPEG"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("size", [(1300, 1100), (2500, 3), (1, 4000)])
def test_shrinking_by_tiles_is_shrinking_the_whole(mode, size):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4)).astype(np.uint8)
    image = Image.fromarray(noise)
    if mode == "I;16":
        image = Image.fromarray(noise[..., :2].copy().view(np.uint16)[..., 0])
        whole = Image.fromarray(noise[..., 1]).convert("RGB")
    else:
        image = image.convert("RGB").convert(mode) if mode in ("1", "P") else image.convert(mode)
        whole = Image.new("RGBA", size, "white")
        whole = Image.alpha_composite(whole, image.convert("RGBA")).convert("RGB")
    by = max(1, max(size) // (2 * 90))
    expected = whole.reduce(by)
    expected.thumbnail((90, 90), Image.Resampling.LANCZOS)
    found = upright(saved(image, "PNG", compress_level=1), 90, SETTINGS)
    assert found.size == expected.size and max(found.size) == 90
    assert np.abs(np.asarray(found, int) - np.asarray(expected, int)).max() <= 1


def test_a_photo_of_very_many_passes_is_refused_unread():
    image = Image.new("L", (900, 900), 128)
    data = saved(image, "JPEG", progressive=True)
    last = data[data.rindex(SCAN) : -2]
    sly = data[:-2] + 1000 * last + data[-2:]
    assert len(sly) < 100_000 and opened(sly).size == (900, 900)  # it is a photo to Pillow
    with pytest.raises(Refused) as refused:
        cleaned(sly, SETTINGS)
    assert refused.value.code == "too-many-scans"
    assert data.count(SCAN) > 4 and opened(cleaned(data, SETTINGS)).size == (900, 900)


def test_nothing_of_the_file_but_its_pixels_is_left():
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    data = saved(Image.new("RGB", (9, 9)), "JPEG", exif=exif, comment=b"taken at home")
    assert b"at home" in data
    assert b"at home" not in cleaned(data, SETTINGS)
    assert b"at home" not in thumbnail(data, 360, SETTINGS)
