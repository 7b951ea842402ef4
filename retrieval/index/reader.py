"""An index opened for searching.

    index = Index.open("flickr8k.index")
    [[hit, *_]] = index.search(encoder.encode_texts(["a dog in snow"]), top=12)
    hit.id, hit.path, hit.score, hit.captions

Vectors, hashes, paths and captions stay on disk, mapped; opening reads none of them. Another
process may change the index meanwhile: this one goes on with the version it opened.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagetext.errors import UserError
from imagetext.retrieval.index import exact
from imagetext.retrieval.index.approximate import NO_FAISS, faiss_or_none
from imagetext.retrieval.index.manifest import (
    Manifest,
    read_lock,
    read_manifest,
    require_encoder,
    segment_folder,
)
from imagetext.retrieval.index.segment import Damaged, Entry, Segment, damaged

#: An id is the beginning of the SHA-256 of a photo's bytes, in hexadecimal.
ID_LETTERS = 32
_ID = re.compile(f"[0-9a-f]{{{ID_LETTERS}}}")
#: Versions may change between reading index.json and opening what it names.
_TRIES = 20


@dataclass(frozen=True)
class SearchResult:
    """A photo found. `score` is the cosine with the query; `paths` all files of the same bytes."""

    id: str
    path: str
    score: float
    captions: tuple[str, ...]
    paths: tuple[str, ...]


class Index:
    """Photos by their vectors. Only reads; safe in several threads."""

    def __init__(self, folder: Path, manifest: Manifest, segments: list[Segment], locks: list):
        self.folder, self.manifest, self.segments = folder, manifest, segments
        self._locks = locks

    @classmethod
    def open(cls, folder: str | Path, approximate: bool = True) -> "Index":
        """The current version; not `approximate` searches exactly, and without FAISS."""
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
                        segments[-1].load_near()
                except Damaged as error:
                    raise damaged(folder, f"{inside.name}/{error}") from error
        except BaseException:
            for lock in locks:
                lock.close()
            raise
        return cls(folder, manifest, segments, locks)

    def close(self) -> None:
        """Let a writer remove this version's files, if it is no longer the current one."""
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
        """Whether there is no newer version to open."""
        return read_manifest(self.folder) == self.manifest

    @property
    def meta(self) -> dict:
        """Encoder, width, photos, version; kind of search, and the recall measured when built."""
        near = [segment.near.about for segment in self.segments if segment.near]
        kinds = sorted({about["kind"] for about in near}) or ["exact"]
        groups = sorted({name for about in near for name in about["recall"]})
        return {
            "encoder": self.manifest.encoder,
            "width": self.width,
            "run": self.manifest.run,
            "version": self.manifest.version,
            "photos": len(self),
            "kind": "+".join(kinds),
            "recall": {
                name: min(about["recall"].get(name, 1.0) for about in near) for name in groups
            },
        }

    @property
    def note(self) -> str:
        """What keeps it from being as quick as it could be, in words; else empty."""
        slow = [segment for segment in self.segments if segment.facts["near"] and not segment.near]
        return f"searching exactly: {NO_FAISS}" if slow and faiss_or_none() is None else ""

    def require_encoder(self, digest: str) -> None:
        """`UserError` unless the vectors here are of this encoder."""
        require_encoder(self.folder, self.manifest, digest)

    def search(self, vectors: np.ndarray, top: int = 12) -> list[list[SearchResult]]:
        """Queries [q, d] -> the best photos of each, best first."""
        if top < 1:
            raise UserError(f"top {top} -- must be at least 1")
        vectors = np.asarray(vectors, np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self.width:
            raise UserError(
                f"{self.folder}: holds vectors of {self.width} numbers, and was asked for an array "
                f"{vectors.shape} -- ask with the run it was built with"
            )
        try:
            queries = exact.unit(vectors)
        except ValueError as error:
            raise UserError(f"the query says nothing: {error}") from error
        return [self._hits(*found) for found in zip(*self._best(queries, top), strict=True)]

    def _best(self, queries: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores and row numbers across segments, [q, at most top]."""
        scores, rows, first = [np.empty((len(queries), 0), np.float32)], [], 0
        rows.append(np.empty((len(queries), 0), np.int64))
        for segment in self.segments:
            found, places = segment.best(queries, top)
            scores.append(found)
            rows.append(np.where(places < 0, -1, places + first))
            first += segment.rows
        return exact.in_order(np.concatenate(scores, 1), np.concatenate(rows, 1), top)

    def _hits(self, scores: np.ndarray, rows: np.ndarray) -> list[SearchResult]:
        hits = []
        for score, number in zip(scores.tolist(), rows.tolist(), strict=True):
            if number < 0:
                break
            segment, row = self._place(number)
            entry = self._entry(segment, row)
            name = segment.digest(row).hex()[:ID_LETTERS]
            hits.append(SearchResult(name, entry.paths[0], score, entry.captions, entry.paths))
        return hits

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
                raise Damaged("a photo without files")
        except Damaged as error:
            raise damaged(self.folder, f"{segment.folder.name}/{error}") from error
        return entry

    def some(self, count: int) -> list[SearchResult]:
        """Photos from all over the index, the same each time; `score` says nothing."""
        total = sum(segment.rows for segment in self.segments)
        spread = np.linspace(0, total, min(count, total), endpoint=False, dtype=int)
        places = [(number, *self._place(number)) for number in spread]
        rows = [number for number, part, row in places if part.live is None or part.live[row]]
        return self._hits(np.zeros(len(rows)), np.array(rows, np.int64))

    def find(self, start: bytes) -> tuple[Segment, int] | None:
        """The photo whose digest begins so."""
        for segment in reversed(self.segments):
            row = segment.find(start)
            if row is not None:
                return segment, row
        return None

    def _by_id(self, id: str) -> tuple[Segment, int]:
        found = self.find(bytes.fromhex(id)) if _ID.fullmatch(id) else None
        if found is None:
            raise KeyError(id)
        return found

    def photo_bytes(self, id: str) -> bytes:
        """A photo's file, if any of its paths still holds what was indexed; else `UserError`.

        What a server may hand out: whatever a path leads to, it is the photo of this hash.
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
            f"{entry.paths[0]}: the photo was changed or removed since it was indexed -- imagetext "
            f"index check {self.folder}"
        )

    def vector(self, id: str) -> np.ndarray:
        """float32 [d]; KeyError if the photo is not in the index."""
        segment, row = self._by_id(id)
        return np.array(segment.vectors[row])

    def entries(self) -> Iterator[tuple[bytes, Entry]]:
        """Digest, paths and captions of every photo."""
        for segment in self.segments:
            for row in segment.live_rows():
                yield segment.digest(row), self._entry(segment, int(row))
