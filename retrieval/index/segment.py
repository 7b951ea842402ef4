"""Some photos of an index, in files that never change once they are written.

    write_segment(folder, width, rows)                    # rows: Row(digest, line, vector), ...
    segment = Segment(folder, width, count)
    segment.entry(0).paths, segment.vectors[0], segment.find(bytes.fromhex("00ff..."))

    vectors.f32      a row a photo, of length one
    digests.bin      SHA-256 of each photo's bytes
    order.i64        rows in the order of their digests, for looking one up
    photos.jsonl     a line a photo: its paths, their sizes and times, its captions
    offsets.u64      where the lines begin
    texts.f32        vectors of a sample of the captions, on which recall is measured
    near.faiss       a quicker way to search, for many photos
    segment.json     sizes and hashes of these files, and how near.faiss is searched
    dead-000007.i64  beside them: rows removed as of version 7 of the index

All but segment.json and dead-* are mapped into memory: opening costs the same for any number.
"""

import bisect
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagetext.errors import UserError
from imagetext.files import cannot_write
from imagetext.retrieval.index import exact
from imagetext.retrieval.index.approximate import Approximate, IndexSettings, choose, faiss_or_none

DIGEST_BYTES = 32
VECTORS, DIGESTS, ORDER = "vectors.f32", "digests.bin", "order.i64"
LINES, OFFSETS, TEXTS, NEAR = "photos.jsonl", "offsets.u64", "texts.f32", "near.faiss"
FACTS = "segment.json"


class Damaged(Exception):
    """What is wrong with a segment's files, in words."""


@dataclass(frozen=True)
class File:
    """One of the files that a photo lies in, with the size and time it had when it was read."""

    path: str
    size: int
    time: int


@dataclass(frozen=True)
class Entry:
    """What is known of a photo besides its vector. Identical files are one photo."""

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
            told = json.loads(line)
            files = tuple(File(str(path), int(size), int(t)) for path, size, t in told["files"])
            return cls(files, tuple(map(str, told["captions"])))
        except (ValueError, TypeError, KeyError) as error:
            raise Damaged(f"{LINES}: a line is no JSON of a photo") from error


@dataclass(frozen=True)
class Row:
    """What is written of a photo: its entry as a line, its vector float32 [d]."""

    digest: bytes
    line: bytes
    vector: np.ndarray


