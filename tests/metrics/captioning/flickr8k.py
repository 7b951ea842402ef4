"""The captions of Flickr8k on this machine, for the tests marked `real_data`."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("IMAGETEXT_DATA") or ROOT.parent / "shared" / "flickr8k")
FILE = DATA / "text" / "Flickr8k.token.txt"

#: Number of captions in the file, and the digest of all as tokenized by pycocoevalcap.
CAPTIONS = 35_460
DIGEST = "763a02794682f785c3b3a01c81d8d0b1fa478c2367a5a004c81448c89f73f923"


def captions() -> list[str]:
    return [caption for _, caption in _rows()]


def photos() -> list[list[str]]:
    """The captions of each photo that has five."""
    by_photo = {}
    for name, caption in _rows():
        by_photo.setdefault(name.rsplit("#", 1)[0], []).append(caption)
    return [captions for captions in by_photo.values() if len(captions) == 5]


def _rows() -> list[list[str]]:
    if not FILE.is_file():
        pytest.skip(f"no {FILE}: set IMAGETEXT_DATA")
    lines = FILE.read_text(encoding="utf-8").splitlines()
    return [line.split("\t", 1) for line in lines]
