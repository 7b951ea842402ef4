"""Photos decoded ahead of whoever works on them: in order, each different one once, bad ones noted.

stream = PhotoStream(paths, size=260, views=(PLAIN, FLIPPED))
for photo, pixels in stream.decoded(stream.lacking(store)): ...
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

#: Photos decoded by one call, and how many calls run ahead.
CHUNK, CHUNKS_AHEAD = 16, 4
CHANGED = "the file changed while features were extracted"
_DECODERS = max(2, os.cpu_count() or 2)


class Hashed(NamedTuple):
    """The SHA-256 of each photo's file, empty for one that cannot be read, and why."""

    digests: list[bytes]
    problems: list[Problem]


def hash_files(paths: Sequence[Path]) -> Hashed:
    problems: list[Problem] = []
    return Hashed(photo_digests(paths, problems), problems)


class Wanted(NamedTuple):
    """A photo, and the views that it has no rows of."""

    path: Path
    digest: bytes
    views: tuple[int, ...]


class PhotoStream:
    """The photos of an extraction: which have no features yet, their pixels, what is wrong."""

    def __init__(
        self,
        paths: Sequence[Path],
        size: int,
        views: tuple[int, ...],
        hashed: Hashed | None = None,
    ):
        self.paths, self.views = [Path(path) for path in paths], views
        self.digests, self._problems = hashed or hash_files(self.paths)
        self._wrong: dict[bytes, str] = {}
        self._size = (size, size)
        self._read = photo_reader(self._size)
        self._decode = _chunk_decoder(self._size)

    def lacking(self, store: FeatureStore | None) -> list[Wanted]:
        """Each different photo without rows, by the first of its paths."""
        paths = dict(zip(reversed(self.digests), reversed(self.paths), strict=True))
        lacking = {view: set(store.missing(paths, view)) if store else paths for view in self.views}
        found = (
            Wanted(paths[digest], digest, tuple(v for v in self.views if digest in lacking[v]))
            for digest in dict.fromkeys(self.digests)
            if digest  # else the file cannot even be read
        )
        return [photo for photo in found if photo.views]

    def sample(self, count: int) -> np.ndarray:
        """The first good photos, uint8 [at most count, size, size, 3]."""
        stream: Any = self.decoded(self.lacking(None))
        with contextlib.closing(stream) as decoded:
            good = [pixels for _, pixels in itertools.islice(decoded, count)]
        return np.array(good, np.uint8)

    def bad(self) -> list[Problem]:
        """All that is known to be wrong, by the order of the photos."""
        remedy = "replace the file, or leave it out"
        found = {problem.file: problem for problem in self._problems}
        for path, digest in zip(self.paths, self.digests, strict=True):
            if digest in self._wrong:
                found[str(path)] = Problem(str(path), None, self._wrong[digest], remedy)
        return [found[path] for path in dict.fromkeys(map(str, self.paths)) if path in found]

    def decoded(self, wanted: Sequence[Wanted]) -> Iterator[tuple[Wanted, np.ndarray]]:
        """Yield the good photos in order with their pixels uint8 [size, size, 3]."""
        with ThreadPoolExecutor(_DECODERS) as pool:
            ahead: collections.deque = collections.deque()
            starts = iter(range(0, len(wanted), CHUNK))
            while True:
                for start in itertools.islice(starts, CHUNKS_AHEAD - len(ahead)):
                    chunk = wanted[start : start + CHUNK]
                    ahead.append((chunk, pool.submit(self._pixels, chunk)))
                if not ahead:
                    return
                chunk, future = ahead.popleft()
                for photo, found in zip(chunk, future.result(), strict=True):
                    if isinstance(found, str):
                        self._wrong[photo.digest] = found
                    else:
                        yield photo, found

    def _pixels(self, chunk: Sequence[Wanted]) -> list[np.ndarray | str]:
        """The pixels of each photo, or what is wrong with it."""
        found: list[np.ndarray | str]
        try:
            files = [photo.path.read_bytes() for photo in chunk]
            with tf.device("CPU"):
                found = list(self._decode(tf.constant(files)).numpy())
        except (OSError, tf.errors.OpError):  # to learn which of them it was, one by one
            return [self._one(photo) for photo in chunk]
        # A photo that was replaced since must not be stored under the old one's digest.
        return [
            one if hashlib.sha256(file).digest() == photo.digest else CHANGED
            for photo, file, one in zip(chunk, files, found, strict=True)
        ]

    def _one(self, photo: Wanted) -> np.ndarray | str:
        try:
            found = self._read(photo.path)
            return found if photo_digest(photo.path) == photo.digest else CHANGED
        except (ValueError, OSError) as error:
            return str(error)


@functools.cache
def _chunk_decoder(size: tuple[int, int]) -> Callable[[tf.Tensor], tf.Tensor]:
    """Encoded photos [n] -> uint8 [n, height, width, 3]; fails if one of them is bad.

    A call into a graph takes as long as decoding a small photo: so many photos share one.
    """
    pixels = tf.TensorSpec([*size, 3], tf.uint8)
    return tf.function(
        lambda files: tf.map_fn(lambda file: decode(file, size), files, fn_output_signature=pixels),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
