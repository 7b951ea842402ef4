"""Features of photos, computed once by an image encoder.

    features = Features.lookup(paths, store, photo_digests(paths, problems))
    features.fetch([0, 7, 7])                      # float16 [3, 9, 9, 1280], bool [3]

Rows are identified by the SHA-256 of the file, and folders by encoder, weights and preprocessing:
if a photo or an encoder changes, its features are missing rather than stale.
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
    """Features of photos by number, with the interface of `pixels.Pixels`.

    Args:
        paths: The photos.
        store: The store.
        rows: The row of each photo in the store for each view, int64 [views, photos]; -1 without
            one.
    """

    kind = "features"

    def __init__(self, paths: Sequence[Path], store: FeatureStore, rows: np.ndarray):
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
        """Look up photos by their digests; a photo without one of the views has no features."""
        rows = np.array([store.rows(digests, view) for view in views]).reshape(len(views), -1)
        rows[:, (rows < 0).any(axis=0)] = -1
        return cls(paths, store, rows)

    def fetch(
        self, numbers: Sequence[int] | np.ndarray, view: int | np.ndarray = PLAIN
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read features; photos in the order of the store are read fastest.

        Args:
            numbers: Numbers of photos [n].
            view: The view of all, or of each photo [n].

        Returns:
            The features [n, *shape], zeros where there are none, and whether there are some, bool
            [n].
        """
        rows = self.rows[view, numbers]
        good = rows >= 0
        if good.all():
            return self.store.fetch(rows), good
        array = np.zeros((len(rows), *self.shape), self.dtype)
        array[good] = self.store.fetch(rows[good])
        return array, good


def store_folder(meta: dict) -> Path:
    """The folder in the cache for features of this description."""
    identity = json.dumps({key: meta[key] for key in IDENTITY}, sort_keys=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return cache_folder() / "features" / f"{meta['encoder']}-{meta['output']}-{digest}"


def cached_store(digests: Collection[bytes]) -> FeatureStore | None:
    """The store in the cache with features of most of the photos; None if no store has any."""
    most, best = 0, None
    for file in sorted((cache_folder() / "features").glob("*/meta.json")):
        with contextlib.suppress(UserError):
            store = FeatureStore.open(file.parent)
            count = len(set(digests)) - len(store.missing(digests))
            if count > most:
                most, best = count, store
    return best


def photo_digests(paths: Sequence[Path], problems: list[Problem]) -> list[bytes]:
    """Hash files in parallel.

    Args:
        paths: The files.
        problems: Unreadable files are added to it.

    Returns:
        The SHA-256 of each file; empty if it cannot be read.
    """

    def digest(path: Path) -> bytes | Problem:
        try:
            return photo_digest(path)
        except (OSError, ValueError) as error:  # ValueError: invalid names
            what = getattr(error, "strerror", None) or str(error)
            return Problem(str(path), None, what, "replace the file, or leave it out")

    # Passing photos to threads one by one takes longer than hashing small ones.
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    with ThreadPoolExecutor(_WORKERS) as pool:
        hashed = pool.map(lambda chunk: list(map(digest, chunk)), chunks)
        results = list(itertools.chain.from_iterable(hashed))
    problems.extend(result for result in results if isinstance(result, Problem))
    return [result if isinstance(result, bytes) else b"" for result in results]


def photo_digest(path: Path) -> bytes:
    """The SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).digest()


def find_photos(root: str | Path, kind: str = "auto") -> tuple[list[Path], list[Problem]]:
    """Find the photos of a folder.

    Args:
        root: A folder of photos, which may have subfolders, or a data folder.
        kind: "photos" or one of `sources.KINDS`; "auto" takes a folder with photos directly in it
            as a folder of photos, any other as a data folder.

    Returns:
        The photos, and the problems of a data folder.
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
        hint = f"(or a folder that contains photos: {', '.join(PHOTO_SUFFIXES)})"
        raise UserError(f"{error}\n{hint}" if kind == "auto" else str(error)) from error
    records, problems = every_record(source)
    return list(dict.fromkeys(record.image for record in records)), problems


def _photos_inside(root: Path) -> list[Path]:
    photos = sorted(filter(_is_photo, root.rglob("*")))
    if not photos:
        raise UserError(f"{root}: contains no photos ({', '.join(PHOTO_SUFFIXES)})")
    return photos


def _is_photo(path: Path) -> bool:
    return path.suffix.lower() in PHOTO_SUFFIXES and not path.name.startswith(".")
