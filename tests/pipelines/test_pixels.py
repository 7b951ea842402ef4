"""Decoding photos: all that students' folders hold, what is wrong with the rest, and the caches."""

import errno
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from imagetext.errors import DataError, UserError
from imagetext.pipelines import pixels
from imagetext.pipelines.pixels import (
    check_photos,
    decode,
    open_pixels,
    photo_reader,
    report_bad_photos,
)

SIDE = 24
SIZE = (SIDE, SIDE)


def picture(seed: int = 0, size: tuple[int, int] = SIZE) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def png(width: int, height: int) -> bytes:
    """A PNG whose header claims any size, with next to nothing behind it."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pieces = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(99))), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(pieces)


def sixteen_bit() -> Image.Image:
    grey = np.linspace(0, 65535, SIDE * SIDE).reshape(SIZE).astype(np.uint16)
    return Image.fromarray(grey)


@pytest.fixture(scope="module")
def read():
    return photo_reader(SIZE)


@pytest.fixture
def photos(tmp_path) -> list[Path]:
    paths = [tmp_path / "photos" / f"{seed}.jpg" for seed in range(5)]
    paths[0].parent.mkdir()
    for seed, path in enumerate(paths):
        picture(seed, (SIDE + 9, SIDE + 3)).save(path, quality=92)
    return paths


@pytest.fixture(autouse=True)
def own_pixel_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGETEXT_CACHE", str(tmp_path / "cache"))


# ------------------------------------------------------------------------------ what is decoded

KINDS = {
    "jpeg": lambda: (picture(), "JPEG", {"quality": 90}),
    "jpeg 4:4:4": lambda: (picture(), "JPEG", {"quality": 90, "subsampling": 0}),
    "jpeg progressive": lambda: (picture(), "JPEG", {"quality": 90, "progressive": True}),
    "jpeg grey": lambda: (picture().convert("L"), "JPEG", {"quality": 90}),
    "jpeg cmyk": lambda: (picture().convert("CMYK"), "JPEG", {"quality": 95}),
    "png": lambda: (picture(), "PNG", {}),
    "png grey": lambda: (picture().convert("L"), "PNG", {}),
    "png palette": lambda: (picture().convert("P", palette=Image.Palette.ADAPTIVE), "PNG", {}),
    "png one bit": lambda: (picture().convert("1"), "PNG", {}),
    "gif": lambda: (picture().quantize(64), "GIF", {}),
    "bmp": lambda: (picture(), "BMP", {}),
    "webp": lambda: (picture(), "WEBP", {"lossless": True}),
}
#: Levels (of 255) by which decoders may differ. TensorFlow decodes JPEG by its quick transform.
LEVELS = {"jpeg": 4, "jpeg 4:4:4": 4, "jpeg progressive": 4, "jpeg cmyk": 10}


@pytest.mark.parametrize("kind", KINDS)
def test_a_photo_of_the_right_size_is_what_pillow_makes_of_it(read, tmp_path, kind):
    image, container, options = KINDS[kind]()
    data = encoded(image, container, **options)
    path = tmp_path / "photo.jpg"  # whatever its name says: content counts
    path.write_bytes(data)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), int)
    found = read(path)
    assert (found.dtype, found.shape) == (np.uint8, (SIDE, SIDE, 3))
    assert np.ptp(expected) > 50
    assert np.abs(found - expected).max() <= LEVELS.get(kind, 2)
    assert abs((found - expected).mean()) <= 2


def test_transparency_is_dropped_and_the_colours_stay(read, tmp_path):
    image = picture().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(SIZE))
    image.save(tmp_path / "photo.png")
    assert np.array_equal(read(tmp_path / "photo.png"), np.asarray(picture()))


def test_sixteen_bits_become_eight(read, tmp_path):
    sixteen_bit().save(tmp_path / "photo.png")
    expected = np.asarray(sixteen_bit(), float)[..., None] / 257
    assert np.abs(read(tmp_path / "photo.png") - expected).max() <= 2


def test_an_animation_gives_its_first_frame(read, tmp_path):
    frames = [Image.new("RGB", SIZE, colour) for colour in ((250, 0, 0), (0, 250, 0))]
    frames[0].save(tmp_path / "photo.gif", save_all=True, append_images=frames[1:])
    assert read(tmp_path / "photo.gif").mean(axis=(0, 1)) == pytest.approx([250, 0, 0], abs=2)


def test_shrinking_averages_and_height_comes_first(tmp_path):
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::4] = 255
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    found = photo_reader((8, 16))(tmp_path / "stripes.png")
    assert found.shape == (8, 16, 3)
    # Picking single pixels would miss the stripes; averaging gives an even dark grey.
    assert np.abs(found[2:-2, 2:-2].astype(int) - 255 // 4).max() <= 8


# ---------------------------------------------------------------------------- what is not a photo

JPEG = encoded(picture(0, (64, 64)), "JPEG", quality=95)
PNG = encoded(picture(0, (64, 64)), "PNG")
WRONG = {
    "empty": (b"", "the file is empty"),
    "zeros": (bytes(5000), "not a photo"),
    "text": (b"I am not a photo.\n" * 50, "not a photo (JPEG, PNG, GIF, BMP or WebP)"),
    "html": (b"<!DOCTYPE html><title>404</title>", "not a photo"),
    "one byte": (b"\xff", "not a photo"),
    "half a webp": (encoded(picture(), "WEBP")[:40], "a damaged or truncated WebP"),
    "a sound": (b"RIFF\x24\0\0\0WAVEfmt " + bytes(40), "not a photo"),
    "half a jpeg": (JPEG[: len(JPEG) // 2], "a damaged or truncated JPEG"),
    "start of a jpeg": (JPEG[:3], "a damaged or truncated JPEG"),
    "half a png": (PNG[: len(PNG) // 2], "a damaged or truncated PNG"),
    "head of a png": (PNG[:20], "a damaged or truncated PNG"),
    "gif": (b"GIF89a" + bytes(40), "a damaged or truncated GIF"),
    "bmp": (b"BM" + bytes(60), "a damaged or truncated BMP"),
}


@pytest.mark.parametrize("data, what", WRONG.values(), ids=WRONG)
def test_a_bad_file_is_refused_with_the_reason(read, tmp_path, data, what):
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    with pytest.raises(ValueError) as raised:
        read(path)
    assert what in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_folder_an_absent_file_and_an_impossible_name_are_refused(read, tmp_path):
    with pytest.raises(ValueError, match="Is a directory"):
        read(tmp_path)
    with pytest.raises(ValueError, match="No such file"):
        read(tmp_path / "absent.jpg")
    with pytest.raises(ValueError, match="null byte"):
        read(tmp_path / "a\0b.jpg")


def huge_jpeg() -> bytes:
    size = JPEG.index(b"\xff\xc0") + 5
    return JPEG[:size] + struct.pack(">HH", 30000, 30000) + JPEG[size + 4 :]


HUGE = {
    "png": png(60_000, 60_000),
    "png, one row": png(2**31 - 1, 1),
    "jpeg": huge_jpeg(),
    "gif": b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + bytes(40),
    "bmp": b"BM" + bytes(12) + struct.pack("<Iii", 40, 50_000, -50_000) + bytes(40),
}


@pytest.mark.parametrize("data", HUGE.values(), ids=HUGE)
def test_a_header_that_claims_an_enormous_photo_is_refused_before_decoding(read, tmp_path, data):
    path = tmp_path / "bomb.jpg"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"too large to decode \(more than 100 million pixels\)"):
        read(path)


def test_the_limit_counts_pixels_as_the_header_has_them(monkeypatch):
    bmp = encoded(picture(0, (40, 30)), "BMP")
    upside_down = bmp[:22] + struct.pack("<i", -30) + bmp[26:]
    for data in (
        encoded(picture(0, (40, 30)), "JPEG"),
        encoded(picture(0, (40, 30)).convert("CMYK"), "JPEG"),
        encoded(picture(0, (40, 30)), "PNG"),
        encoded(picture(0, (40, 30)).quantize(8), "GIF"),
        bmp,
        upside_down,
        encoded(picture(0, (40, 30)), "WEBP"),
        encoded(picture(0, (40, 30)), "WEBP", lossless=True),
        encoded(picture(0, (40, 30)), "WEBP", exif=b"Exif\0\0II*\0"),
    ):
        monkeypatch.setattr(pixels, "MOST_PIXELS", 1200)
        assert decode(tf.constant(data), SIZE).shape == (SIDE, SIDE, 3)
        monkeypatch.setattr(pixels, "MOST_PIXELS", 1199)
        with pytest.raises(tf.errors.InvalidArgumentError, match="too large"):
            decode(tf.constant(data), SIZE)


# -------------------------------------------------------------------------------------- caches


@pytest.mark.parametrize("cache", ["memory", "disk", "stream", "auto"])
def test_every_cache_gives_the_same_pixels(photos, cache):
    numbers = [3, 0, 0, 4]
    read = photo_reader(SIZE)
    expected = np.stack([read(photos[number]) for number in numbers])
    opened = open_pixels(photos, SIZE, cache)
    found, good = opened.fetch(numbers)
    assert opened.kind == ("memory" if cache == "auto" else cache)
    assert good.tolist() == [True] * 4
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("cache", ["memory", "disk", "stream"])
def test_bad_photos_are_all_named_or_collected(photos, cache):
    photos[1].write_bytes(b"")
    photos[3].write_text("not a photo")
    with pytest.raises(DataError) as raised:
        open_pixels(photos, SIZE, cache)
    assert [problem.file for problem in raised.value.problems] == [str(photos[1]), str(photos[3])]
    assert "--data.skip_bad" in str(raised.value)
    for _ in range(2):  # the second time the disk cache is there already
        problems = []
        opened = open_pixels(photos, SIZE, cache, skip_bad=True, problems=problems)
        assert [(problem.file, problem.what) for problem in problems] == [
            (str(photos[1]), "the file is empty"),
            (str(photos[3]), "not a photo (JPEG, PNG, GIF, BMP or WebP)"),
        ]
        _, good = opened.fetch([0, 1, 2, 3, 4])
        assert good.tolist() == [True, False, True, False, True]


def test_the_disk_cache_is_used_again_until_a_photo_or_the_size_changes(photos, monkeypatch):
    decoded = []
    fill = pixels._fill
    monkeypatch.setattr(pixels, "_fill", lambda *args: decoded.append(1) or fill(*args))
    before, _ = open_pixels(photos, SIZE, "disk").fetch([0, 1])
    again, _ = open_pixels(photos, SIZE, "disk").fetch([0, 1])
    assert len(decoded) == 1
    assert np.array_equal(before, again)
    open_pixels(photos, (8, 8), "disk")
    assert len(decoded) == 2
    status = photos[1].stat()
    other = encoded(picture(9, (SIDE + 9, SIDE + 3)), "JPEG", quality=40)
    photos[1].write_bytes(other.ljust(status.st_size, b"\0"))  # as long as the one before
    assert photos[1].stat().st_size == status.st_size
    os.utime(photos[1], ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    after, _ = open_pixels(photos, SIZE, "disk").fetch([0, 1])
    assert len(decoded) == 3
    assert np.array_equal(before[0], after[0])
    assert not np.array_equal(before[1], after[1])


def test_a_full_disk_is_told_before_anything_is_decoded_and_leaves_nothing(
    photos, monkeypatch, tmp_path
):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    monkeypatch.setattr(pixels, "_fill", lambda *_: pytest.fail("decoded into a full disk"))
    with pytest.raises(UserError, match="the disk is full"):
        open_pixels(photos, SIZE, "disk")
    assert not list((tmp_path / "cache" / "pixels").iterdir())


def test_a_file_system_that_cannot_reserve_is_used_all_the_same(photos, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    assert open_pixels(photos, SIZE, "disk").fetch([0])[1].all()


def test_auto_goes_from_memory_to_disk_to_streaming_as_room_runs_out(photos, monkeypatch):
    size = len(photos) * SIDE * SIDE * 3
    monkeypatch.setattr(pixels, "free_memory", lambda: size / pixels.MEMORY_SHARE + 1)
    assert open_pixels(photos, SIZE).kind == "memory"
    monkeypatch.setattr(pixels, "free_memory", lambda: size / pixels.MEMORY_SHARE - 1)
    assert open_pixels(photos, SIZE).kind == "disk"
    usage = type("Usage", (), {"free": size})
    monkeypatch.setattr(pixels.shutil, "disk_usage", lambda _: usage)
    assert open_pixels(photos, SIZE).kind == "stream"
    with pytest.raises(UserError, match="cache: expected one of auto, memory"):
        open_pixels(photos, SIZE, "ram")


def test_a_photo_that_turns_bad_while_streaming_is_skipped_and_told_once(photos, capsys):
    opened = open_pixels(photos, SIZE, "stream", skip_bad=True)
    photos[2].write_bytes(JPEG[:200])
    for _ in range(2):
        found, good = opened.fetch([1, 2, 3])
        assert good.tolist() == [True, False, True]
        assert not found[1].any() and found[0].any()
    told = capsys.readouterr().err
    assert told.count(f"skipped: {photos[2]}: a damaged or truncated JPEG") == 1


def test_a_photo_that_turns_bad_while_streaming_stops_the_run_under_its_name(photos):
    opened = open_pixels(photos, SIZE, "stream")
    photos[2].unlink()
    with pytest.raises(DataError, match=r"2\.jpg: No such file"):
        opened.fetch([1, 2, 3])

    def gather(number):
        return opened.fetch([number])[0]

    data = tf.data.Dataset.range(4).map(lambda n: tf.numpy_function(gather, [n], tf.uint8))
    with (
        pytest.raises(DataError, match=r"2\.jpg: No such file.*--data\.skip_bad"),
        report_bad_photos(opened),
    ):
        list(data)


def test_other_failures_of_a_graph_keep_their_own_words(photos):
    opened = open_pixels(photos, SIZE, "memory")
    with pytest.raises(tf.errors.InvalidArgumentError), report_bad_photos(opened):
        raise tf.errors.InvalidArgumentError(None, None, "something else")


def test_checking_names_the_bad_photos_in_order(photos):
    photos[0].write_bytes(b"")
    photos[4].write_bytes(PNG[:30])
    assert [(p.file, p.what) for p in check_photos(photos)] == [
        (str(photos[0]), "the file is empty"),
        (str(photos[4]), "a damaged or truncated PNG"),
    ]
    assert check_photos([]) == []
