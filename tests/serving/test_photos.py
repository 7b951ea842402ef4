"""Photos from clients: recognised by content, measured first, and rewritten as upright bitmaps."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from imagetext.serving.api_errors import ApiError
from imagetext.serving.photos import SCAN, make_thumbnail, sanitize_photo, upright
from imagetext.serving.settings import ServerSettings

from .stand_ins import photo

SETTINGS = ServerSettings()


def decode(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def encode(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_every_kind_becomes_a_plain_bitmap_of_the_same_pixels(kind):
    data = photo(kind)
    clean = decode(sanitize_photo(data, SETTINGS))
    assert clean.format == "BMP" and clean.mode == "RGB"
    assert np.array_equal(np.asarray(clean), np.asarray(decode(data).convert("RGB")))


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
def test_other_files_are_refused_whatever_their_name(data):
    with pytest.raises(ApiError) as error:
        sanitize_photo(data, SETTINGS)
    assert error.value.status == 415


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_a_truncated_photo_is_refused(kind):
    data = photo(kind)
    with pytest.raises(ApiError) as error:
        sanitize_photo(data[: len(data) // 2], SETTINGS)
    assert error.value.code == "damaged"


def bomb(side: int) -> bytes:
    """A PNG of a few kilobytes with enormous dimensions. (Its rows end early, but are not read.)"""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + side)) for _ in range(2_000)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("side", [8_000, 12_000, 40_000])  # Pillow itself: silent, warns, raises
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side):
    data = bomb(side)
    assert len(data) < 100_000
    tracemalloc.start()
    with pytest.raises(ApiError) as error:
        sanitize_photo(data, SETTINGS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert error.value.code == "too-many-pixels" and peak < 4_000_000


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_orientations_are_supported(orientation):
    pixels = np.random.default_rng(orientation).integers(0, 256, (5, 9, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(pixels), "PNG", exif=exif)
    expected = ImageOps.exif_transpose(decode(data))
    assert np.array_equal(decode(sanitize_photo(data, SETTINGS)), expected)


def test_photos_are_rotated_as_their_exif_data_says():
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be rotated by 90 degrees clockwise
    rotated = decode(sanitize_photo(encode(Image.fromarray(pixels), "PNG", exif=exif), SETTINGS))
    assert rotated.size == (20, 40)
    assert np.asarray(rotated)[:20].min() == 255 and np.asarray(rotated)[20:].max() == 0


def test_transparency_becomes_white_and_16_bit_grey_stays_grey():
    clear = Image.fromarray(np.zeros((8, 8, 4), np.uint8))
    assert np.asarray(decode(sanitize_photo(encode(clear, "PNG"), SETTINGS))).min() == 255
    deep = Image.fromarray(np.full((8, 8), 32768, np.uint16))
    assert set(np.asarray(decode(sanitize_photo(encode(deep, "PNG"), SETTINGS))).ravel()) == {128}


def test_large_photos_are_scaled_down_and_small_ones_are_not():
    large = encode(Image.new("RGB", (3000, 1500)), "JPEG")
    assert decode(sanitize_photo(large, SETTINGS)).size == (1024, 512)
    assert decode(sanitize_photo(photo(size=(64, 48)), SETTINGS)).size == (64, 48)
    small = decode(make_thumbnail(large, 360, SETTINGS))
    assert small.size == (360, 180) and small.format == "JPEG"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("size", [(1300, 1100), (2500, 3), (1, 4000)])
def test_reducing_by_tiles_equals_reducing_the_whole(mode, size):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4)).astype(np.uint8)
    image = Image.fromarray(noise)
    if mode == "I;16":
        image = Image.fromarray(noise[..., :2].copy().view(np.uint16)[..., 0])
        whole = Image.fromarray(noise[..., 1]).convert("RGB")
    else:
        image = image.convert("RGB").convert(mode) if mode in ("1", "P") else image.convert(mode)
        whole = Image.new("RGBA", size, "white")
        whole = Image.alpha_composite(whole, image.convert("RGBA")).convert("RGB")
    factor = max(1, max(size) // (2 * 90))
    expected = whole.reduce(factor)
    expected.thumbnail((90, 90), Image.Resampling.LANCZOS)
    result = upright(encode(image, "PNG", compress_level=1), 90, SETTINGS)
    assert result.size == expected.size and max(result.size) == 90
    assert np.abs(np.asarray(result, int) - np.asarray(expected, int)).max() <= 1


def test_a_photo_of_very_many_scans_is_refused_before_it_is_decoded():
    image = Image.new("L", (900, 900), 128)
    data = encode(image, "JPEG", progressive=True)
    last = data[data.rindex(SCAN) : -2]
    costly = data[:-2] + 1000 * last + data[-2:]
    assert len(costly) < 100_000 and decode(costly).size == (900, 900)  # Pillow accepts it
    with pytest.raises(ApiError) as error:
        sanitize_photo(costly, SETTINGS)
    assert error.value.code == "too-many-scans"
    assert data.count(SCAN) > 4 and decode(sanitize_photo(data, SETTINGS)).size == (900, 900)


def test_metadata_is_removed():
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    data = encode(Image.new("RGB", (9, 9)), "JPEG", exif=exif, comment=b"taken at home")
    assert b"at home" in data
    assert b"at home" not in sanitize_photo(data, SETTINGS)
    assert b"at home" not in make_thumbnail(data, 360, SETTINGS)
