"""Features of photos: computed once by an image encoder, read by everything behind it.

    features = Features.lookup(paths, store, photo_digests(paths, problems))
    features.fetch([0, 7, 7])                      # -> float16 [3, 9, 9, 1280], bool [3]

A row is found by the SHA-256 of the photo's bytes, and its folder by encoder, weights and
preprocessing: a photo or an encoder that changed is missing here, never silently stale.
"""

import contextlib
import hashlib
import itertools
import json
import os
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from imagetext.errors import Problem, UserError
from imagetext.files import cache_folder
from imagetext.pipelines.feature_meta import IDENTITY
from imagetext.pipelines.feature_store import PLAIN, FeatureStore
from imagetext.pipelines.sources import KINDS, every_record, open_source

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp")
_WORKERS, _CHUNK = max(2, os.cpu_count() or 2), 64


class Features:
    """Features of photos by number: the twin of `pixels.Pixels`, and called like it."""

    kind = "features"

    def __init__(self, paths: Sequence[Path], store: FeatureStore, rows: np.ndarray):
        """`rows` int64 [views, photos]: where each lies in the store, -1 for what is not there."""
        self.paths, self.store, self.rows = list(paths), store, rows
        self.shape, self.dtype, self.views = store.shape, store.dtype, len(rows)

    @classmethod
    def lookup(
        cls,
        paths: Sequence[Path],
        store: FeatureStore,
        digests: Sequence[bytes],
        views: Sequence[int] = (PLAIN,),
    ) -> "Features":
        """Those of photos with these digests; a photo that lacks a view has none."""
        rows = np.array([store.rows(digests, view) for view in views]).reshape(len(views), -1)
        rows[:, (rows < 0).any(axis=0)] = -1
        return cls(paths, store, rows)

    def fetch(
        self, numbers: Sequence[int], view: int | np.ndarray = PLAIN
    ) -> tuple[np.ndarray, np.ndarray]:
        """Numbers [n] -> [n, *shape] as stored, zeros where there is none, and which are: bool [n].
        `view` is one for all, or int [n].

        Photos in the order of the store are read the quickest: its files are only mapped.
        """
        rows = self.rows[view, numbers]
        good = rows >= 0
        if good.all():
            return self.store.fetch(rows), good
        array = np.zeros((len(rows), *self.shape), self.dtype)
        array[good] = self.store.fetch(rows[good])
        return array, good


def store_folder(meta: dict) -> Path:
    """Where features lie for which no folder was named: in the cache, each identity in its own."""
    told = json.dumps({key: meta[key] for key in IDENTITY}, sort_keys=True)
    digest = hashlib.sha256(told.encode()).hexdigest()[:16]
    return cache_folder() / "features" / f"{meta['encoder']}-{meta['output']}-{digest}"


def cached_store(digests: Collection[bytes]) -> FeatureStore | None:
    """The store in the cache with features of most of these photos; None where none has any."""
    most, found = 0, None
    for file in sorted((cache_folder() / "features").glob("*/meta.json")):
        with contextlib.suppress(UserError):
            store = FeatureStore.open(file.parent)
            there = len(set(digests)) - len(store.missing(digests))
            if there > most:
                most, found = there, store
    return found


def photo_digests(paths: Sequence[Path], problems: list[Problem]) -> list[bytes]:
    """The SHA-256 of each file; empty, and a problem noted, for one that cannot be read."""

    def one(path: Path) -> bytes | Problem:
        try:
            return photo_digest(path)
        except (OSError, ValueError) as error:  # the latter: impossible names
            what = getattr(error, "strerror", None) or str(error)
            return Problem(str(path), None, what, "replace the file, or leave it out")

    # Handing photos to threads one by one takes longer than hashing small ones.
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    with ThreadPoolExecutor(_WORKERS) as pool:
        hashed = pool.map(lambda chunk: list(map(one, chunk)), chunks)
        found = list(itertools.chain.from_iterable(hashed))
    problems.extend(one for one in found if isinstance(one, Problem))
    return [one if isinstance(one, bytes) else b"" for one in found]


def photo_digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def find_photos(root: str | Path, kind: str = "auto") -> tuple[list[Path], list[Problem]]:
    """The photos in a folder, or those the lists of a data folder name; and what is wrong there.

    `auto` takes a folder that holds photos itself for a folder of photos. Those in the folders
    inside it are found, too.
    """
    root = Path(root).expanduser()
    if kind not in (*KINDS, "photos"):
        raise UserError(f"unknown kind of data {kind!r}: expected photos, {', '.join(KINDS)}")
    if root.is_dir() and kind in ("auto", "photos"):
        try:
            if kind == "photos" or any(map(_is_photo, root.iterdir())):
                return _photos_inside(root), []
        except OSError as error:
            raise UserError(f"{root}: cannot be listed: {error.strerror or error}") from error
    try:
        source = open_source(root, "auto" if kind == "photos" else kind)
    except UserError as error:
        told = f"(or a folder that holds photos itself: {', '.join(PHOTO_SUFFIXES)})"
        raise UserError(f"{error}\n{told}" if kind == "auto" else str(error)) from error
    records, problems = every_record(source)
    return list(dict.fromkeys(record.image for record in records)), problems


def _photos_inside(root: Path) -> list[Path]:
    photos = sorted(filter(_is_photo, root.rglob("*")))
    if not photos:
        raise UserError(f"{root}: no photos in it ({', '.join(PHOTO_SUFFIXES)})")
    return photos


def _is_photo(path: Path) -> bool:
    return path.suffix.lower() in PHOTO_SUFFIXES and not path.name.startswith(".")
