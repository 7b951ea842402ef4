"""Child processes that decode photos: their limits, and how they are replaced."""

import io
import signal
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from imagetext.serving.api_errors import ApiError
from imagetext.serving.decoders import Decoders
from imagetext.serving.photos import make_thumbnail, sanitize_photo
from imagetext.serving.settings import ServerSettings

from .stand_ins import StandInCaptions, photo


@pytest.fixture
def decoders():
    pools = []

    def make(**limits):
        pools.append(Decoders(ServerSettings(decoders=1, **limits)))
        return pools[-1]

    yield make
    for each in pools:
        each.close()


def blank(side: int, depth: int, kind: int, channels: int) -> bytes:
    """A complete PNG of zeros."""

    def chunk(name: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + check

    packer, row = zlib.compressobj(1), bytes(1 + side * channels * depth // 8)
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, depth, kind, 0, 0, 0)
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def test_results_are_those_of_the_functions(decoders):
    decode, data = decoders().decode, photo("PNG", (1500, 900))
    assert decode("bitmap", data) == sanitize_photo(data, ServerSettings())
    assert decode("thumbnail", data, 100) == make_thumbnail(data, 100, ServerSettings())
    with pytest.raises(ApiError) as error:
        decode("bitmap", b"<html>")
    assert (error.value.status, error.value.code) == (415, "no-photo")
    assert decode("thumbnail", data, 90) == make_thumbnail(data, 90, ServerSettings())


@pytest.mark.parametrize(
    ("depth", "kind", "channels", "width"), [(16, 0, 1, 2), (8, 6, 4, 4), (1, 0, 1, 1)]
)
def test_memory_follows_the_pixel_format_of_the_file(decoders, depth, kind, channels, width):
    """Copies of the whole image in a wider format would need several times as much."""
    side, python = 5000, 72 * 2**20
    data = blank(side, depth, kind, channels)
    assert len(data) < 600_000
    limited = decoders(decoder_bytes=python + side * side * width)
    assert Image.open(io.BytesIO(limited.decode("bitmap", data))).size == (1024, 1024)


def test_a_photo_that_needs_too_much_memory_is_refused_and_the_next_is_not(decoders):
    decode = decoders(decoder_bytes=100 * 2**20).decode
    with pytest.raises(ApiError) as error:
        decode("bitmap", blank(6000, 8, 6, 4))
    assert (error.value.status, error.value.code) == (413, "too-costly")
    assert decode("bitmap", photo())


def test_a_photo_that_takes_too_long_is_refused_and_the_next_is_not(decoders):
    decode = decoders(decoder_seconds=0.2, max_scanned_pixels=10**12).decode
    buffer = io.BytesIO()
    Image.new("L", (2000, 2000), 128).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    costly = data[:-2] + 2000 * data[data.rindex(b"\xff\xda") : -2] + data[-2:]
    with pytest.raises(ApiError) as error:
        decode("bitmap", costly)
    assert (error.value.status, error.value.code) == (413, "too-costly")
    assert decode("bitmap", photo())


def test_a_process_that_dies_is_replaced(decoders):
    pool = decoders()
    assert pool.decode("bitmap", photo())
    process = pool._free.get()
    pool._free.put(process)
    process.send_signal(signal.SIGSEGV)
    with pytest.raises(ApiError) as error:
        pool.decode("bitmap", photo())
    assert error.value.code == "damaged"
    assert pool.decode("bitmap", photo())


def test_children_do_not_get_the_token(decoders, monkeypatch):
    monkeypatch.setenv("IMAGETEXT_TOKEN", "s3cret")
    pool = decoders(token="s3cret")
    pool.decode("bitmap", photo())
    process = pool._free.get()
    pool._free.put(process)
    with open(f"/proc/{process.pid}/environ", "rb") as file:  # noqa: PTH123
        assert b"s3cret" not in file.read()
    assert b"s3cret" not in repr(pool._settings).encode()


def test_children_end_with_the_app(make_client):
    client = make_client(caption=StandInCaptions())
    client.post("/v1/caption", files={"photo": ("a", photo(), "image/jpeg")})
    decoders = client.app.state.dispatcher.decoders
    process = decoders._free.get() or decoders._free.get()
    decoders._free.put(process)
    assert process.poll() is None
    start = time.monotonic()
    client.__exit__(None, None, None)
    assert process.returncode is not None and time.monotonic() - start < 20
    client.__enter__()


def test_one_process_decodes_all_formats(decoders):
    decode = decoders().decode
    for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP"):
        decoded = Image.open(io.BytesIO(decode("bitmap", photo(kind))))
        assert np.array_equal(decoded, Image.open(io.BytesIO(photo(kind))).convert("RGB"))
