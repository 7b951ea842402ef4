"""Photos decoded in background threads: in order, duplicates only once, bad ones listed.

stream = PhotoStream(paths, size=260, views=(PLAIN, FLIPPED))
for photo, pixels in stream.decode(stream.missing(store)): ...
print(stream.bad())
"""

import collections
import contextlib
import functools
import hashlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from imagetext.errors import Problem
from imagetext.pipelines.feature_store import FeatureStore
from imagetext.pipelines.features import photo_digest, photo_digests
from imagetext.pipelines.pixels import decode, photo_reader

#: Number of photos decoded in one call, and of calls that run ahead.
CHUNK, CHUNKS_AHEAD = 16, 4
CHANGED = "the file changed during the extraction"
_DECODERS = max(2, os.cpu_count() or 2)


class PhotoHashes(NamedTuple):
    """The SHA-256 of each photo, empty if it cannot be read, and the problems."""

    digests: list[bytes]
    problems: list[Problem]


def hash_files(paths: Sequence[Path]) -> PhotoHashes:
    """Hash photos in parallel."""
    problems: list[Problem] = []
    return PhotoHashes(photo_digests(paths, problems), problems)


class MissingPhoto(NamedTuple):
    """A photo, and the views for which it has no features."""

    path: Path
    digest: bytes
    views: tuple[int, ...]


class PhotoStream:
    """The photos of an extraction.

    Args:
        paths: The photos.
        size: Side to which they are resized.
        views: The views to extract features of.
        hashed: The result of `hash_files(paths)`, if it is known already.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        size: int,
        views: tuple[int, ...],
        hashed: PhotoHashes | None = None,
    ):
        self.paths, self.views = [Path(path) for path in paths], views
        self.digests, self._problems = hashed or hash_files(self.paths)
        self._wrong: dict[bytes, str] = {}
        self._size = (size, size)
        self._read = photo_reader(self._size)
        self._decode = _chunk_decoder(self._size)

    def missing(self, store: FeatureStore | None) -> list[MissingPhoto]:
        """The photos without features in the store, each once, by the first of its paths."""
        paths = dict(zip(reversed(self.digests), reversed(self.paths), strict=True))
        missing = {view: set(store.missing(paths, view)) if store else paths for view in self.views}
        photos = (
            MissingPhoto(
                paths[digest], digest, tuple(v for v in self.views if digest in missing[v])
            )
            for digest in dict.fromkeys(self.digests)
            if digest  # empty if the file cannot be read
        )
        return [photo for photo in photos if photo.views]

    def sample(self, count: int) -> np.ndarray:
        """The first valid photos, uint8 [at most count, size, size, 3]."""
        stream: Any = self.decode(self.missing(None))
        with contextlib.closing(stream) as photos:
            sample = [pixels for _, pixels in itertools.islice(photos, count)]
        return np.array(sample, np.uint8)

    def bad(self) -> list[Problem]:
        """All bad photos so far, in the order of the photos."""
        remedy = "replace the file, or leave it out"
        problems = {problem.file: problem for problem in self._problems}
        for path, digest in zip(self.paths, self.digests, strict=True):
            if digest in self._wrong:
                problems[str(path)] = Problem(str(path), None, self._wrong[digest], remedy)
        return [problems[path] for path in dict.fromkeys(map(str, self.paths)) if path in problems]

    def decode(self, photos: Sequence[MissingPhoto]) -> Iterator[tuple[MissingPhoto, np.ndarray]]:
        """Decode photos; yields the valid ones in order, with pixels uint8 [size, size, 3]."""
        with ThreadPoolExecutor(_DECODERS) as pool:
            ahead: collections.deque = collections.deque()
            starts = iter(range(0, len(photos), CHUNK))
            while True:
                for start in itertools.islice(starts, CHUNKS_AHEAD - len(ahead)):
                    chunk = photos[start : start + CHUNK]
                    ahead.append((chunk, pool.submit(self._pixels, chunk)))
                if not ahead:
                    return
                chunk, future = ahead.popleft()
                for photo, pixels in zip(chunk, future.result(), strict=True):
                    if isinstance(pixels, str):
                        self._wrong[photo.digest] = pixels
                    else:
                        yield photo, pixels

    def _pixels(self, chunk: Sequence[MissingPhoto]) -> list[np.ndarray | str]:
        """The pixels of each photo, or what is wrong with it."""
        try:
            files = [photo.path.read_bytes() for photo in chunk]
            with tf.device("CPU"):
                decoded = list(self._decode(tf.constant(files)).numpy())
        except (OSError, tf.errors.OpError):  # one of them is bad: decode them one by one
            return [self._one(photo) for photo in chunk]
        # A photo that was replaced meanwhile must not be stored under the old digest.
        return [
            pixels if hashlib.sha256(file).digest() == photo.digest else CHANGED
            for photo, file, pixels in zip(chunk, files, decoded, strict=True)
        ]

    def _one(self, photo: MissingPhoto) -> np.ndarray | str:
        try:
            pixels = self._read(photo.path)
            return pixels if photo_digest(photo.path) == photo.digest else CHANGED
        except (ValueError, OSError) as error:
            return str(error)


@functools.cache
def _chunk_decoder(size: tuple[int, int]) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function from encoded photos [n] to uint8 [n, height, width, 3]; fails if one is bad.

    Calling a graph takes as long as decoding a small photo, so a call decodes many photos.
    """
    pixels = tf.TensorSpec([*size, 3], tf.uint8)
    return tf.function(
        lambda files: tf.map_fn(lambda file: decode(file, size), files, fn_output_signature=pixels),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
