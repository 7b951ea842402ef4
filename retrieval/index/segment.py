"""A segment: some photos of an index, in files that never change once they are written.

    write_segment(folder, width, rows)                    # rows: Row(digest, line, vector), ...
    segment = Segment(folder, width, count)
    segment.entry(0).paths, segment.vectors[0], segment.find(bytes.fromhex("00ff..."))

    vectors.f32      a row for each photo, of length one
    digests.bin      SHA-256 of each photo's bytes
    order.i64        rows sorted by digest, for looking one up
    photos.jsonl     a line for each photo: its paths with sizes and times, its captions
    offsets.u64      where the lines start
    texts.f32        vectors of a sample of the captions, on which recall is measured
    near.faiss       approximate search, for many photos
    segment.json     sizes and hashes of these files, and how near.faiss is searched
    dead-000007.i64  rows removed in version 7 of the index

All but segment.json and dead-* are memory-mapped: opening takes the same time for any size.
"""

import bisect
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imagetext.errors import UserError
from imagetext.files import cannot_write
from imagetext.retrieval.index import exact
from imagetext.retrieval.index.approximate import (
    ApproximateSearch,
    IndexSettings,
    choose_search,
    import_faiss,
)

DIGEST_BYTES = 32
VECTORS, DIGESTS, ORDER = "vectors.f32", "digests.bin", "order.i64"
LINES, OFFSETS, TEXTS, NEAR = "photos.jsonl", "offsets.u64", "texts.f32", "near.faiss"
FACTS = "segment.json"
REBUILD = "build the index again (its photos are untouched)"


class DamagedError(Exception):
    """A segment's files are damaged; the message says how."""


@dataclass(frozen=True)
class File:
    """A file that contains a photo, with its size and time when it was read."""

    path: str
    size: int
    time: int


@dataclass(frozen=True)
class Entry:
    """The files and captions of a photo; identical files are one photo."""

    files: tuple[File, ...]
    captions: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(file.path for file in self.files)

    def line(self) -> bytes:
        files = [[file.path, file.size, file.time] for file in self.files]
        return json.dumps({"files": files, "captions": self.captions}).encode() + b"\n"

    @classmethod
    def read(cls, line: bytes) -> "Entry":
        try:
            content = json.loads(line)
            files = tuple(File(str(path), int(size), int(t)) for path, size, t in content["files"])
            return cls(files, tuple(map(str, content["captions"])))
        except (ValueError, TypeError, KeyError) as error:
            raise DamagedError(f"{LINES}: invalid line") from error


@dataclass(frozen=True)
class Row:
    """A photo as it is written: its entry as a line, its vector float32 [d]."""

    digest: bytes
    line: bytes
    vector: np.ndarray


