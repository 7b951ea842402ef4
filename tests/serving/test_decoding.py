"""Processes that decode photos: what they may take, and that the next photo finds another."""

import io
import signal
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from imagetext.serving.decoding import Decoders
from imagetext.serving.photos import cleaned, thumbnail
from imagetext.serving.refusals import Refused
from imagetext.serving.settings import Settings

from .stand_ins import StandInCaptioner, photo


@pytest.fixture
def decoders():
    opened = []

    def make(**limits):
        opened.append(Decoders(Settings(decoders=1, **limits)))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def blank(side: int, depth: int, kind: int, channels: int) -> bytes:
    """A PNG of little more than nothing, all of whose rows are there."""

    def chunk(name: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + check

    packer, row = zlib.compressobj(1), bytes(1 + side * channels * depth // 8)
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, depth, kind, 0, 0, 0)
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def test_they_make_what_the_functions_make(decoders):
    made, data = decoders().made, photo("PNG", (1500, 900))
    assert made("cleaned", data) == cleaned(data, Settings())
    assert made("thumbnail", data, 100) == thumbnail(data, 100, Settings())
    with pytest.raises(Refused) as refused:
        made("cleaned", b"<html>")
    assert (refused.value.status, refused.value.code) == (415, "no-photo")
    assert made("thumbnail", data, 90) == thumbnail(data, 90, Settings())


@pytest.mark.parametrize(
    ("depth", "kind", "channels", "of_a_pixel"), [(16, 0, 1, 2), (8, 6, 4, 4), (1, 0, 1, 1)]
)
def test_no_more_memory_is_taken_than_the_file_says(decoders, depth, kind, channels, of_a_pixel):
    """Whole copies in wider forms would be several times as much."""
    side, python = 5000, 72 * 2**20
    data = blank(side, depth, kind, channels)
    assert len(data) < 600_000
    made = decoders(decode_bytes=python + side * side * of_a_pixel).made("cleaned", data)
    assert Image.open(io.BytesIO(made)).size == (1024, 1024)


def test_a_photo_that_needs_too_much_memory_is_refused_and_the_next_is_not(decoders):
    made = decoders(decode_bytes=100 * 2**20).made
    with pytest.raises(Refused) as refused:
        made("cleaned", blank(6000, 8, 6, 4))
    assert (refused.value.status, refused.value.code) == (413, "too-costly")
    assert made("cleaned", photo())


def test_a_photo_that_takes_too_long_is_refused_and_the_next_is_not(decoders):
    made = decoders(decode_seconds=0.2, most_scanned=10**12).made
    written = io.BytesIO()
    Image.new("L", (2000, 2000), 128).save(written, "JPEG", progressive=True)
    data = written.getvalue()
    sly = data[:-2] + 2000 * data[data.rindex(b"\xff\xda") : -2] + data[-2:]
    with pytest.raises(Refused) as refused:
        made("cleaned", sly)
    assert (refused.value.status, refused.value.code) == (413, "too-costly")
    assert made("cleaned", photo())


def test_a_process_that_dies_is_replaced(decoders):
    own = decoders()
    assert own.made("cleaned", photo())
    process = own._free.get()
    own._free.put(process)
    process.send_signal(signal.SIGSEGV)
    with pytest.raises(Refused) as refused:
        own.made("cleaned", photo())
    assert refused.value.code == "damaged"
    assert own.made("cleaned", photo())


def test_they_know_no_secrets(decoders, monkeypatch):
    monkeypatch.setenv("IMAGETEXT_TOKEN", "s3cret")
    own = decoders(token="s3cret")
    own.made("cleaned", photo())
    process = own._free.get()
    own._free.put(process)
    with open(f"/proc/{process.pid}/environ", "rb") as file:  # noqa: PTH123
        assert b"s3cret" not in file.read()
    assert b"s3cret" not in repr(own._settings).encode()


def test_they_end_with_the_app(make_client):
    client = make_client(captioner=StandInCaptioner())
    client.post("/v1/caption", files={"photo": ("a", photo(), "image/jpeg")})
    decoders = client.app.state.desk.decoders
    process = decoders._free.get() or decoders._free.get()
    decoders._free.put(process)
    assert process.poll() is None
    began = time.monotonic()
    client.__exit__(None, None, None)
    assert process.returncode is not None and time.monotonic() - began < 20
    client.__enter__()


def test_noise_of_all_formats_passes_through_one_process(decoders):
    made = decoders().made
    for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP"):
        found = Image.open(io.BytesIO(made("cleaned", photo(kind))))
        assert np.array_equal(found, Image.open(io.BytesIO(photo(kind))).convert("RGB"))
