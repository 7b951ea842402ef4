"""Reading and encoding photos into a journal: what takes the time when an index is built.

    problems = grow(journal, encoder, paths)         # paths lack a vector, or were never read

A photo's bytes are read once: what is hashed is what is encoded, even if the file changes
meanwhile. The features of photos that a store holds are taken from there, but not of those that lie
on their side or are transparent: a store has them as they are decoded, an index upright.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from imagetext.errors import Problem, UserError
from imagetext.pipelines.feature_store import FeatureStore
from imagetext.pipelines.upright import upright_bytes
from imagetext.retrieval.index.exact import unit
from imagetext.retrieval.index.journal import Journal, Seen

#: Photos that are encoded at once, and their bytes: two such chunks are held in memory.
_CHUNK, _CHUNK_BYTES, _WORKERS = 64, 128 << 20, 8
#: No photo is larger.
MOST_BYTES = 256 << 20
_REMEDY = "replace the file, or leave it out"


class Encoder(Protocol):
    """From photos and texts to vectors that can be compared; `predict.RetrievalModel`."""

    #: Names the weights.
    digest: str
    width: int

    def encode_photo_bytes(self, photos: list[bytes]) -> np.ndarray:
        """Upright -> float32 [n, width]; ValueError or UserError for what is no photo."""

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        """-> float32 [n, width]."""

    def encode_features(self, features: np.ndarray) -> np.ndarray:
        """What the model is given of photos, [n, ...] -> float32 [n, width]."""


@dataclass(frozen=True)
class Stored:
    """Features of photos by digest, of the encoders that a model looks through, side by side."""

    stores: Sequence[FeatureStore]
    #: Cells a side to which their grids are brought.
    cells: int | None = None

    def have(self, digest: bytes) -> bool:
        return bool(self.stores) and not any(store.missing([digest]) for store in self.stores)

    def fetch(self, digests: Sequence[bytes]) -> np.ndarray:
        """-> float32 [n, *shape]; all must be there."""
        from imagetext.encoders.grids import (
            SideBySide,  # TensorFlow, where there are features at all
        )

        parts = [store.fetch(store.rows(digests)) for store in self.stores]
        return SideBySide([store.shape for store in self.stores], self.cells).laid(parts)


def stored_features(config) -> Stored:
    """The features there are already for a model with these `data` keys; it may have none.

    Stored([]) where the model sees pixels, or no features were extracted.
    """
    from imagetext.encoders.extraction import identity
    from imagetext.pipelines.features import store_folder

    if config.from_pixels:
        return Stored([])
    stores = []
    for name in config.image_encoders:
        meta = identity(name, config.image_output, config.image_weights)
        folder = Path(config.features) if config.features else store_folder(meta)
        if config.features and len(config.image_encoders) > 1:
            folder /= name
        try:
            stores.append(FeatureStore.open(folder))
        except UserError:
            return Stored([])
        if any(stores[-1].meta[key] != meta[key] for key in meta):
            return Stored([])
    return Stored(stores, config.image_cells)


@dataclass(frozen=True)
class _Read:
    path: str
    size: int
    time: int
    content: bytes

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(self.content).digest()

    @property
    def upright(self) -> bool:
        return upright_bytes(self.content) is self.content


def grow(
    journal: Journal,
    encoder: Encoder,
    paths: Sequence[str],
    stored: Stored | None = None,
    known: Callable[[bytes], bool] = lambda digest: False,
    progress: Callable[[int, int], None] | None = None,
) -> list[Problem]:
    """Read every file and note it in the journal, with a vector unless its photo is `known`.

    Returns what could not be read; `progress` is told files done and files in all.
    """
    problems, done = [], 0
    for chunk in _reading(paths):
        seen = []
        for one in chunk:
            if isinstance(one, Problem):
                problems.append(one)
            else:
                seen.append((one, one.digest))
        fresh = {}
        for one, digest in seen:
            if not known(digest) and not journal.has_vector(digest):
                fresh.setdefault(digest, one)
        vectors, bad = _encode(encoder, fresh, stored or Stored([]))
        for one, digest in seen:
            if digest in bad:
                problems.append(Problem(one.path, None, bad[digest], _REMEDY))
        journal.append(
            [
                Seen(one.path, one.size, one.time, digest, vectors.get(digest))
                for one, digest in seen
                if digest not in bad
            ]
        )
        done += len(chunk)
        if progress:
            progress(done, len(paths))
    return problems


def _reading(paths: Sequence[str]) -> Iterator[list[_Read | Problem]]:
    """Chunks of files, the next one being read while this one is worked on."""
    with ThreadPoolExecutor(_WORKERS) as pool:
        ahead = []
        for chunk in _chunks(paths):
            ahead.append([pool.submit(_read, path) for path in chunk])
            if len(ahead) > 1:
                yield [future.result() for future in ahead.pop(0)]
        for futures in ahead:
            yield [future.result() for future in futures]


def _chunks(paths: Sequence[str]) -> Iterator[list[str]]:
    """As many as fit; one of its own for a file that is larger than a chunk."""
    chunk, held = [], 0
    for path in paths:
        try:
            size = Path(path).stat().st_size
        except (OSError, ValueError):  # told when it is read
            size = 0
        if chunk and (len(chunk) == _CHUNK or held + size > _CHUNK_BYTES):
            yield chunk
            chunk, held = [], 0
        chunk.append(path)
        held += size
    if chunk:
        yield chunk


def _read(path: str) -> _Read | Problem:
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):  # a pipe would be waited for
            return Problem(path, None, "is not a file", _REMEDY)
        with Path(path).open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_size > MOST_BYTES:
                return Problem(path, None, f"{status.st_size:,} bytes are no photo", _REMEDY)
            content = file.read()
    except (OSError, ValueError) as error:
        return Problem(path, None, getattr(error, "strerror", None) or str(error), _REMEDY)
    return _Read(path, status.st_size, status.st_mtime_ns, content)


def _encode(
    encoder: Encoder, fresh: dict[bytes, _Read], stored: Stored
) -> tuple[dict[bytes, np.ndarray], dict[bytes, str]]:
    """Vectors of photos by digest, and what is wrong with the others."""
    vectors, bad = {}, {}
    there = [digest for digest, one in fresh.items() if stored.have(digest) and one.upright]
    others = [digest for digest in fresh if digest not in set(there)]
    if there:
        found = encoder.encode_features(stored.fetch(there))
        vectors |= dict(zip(there, unit(found), strict=True))
    if others:
        try:
            found = unit(encoder.encode_photo_bytes([fresh[digest].content for digest in others]))
            vectors |= dict(zip(others, found, strict=True))
        except (ValueError, UserError):  # one of them is bad: find out which
            for digest in others:
                try:
                    [vectors[digest]] = unit(encoder.encode_photo_bytes([fresh[digest].content]))
                except (ValueError, UserError) as error:
                    bad[digest] = _what(error)
    return vectors, bad


def _what(error: Exception) -> str:
    problems = getattr(error, "problems", None)
    return problems[0].what if problems else str(error)