class Segment:
    """Photos by row. Safe in several threads; raises `DamagedError` for damaged files.

    Args:
        folder: The folder of the segment.
        width: Numbers in a vector.
        rows: Photos in the segment, removed ones included.
        dead: Name of the file that lists the removed rows.
    """

    def __init__(self, folder: Path, width: int, rows: int, dead: str | None = None):
        self.folder, self.width, self.rows = folder, width, rows
        self.facts = read_facts(folder, rows, width)
        self.vectors = self._mapped(VECTORS, np.float32, (rows, width))
        self.digests = self._mapped(DIGESTS, np.uint8, (rows, DIGEST_BYTES))
        self.order = self._mapped(ORDER, np.int64, (rows,))
        self._offsets = self._mapped(OFFSETS, np.uint64, (rows + 1,))
        self._lines = self._mapped(LINES, np.uint8, (self._bytes(LINES),))
        #: The rows that have not been removed, bool [rows]; None for all.
        self.live = None
        if dead:
            removed = np.frombuffer((folder / dead).read_bytes(), np.int64)
            if removed.size and not 0 <= removed.min() <= removed.max() < rows:
                raise DamagedError(f"{dead}: names rows that do not exist")
            self.live = np.ones(rows, bool)
            self.live[removed] = False
        self.count = rows if self.live is None else int(self.live.sum())
        self.approximate: ApproximateSearch | None = None

    @property
    def texts(self) -> np.ndarray:
        """Vectors of a sample of the captions, [m, d]."""
        count = self._bytes(TEXTS) // (4 * self.width)
        return self._mapped(TEXTS, np.float32, (count, self.width))

    def load_approximate(self) -> None:
        """Load the approximate search, if the segment has one and FAISS is installed."""
        about = self.facts["near"]
        if about is None or self.approximate or import_faiss() is None:
            return
        content = self._mapped(NEAR, np.uint8, (self._bytes(NEAR),))
        if hashlib.sha256(content).hexdigest() != self.facts["files"][NEAR]["sha256"]:
            raise DamagedError(f"{NEAR}: the content has changed")
        try:
            self.approximate = ApproximateSearch.read(content, about)
        except ValueError as error:
            raise DamagedError(f"{NEAR}: {error}") from error
        faiss_index = self.approximate.index
        if (faiss_index.ntotal, faiss_index.d) != (self.rows, self.width):
            raise DamagedError(f"{NEAR}: does not match the vectors")

    def search(self, queries: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
        """Queries [q, d] -> scores and rows, [q, at most top], best first; -1 for none."""
        search = self.approximate.search if self.approximate else exact.search
        return search(self.vectors, queries, top, self.live)

    def digest(self, row: int) -> bytes:
        """SHA-256 of the photo's bytes."""
        return self.digests[row].tobytes()

    def entry(self, row: int) -> Entry:
        return Entry.read(self.line(row))

    def line(self, row: int) -> bytes:
        """The entry as it is written."""
        start, end = (int(self._offsets[place]) for place in (row, row + 1))
        return self._lines[start:end].tobytes()

    def find(self, start: bytes) -> int | None:
        """The live row whose digest starts with these bytes."""
        size = len(start)
        place = bisect.bisect_left(
            range(self.rows), start, key=lambda at: self.digest(self.order[at])[:size]
        )
        if place == self.rows or self.digest(self.order[place])[:size] != start:
            return None
        row = int(self.order[place])
        return row if self.live is None or self.live[row] else None

    def live_rows(self) -> np.ndarray:
        return np.arange(self.rows) if self.live is None else np.flatnonzero(self.live)

    def _bytes(self, name: str) -> int:
        return self.facts["files"][name]["bytes"]

    def _mapped(self, name: str, dtype, shape: tuple[int, ...]) -> np.ndarray:
        if 0 in shape:  # an empty file cannot be mapped
            return np.zeros(shape, dtype)
        array = np.memmap(self.folder / name, dtype, "r", shape=shape)
        return array.view(np.ndarray)  # indexing a memmap takes five times as long


def read_facts(folder: Path, rows: int, width: int) -> dict:
    """Read segment.json and check it against the sizes of all files."""
    try:
        facts = json.loads((folder / FACTS).read_bytes())
        sizes = {name: entry["bytes"] for name, entry in facts["files"].items()}
        near = facts["near"]
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedError(f"{FACTS}: not a valid description of a segment") from error
    expected = {
        VECTORS: rows * width * 4,
        DIGESTS: rows * DIGEST_BYTES,
        ORDER: rows * 8,
        OFFSETS: rows * 8 + 8,
        LINES: sizes.get(LINES),
        TEXTS: sizes.get(TEXTS),
    } | ({NEAR: sizes.get(NEAR)} if near else {})
    if sizes != expected or None in sizes.values():
        raise DamagedError(f"{FACTS}: does not match {rows} rows of {width} numbers")
    for name, size in sizes.items():
        actual = (folder / name).stat().st_size
        if actual != size:
            raise DamagedError(f"{name}: expected {size:,} bytes, got {actual:,}")
    return facts


def write_segment(
    folder: Path, width: int, rows: Iterable[Row], texts: np.ndarray, settings: IndexSettings
) -> int:
    """Write all files of a segment into a new folder; returns the number of rows."""
    try:
        folder.mkdir(parents=True)
        digests = _write_rows(folder, width, rows)
        np.ascontiguousarray(texts, np.float32).reshape(-1, width).tofile(folder / TEXTS)
        ordered = sorted(range(len(digests)), key=digests.__getitem__)
        np.array(ordered, np.int64).tofile(folder / ORDER)
        near = None
        if digests:
            shape = (len(digests), width)
            vectors = np.memmap(folder / VECTORS, np.float32, "r", shape=shape).view(np.ndarray)
            near = choose_search(
                vectors, settings, np.asarray(texts, np.float32).reshape(-1, width)
            )
        if near:
            near.write(folder / NEAR)
        names = (VECTORS, DIGESTS, ORDER, LINES, OFFSETS, TEXTS, *([NEAR] if near else []))
        facts: dict[str, Any] = {"files": {}, "near": near.about if near else None}
        for name in names:
            facts["files"][name] = seal(folder / name)
        (folder / FACTS).write_text(json.dumps(facts, indent=2) + "\n")
        seal(folder / FACTS)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return len(digests)


def _write_rows(folder: Path, width: int, rows: Iterable[Row]) -> list[bytes]:
    digests, ends = [], [0]
    with (
        (folder / VECTORS).open("wb") as vectors,
        (folder / LINES).open("wb") as lines,
    ):
        for row in rows:
            vector = np.ascontiguousarray(row.vector, np.float32)
            if vector.shape != (width,):
                raise ValueError(f"expected a vector of shape {(width,)}, got {vector.shape}")
            vectors.write(vector.data)
            lines.write(row.line)
            ends.append(ends[-1] + len(row.line))
            digests.append(row.digest)
    (folder / DIGESTS).write_bytes(b"".join(digests))
    np.array(ends, np.uint64).tofile(folder / OFFSETS)
    if len(set(digests)) < len(digests):
        raise ValueError("two rows have the same photo")
    return digests


def write_dead(folder: Path, version: int, rows: np.ndarray) -> str:
    """Record the rows removed by a version; returns the file's name."""
    file = folder / f"dead-{version:06}.i64"
    try:
        np.sort(np.asarray(rows, np.int64)).tofile(file)
        seal(file)
    except OSError as error:
        raise cannot_write(file, error) from error
    return file.name


def seal(file: Path) -> dict:
    """Flush a file to disk; returns its size and hash."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return {"bytes": file.stat().st_size, "sha256": digest}


def damaged(folder: str | Path, reason: str) -> UserError:
    """The error for a damaged index."""
    return UserError(f"{folder}: damaged: {reason}; {REBUILD}")
