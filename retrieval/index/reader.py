"""Read an index.

    index = Index.open("flickr8k.index")
    [[result, *_]] = index.search(model.encode_texts(["a dog in snow"]), top=12)
    result.id, result.path, result.score, result.captions

Vectors, hashes, paths and captions stay on disk, memory-mapped; opening reads none of them. Another
process may change the index in the meantime: a reader keeps the version it opened.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from imagetext.errors import UserError
from imagetext.retrieval.index import exact
from imagetext.retrieval.index.approximate import NO_FAISS, import_faiss
from imagetext.retrieval.index.manifest import (
    Manifest,
    read_lock,
    read_manifest,
    require_encoder,
    segment_folder,
)
from imagetext.retrieval.index.segment import DamagedError, Entry, Segment, damaged

#: An id is the first letters of the SHA-256 of a photo's bytes, in hexadecimal.
ID_LETTERS = 32
_ID = re.compile(f"[0-9a-f]{{{ID_LETTERS}}}")
#: The version may change between reading index.json and opening its segments.
_TRIES = 20


@dataclass(frozen=True)
class SearchResult:
    """A photo that was found.

    Args:
        id: Identifies the photo by the contents of its file.
        path: Its file.
        score: Cosine of the photo and the query.
        captions: Its captions.
        paths: All files with the same contents.
    """

    id: str
    path: str
    score: float
    captions: tuple[str, ...]
    paths: tuple[str, ...]


class Index:
    """One version of an index, read-only; safe in several threads. See `Index.open`."""

    def __init__(
        self, folder: Path, manifest: Manifest, segments: list[Segment], locks: list[IO[bytes]]
    ):
        self.folder, self.manifest, self.segments = folder, manifest, segments
        self._locks = locks

    @classmethod
    def open(cls, folder: str | Path, approximate: bool = True) -> "Index":
        """Open the current version.

        Args:
            folder: The folder of the index.
            approximate: Use FAISS where the index was built for it; otherwise search exactly.
        """
        folder = Path(folder)
        for attempt in range(_TRIES):
            manifest = read_manifest(folder)
            try:
                return cls._open(folder, manifest, approximate)
            except FileNotFoundError as error:
                if attempt + 1 == _TRIES or read_manifest(folder) == manifest:
                    raise damaged(folder, f"{error.filename or error} is missing") from error
        raise AssertionError

    @classmethod
    def _open(cls, folder: Path, manifest: Manifest, approximate: bool) -> "Index":
        segments, locks = [], []
        try:
            for part in manifest.parts:
                inside = segment_folder(folder, part.name)
                locks.append(read_lock(inside))
                try:
                    segments.append(Segment(inside, manifest.width, part.rows, part.dead))
                    if approximate:
                        segments[-1].load_approximate()
                except DamagedError as error:
                    raise damaged(folder, f"{inside.name}/{error}") from error
        except BaseException:
            for lock in locks:
                lock.close()
            raise
        return cls(folder, manifest, segments, locks)

    def close(self) -> None:
        """Release the files, so that a writer can delete them if they are out of date."""
        for lock in self._locks:
            lock.close()

    __del__ = close

    def __enter__(self) -> "Index":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def __len__(self) -> int:
        return sum(segment.count for segment in self.segments)

    @property
    def width(self) -> int:
        return self.manifest.width

    @property
    def is_current(self) -> bool:
        """Whether this is still the current version."""
        return read_manifest(self.folder) == self.manifest

    @property
    def meta(self) -> dict[str, Any]:
        """Model, width, photos, version, kind of search, and the recall that was measured."""
        abouts = [each.approximate.about for each in self.segments if each.approximate]
        kinds = sorted({about["kind"] for about in abouts}) or ["exact"]
        groups = sorted({name for about in abouts for name in about["recall"]})
        return {
            "encoder": self.manifest.encoder,
            "width": self.width,
            "run": self.manifest.run,
            "version": self.manifest.version,
            "photos": len(self),
            "kind": "+".join(kinds),
            "recall": {
                name: min(about["recall"].get(name, 1.0) for about in abouts) for name in groups
            },
        }

    @property
    def note(self) -> str:
        """Why the search is slower than it could be; empty if it is not."""
        slow = any(each.facts["near"] and not each.approximate for each in self.segments)
        return f"searching exactly: {NO_FAISS}" if slow and import_faiss() is None else ""

    def require_encoder(self, digest: str) -> None:
        """Raise `UserError` unless the index was built with this model."""
        require_encoder(self.folder, self.manifest, digest)

    def search(self, vectors: np.ndarray, top: int = 12) -> list[list[SearchResult]]:
        """Find the photos that are closest to each query.

        Args:
            vectors: Queries, float32 [q, d].
            top: Number of results for each query.

        Returns:
            The results of each query, best first.
        """
        if top < 1:
            raise UserError(f"top: must be at least 1, got {top}")
        vectors = np.asarray(vectors, np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self.width:
            raise UserError(
                f"{self.folder}: expected queries of shape [n, {self.width}], got"
                f" {list(vectors.shape)}; use the run that the index was built with"
            )
        try:
            queries = exact.normalise(vectors)
        except ValueError as error:
            raise UserError(f"invalid query: {error}") from error
        scores, rows = self._search(queries, top)
        return [self._results(*each) for each in zip(scores, rows, strict=True)]

    def _search(self, queries: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores and row numbers across segments, [q, at most top]."""
        scores = [np.empty((len(queries), 0), np.float32)]
        rows = [np.empty((len(queries), 0), np.int64)]
        first = 0
        for segment in self.segments:
            segment_scores, segment_rows = segment.search(queries, top)
            scores.append(segment_scores)
            rows.append(np.where(segment_rows < 0, -1, segment_rows + first))
            first += segment.rows
        return exact.sort_results(np.concatenate(scores, 1), np.concatenate(rows, 1), top)

    def _results(self, scores: np.ndarray, rows: np.ndarray) -> list[SearchResult]:
        results = []
        for score, number in zip(scores.tolist(), rows.tolist(), strict=True):
            if number < 0:
                break
            segment, row = self._place(number)
            entry = self._entry(segment, row)
            id = segment.digest(row).hex()[:ID_LETTERS]
            results.append(SearchResult(id, entry.paths[0], score, entry.captions, entry.paths))
        return results

    def _place(self, number: int) -> tuple[Segment, int]:
        for segment in self.segments:
            if number < segment.rows:
                return segment, number
            number -= segment.rows
        raise IndexError(number)

    def _entry(self, segment: Segment, row: int) -> Entry:
        try:
            entry = segment.entry(row)
            if not entry.files:
                raise DamagedError("a photo without files")
        except DamagedError as error:
            raise damaged(self.folder, f"{segment.folder.name}/{error}") from error
        return entry

    def some(self, count: int) -> list[SearchResult]:
        """Photos from all over the index, the same each time; their `score` has no meaning."""
        total = sum(segment.rows for segment in self.segments)
        spread = np.linspace(0, total, min(count, total), endpoint=False, dtype=int)
        places = [(number, *self._place(number)) for number in spread]
        rows = [number for number, part, row in places if part.live is None or part.live[row]]
        return self._results(np.zeros(len(rows)), np.array(rows, np.int64))

    def find(self, start: bytes) -> tuple[Segment, int] | None:
        """The segment and row of the photo whose digest starts with these bytes."""
        for segment in reversed(self.segments):
            row = segment.find(start)
            if row is not None:
                return segment, row
        return None

    def _by_id(self, id: str) -> tuple[Segment, int]:
        place = self.find(bytes.fromhex(id)) if _ID.fullmatch(id) else None
        if place is None:
            raise KeyError(id)
        return place

    def photo_bytes(self, id: str) -> bytes:
        """The contents of a photo's file; `UserError` if it has changed since it was indexed.

        A server can hand them out: wherever a path leads, they have the hash of the photo.
        """
        segment, row = self._by_id(id)
        entry = self._entry(segment, row)
        for file in entry.files:
            try:
                if Path(file.path).stat().st_size != file.size:
                    continue
                content = Path(file.path).read_bytes()
            except (OSError, ValueError):
                continue
            if hashlib.sha256(content).digest() == segment.digest(row):
                return content
        raise UserError(
            f"{entry.paths[0]}: the photo has been changed or removed since it was indexed; try:"
            f" imagetext index check {self.folder}"
        )

    def vector(self, id: str) -> np.ndarray:
        """The vector of a photo, float32 [d]; KeyError if it is not in the index."""
        segment, row = self._by_id(id)
        return np.array(segment.vectors[row])

    def entries(self) -> Iterator[tuple[bytes, Entry]]:
        """Digest, paths and captions of every photo."""
        for segment in self.segments:
            for row in segment.live_rows():
                yield segment.digest(row), self._entry(segment, int(row))