class Segment:
    """Photos by row. Safe in several threads; `Damaged` where a file is not what it should be."""

    def __init__(self, folder: Path, width: int, rows: int, dead: str | None = None):
        self.folder, self.width, self.rows = folder, width, rows
        self.facts = read_facts(folder, rows, width)
        self.vectors = self._mapped(VECTORS, np.float32, (rows, width))
        self.digests = self._mapped(DIGESTS, np.uint8, (rows, DIGEST_BYTES))
        self.order = self._mapped(ORDER, np.int64, (rows,))
        self._offsets = self._mapped(OFFSETS, np.uint64, (rows + 1,))
        self._lines = self._mapped(LINES, np.uint8, (self._bytes(LINES),))
        #: bool [rows], or None where all are.
        self.live = None
        if dead:
            removed = np.frombuffer((folder / dead).read_bytes(), np.int64)
            if removed.size and not 0 <= removed.min() <= removed.max() < rows:
                raise Damaged(f"{dead}: names rows that there are not")
            self.live = np.ones(rows, bool)
            self.live[removed] = False
        self.count = rows if self.live is None else int(self.live.sum())
        self.near: Approximate | None = None

    @property
    def texts(self) -> np.ndarray:
        """Vectors of a sample of the captions, [m, d]."""
        count = self._bytes(TEXTS) // (4 * self.width)
        return self._mapped(TEXTS, np.float32, (count, self.width))

    def load_near(self) -> None:
        """Make ready the quicker way to search, if there is one here and FAISS is at hand."""
        about = self.facts["near"]
        if about is None or self.near or faiss_or_none() is None:
            return
        content = self._mapped(NEAR, np.uint8, (self._bytes(NEAR),))
        if hashlib.sha256(content).hexdigest() != self.facts["files"][NEAR]["sha256"]:
            raise Damaged(f"{NEAR}: its content changed")
        try:
            self.near = Approximate.read(content, about)
        except ValueError as error:
            raise Damaged(f"{NEAR}: {error}") from error
        if (self.near.index.ntotal, self.near.index.d) != (self.rows, self.width):
            raise Damaged(f"{NEAR}: is of other vectors")

    def best(self, queries: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
        """Queries [q, d] -> scores and rows, [q, at most top], best first; -1 for none."""
        searcher = self.near or exact
        return searcher.best(self.vectors, queries, top, self.live)

    def digest(self, row: int) -> bytes:
        return self.digests[row].tobytes()

    def entry(self, row: int) -> Entry:
        return Entry.read(self.line(row))

    def line(self, row: int) -> bytes:
        start, end = (int(self._offsets[place]) for place in (row, row + 1))
        return self._lines[start:end].tobytes()

    def find(self, start: bytes) -> int | None:
        """The live row whose digest begins so."""
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
        if 0 in shape:  # which cannot be mapped
            return np.zeros(shape, dtype)
        array = np.memmap(self.folder / name, dtype, "r", shape=shape)
        return array.view(np.ndarray)  # indexing a memmap takes five times as long


def read_facts(folder: Path, rows: int, width: int) -> dict:
    """segment.json, if all files have the sizes it tells and these fit the rows."""
    try:
        facts = json.loads((folder / FACTS).read_bytes())
        sizes = {name: told["bytes"] for name, told in facts["files"].items()}
        near = facts["near"]
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise Damaged(f"{FACTS}: does not describe a segment") from error
    expected = {
        VECTORS: rows * width * 4,
        DIGESTS: rows * DIGEST_BYTES,
        ORDER: rows * 8,
        OFFSETS: rows * 8 + 8,
        LINES: sizes.get(LINES),
        TEXTS: sizes.get(TEXTS),
    } | ({NEAR: sizes.get(NEAR)} if near else {})
    if sizes != expected or None in sizes.values():
        raise Damaged(f"{FACTS}: does not fit {rows} rows of {width} numbers")
    for name, size in sizes.items():
        found = (folder / name).stat().st_size
        if found != size:
            raise Damaged(f"{name}: {found:,} bytes instead of {size:,}")
    return facts


def write_segment(
    folder: Path, width: int, rows: Iterable[Row], texts: np.ndarray, settings: IndexSettings
) -> int:
    """Write all files of a segment into a new folder; returns how many rows it has."""
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
            near = choose(vectors, settings, np.asarray(texts, np.float32).reshape(-1, width))
        if near:
            near.write(folder / NEAR)
        names = (VECTORS, DIGESTS, ORDER, LINES, OFFSETS, TEXTS, *([NEAR] if near else []))
        facts = {"files": {}, "near": near.about if near else None}
        for name in names:
            facts["files"][name] = sealed(folder / name)
        (folder / FACTS).write_text(json.dumps(facts, indent=2) + "\n")
        sealed(folder / FACTS)
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
                raise ValueError(f"a vector {vector.shape} where {(width,)} belongs")
            vectors.write(vector.data)
            lines.write(row.line)
            ends.append(ends[-1] + len(row.line))
            digests.append(row.digest)
    (folder / DIGESTS).write_bytes(b"".join(digests))
    np.array(ends, np.uint64).tofile(folder / OFFSETS)
    if len(set(digests)) < len(digests):
        raise ValueError("a photo has its row already")
    return digests


def write_dead(folder: Path, version: int, rows: np.ndarray) -> str:
    """Note which rows are removed as of a version; returns the file's name."""
    file = folder / f"dead-{version:06}.i64"
    try:
        np.sort(np.asarray(rows, np.int64)).tofile(file)
        sealed(file)
    except OSError as error:
        raise cannot_write(file, error) from error
    return file.name


def sealed(file: Path) -> dict:
    """Bring a file to the disk; its size and hash."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return {"bytes": file.stat().st_size, "sha256": digest}


def damaged(folder: str | Path, what: str) -> UserError:
    return UserError(
        f"{folder}: damaged: {what} -- build the index anew (its photos are untouched)"
    )
