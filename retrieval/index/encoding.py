"""Read and encode photos into a journal: where building an index spends its time.

    problems = encode_files(journal, encoder, paths)

The bytes of a photo are read once: what is hashed is what is encoded, even if the file changes in
the meantime. Stored features are used where there are any, except for photos that are rotated or
transparent: features are computed from photos as they are decoded, an index shows them upright.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from imagetext.errors import Problem, UserError
from imagetext.pipelines.feature_store import FeatureStore
from imagetext.pipelines.upright import upright_bytes
from imagetext.retrieval.index.exact import normalise
from imagetext.retrieval.index.journal import EncodedFile, Journal

#: Photos in a chunk, and their bytes at most; two chunks are in memory at a time.
_CHUNK, _CHUNK_BYTES, _WORKERS = 64, 128 << 20, 8
#: Larger files are not taken for photos.
MAX_FILE_BYTES = 256 << 20
_REMEDY = "replace the file, or leave it out"


class Encoder(Protocol):
    """What an index needs of a model, such as `retrieval.predict.RetrievalModel`."""

    @property
    def digest(self) -> str:
        """Identifies the weights."""

    @property
    def width(self) -> int:
        """Numbers in a vector."""

    def encode_photo_bytes(self, photos: Sequence[bytes]) -> np.ndarray:
        """Upright photos -> float32 [n, width]; ValueError or UserError if one is not a photo."""

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """-> float32 [n, width]."""

    def encode_features(self, features: np.ndarray) -> np.ndarray:
        """Model inputs [n, ...] -> float32 [n, width]."""


@dataclass(frozen=True)
class FeatureCache:
    """Stored features of photos, by digest.

    Args:
        stores: A store for each image encoder of the model.
        cells: Cells on each side to which grids are pooled.
    """

    stores: Sequence[FeatureStore]
    cells: int | None = None

    def has(self, digest: bytes) -> bool:
        return bool(self.stores) and not any(store.missing([digest]) for store in self.stores)

    def fetch(self, digests: Sequence[bytes]) -> np.ndarray:
        """Features of photos that are all stored, float32 [n, *shape]."""
        from imagetext.encoders.grids import CombinedGrids  # imports TensorFlow

        parts = [store.fetch(store.rows(digests)) for store in self.stores]
        return CombinedGrids([store.shape for store in self.stores], self.cells).combine(parts)


def open_feature_cache(config: Any) -> FeatureCache:
    """Open the stored features for the `data` section of a configuration.

    The cache is empty if the model takes pixels, or if no features have been extracted.
    """
    from imagetext.encoders.extraction import identity
    from imagetext.pipelines.features import store_folder

    if config.from_pixels:
        return FeatureCache([])
    stores = []
    for name in config.image_encoders:
        meta = identity(name, config.image_output, config.image_weights)
        folder = Path(config.features) if config.features else store_folder(meta)
        if config.features and len(config.image_encoders) > 1:
            folder /= name
        try:
            stores.append(FeatureStore.open(folder))
        except UserError:
            return FeatureCache([])
        if any(stores[-1].meta[key] != meta[key] for key in meta):
            return FeatureCache([])
    return FeatureCache(stores, config.image_cells)


@dataclass(frozen=True)
class _Content:
    path: str
    size: int
    time: int
    content: bytes

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(self.content).digest()

    @property
    def is_upright(self) -> bool:
        return upright_bytes(self.content) is self.content


def encode_files(
    journal: Journal,
    encoder: Encoder,
    paths: Sequence[str],
    cache: FeatureCache | None = None,
    is_indexed: Callable[[bytes], bool] = lambda digest: False,
    progress: Callable[[int, int], None] | None = None,
) -> list[Problem]:
    """Read every file, and write it to the journal with the vector of its photo.

    Args:
        journal: The journal.
        encoder: The model.
        paths: The files, none of which is in the journal with a vector.
        cache: Stored features.
        is_indexed: Whether a photo, by digest, needs no vector.
        progress: Called with the number of files done and in all.

    Returns:
        The files that could not be read.
    """
    problems: list[Problem] = []
    done = 0
    for chunk in _read_chunks(paths):
        files = []
        for each in chunk:
            if isinstance(each, Problem):
                problems.append(each)
            else:
                files.append((each, each.digest))
        new: dict[bytes, _Content] = {}
        for file, digest in files:
            if not is_indexed(digest) and not journal.has_vector(digest):
                new.setdefault(digest, file)
        vectors, bad = _encode(encoder, new, cache or FeatureCache([]))
        for file, digest in files:
            if digest in bad:
                problems.append(Problem(file.path, None, bad[digest], _REMEDY))
        journal.append(
            [
                EncodedFile(file.path, file.size, file.time, digest, vectors.get(digest))
                for file, digest in files
                if digest not in bad
            ]
        )
        done += len(chunk)
        if progress:
            progress(done, len(paths))
    return problems


def _read_chunks(paths: Sequence[str]) -> Iterator[list[_Content | Problem]]:
    """Chunks of files; the next one is read while one is encoded."""
    with ThreadPoolExecutor(_WORKERS) as pool:
        ahead: list[list[Future]] = []
        for chunk in _chunks(paths):
            ahead.append([pool.submit(_read, path) for path in chunk])
            if len(ahead) > 1:
                yield [future.result() for future in ahead.pop(0)]
        for futures in ahead:
            yield [future.result() for future in futures]


def _chunks(paths: Sequence[str]) -> Iterator[list[str]]:
    """As many files as fit into a chunk; a file larger than a chunk is one by itself."""
    chunk: list[str] = []
    total = 0
    for path in paths:
        try:
            size = Path(path).stat().st_size
        except (OSError, ValueError):  # reported when it is read
            size = 0
        if chunk and (len(chunk) == _CHUNK or total + size > _CHUNK_BYTES):
            yield chunk
            chunk, total = [], 0
        chunk.append(path)
        total += size
    if chunk:
        yield chunk


def _read(path: str) -> _Content | Problem:
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):  # reading a pipe would block
            return Problem(path, None, "is not a file", _REMEDY)
        with Path(path).open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_size > MAX_FILE_BYTES:
                return Problem(path, None, f"too large ({status.st_size:,} bytes)", _REMEDY)
            content = file.read()
    except (OSError, ValueError) as error:
        return Problem(path, None, getattr(error, "strerror", None) or str(error), _REMEDY)
    return _Content(path, status.st_size, status.st_mtime_ns, content)


def _encode(
    encoder: Encoder, new: dict[bytes, _Content], cache: FeatureCache
) -> tuple[dict[bytes, np.ndarray], dict[bytes, str]]:
    """Vectors of photos by digest, and the reasons why others have none."""
    vectors: dict[bytes, np.ndarray] = {}
    bad: dict[bytes, str] = {}
    stored = [digest for digest, file in new.items() if cache.has(digest) and file.is_upright]
    others = [digest for digest in new if digest not in set(stored)]
    if stored:
        encoded = encoder.encode_features(cache.fetch(stored))
        vectors |= dict(zip(stored, normalise(encoded), strict=True))
    if others:
        try:
            encoded = encoder.encode_photo_bytes([new[digest].content for digest in others])
            vectors |= dict(zip(others, normalise(encoded), strict=True))
        except (ValueError, UserError):  # one of them is bad: find out which
            for digest in others:
                try:
                    encoded = encoder.encode_photo_bytes([new[digest].content])
                    [vectors[digest]] = normalise(encoded)
                except (ValueError, UserError) as error:
                    bad[digest] = _reason(error)
    return vectors, bad


def _reason(error: Exception) -> str:
    problems = getattr(error, "problems", None)
    return problems[0].what if problems else str(error)
