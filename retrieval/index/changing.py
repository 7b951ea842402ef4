"""The next version of an index: new segments beside the old ones, then the switch.

    edits = Edits(index)
    edits.put(File("/photos/a.jpg", size, time), digest, captions)
    edits.drop("/photos/b.jpg")
    publish(folder, edits, vector_of, texts)

A photo of which anything changed leaves its segment and is written anew into the next: its row is
noted as removed, and nothing else of an old segment is touched.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from imagetext.errors import UserError
from imagetext.retrieval.index.approximate import QUERIES, IndexSettings
from imagetext.retrieval.index.manifest import (
    SEGMENTS,
    Manifest,
    Part,
    new_name,
    read_manifest,
    segment_folder,
    sweep,
    write_manifest,
)
from imagetext.retrieval.index.reader import Index
from imagetext.retrieval.index.segment import Entry, File, Row, Segment, write_dead, write_segment


class Edits:
    """What shall be other than it is in an open index."""

    def __init__(self, index: Index):
        self.index = index
        #: Photos with what will be known of them; without files, they go.
        self.changed: dict[bytes, Entry] = {}
        #: Path -> the file as recorded, and the photo in it.
        self.files: dict[str, tuple[File, bytes]] = {}
        for digest, entry in index.entries():
            self.files |= {file.path: (file, digest) for file in entry.files}

    def knows(self, path: str, size: int, time: int) -> bool:
        """Whether this very file is in the index."""
        file, _ = self.files.get(path, (None, None))
        return file is not None and (file.size, file.time) == (size, time)

    def entry(self, digest: bytes) -> Entry:
        if digest in self.changed:
            return self.changed[digest]
        found = self.index.find(digest)
        return found[0].entry(found[1]) if found else Entry(())

    def put(self, file: File, digest: bytes, captions: Iterable[str] = ()) -> None:
        """This photo is in this file, whatever was there before."""
        before, held = self.files.get(file.path, (None, None))
        if held is not None and held != digest:
            self.drop(file.path)
        entry = self.entry(digest)
        told = tuple(dict.fromkeys([*entry.captions, *captions]))
        if before == file and held == digest and told == entry.captions:
            return
        files = {one.path: one for one in entry.files} | {file.path: file}
        self.changed[digest] = Entry(tuple(files.values()), told)
        self.files[file.path] = file, digest

    def drop(self, path: str) -> None:
        """This file is no longer in the index, nor is its photo unless it lies elsewhere too."""
        _, digest = self.files.pop(path)
        entry = self.entry(digest)
        files = tuple(file for file in entry.files if file.path != path)
        self.changed[digest] = Entry(files, entry.captions)

    def rows(self, vector_of: Callable[[bytes], np.ndarray]) -> Iterator[Row]:
        for digest, entry in self.changed.items():
            if entry.files:
                yield Row(digest, entry.line(), vector_of(digest))

    def dead(self, segment: Segment) -> np.ndarray:
        """Rows removed from a segment, with those that were before."""
        rows = [row for row in map(segment.find, self.changed) if row is not None]
        gone = np.zeros(0, np.int64) if segment.live is None else np.flatnonzero(~segment.live)
        return np.concatenate([gone, np.array(rows, np.int64)])


def publish(
    folder: Path,
    edits: Edits,
    vector_of: Callable[[bytes], np.ndarray] | None = None,
    texts: np.ndarray | None = None,
) -> Manifest:
    """Write the edits as the next version, and switch to it. Only while `writing`.

    `vector_of` gives vectors of new photos, `texts` are vectors of new captions.
    """
    index = edits.index
    manifest, parts = index.manifest, []

    def vector(digest: bytes) -> np.ndarray:
        found = index.find(digest)
        return found[0].vectors[found[1]] if found else vector_of(digest)

    for part, segment in zip(manifest.parts, index.segments, strict=True):
        dead = edits.dead(segment)
        if len(dead) == segment.rows:
            continue
        if len(dead) + segment.count > segment.rows:
            part = Part(
                part.name, part.rows, write_dead(segment.folder, manifest.version + 1, dead)
            )
        parts.append(part)
    if any(entry.files for entry in edits.changed.values()):
        parts.append(new_part(folder, manifest, edits.rows(vector), texts))
    after = manifest.next(parts)
    write_manifest(folder, after)
    return after


def new_part(
    folder: Path, manifest: Manifest, rows: Iterable[Row], texts: np.ndarray | None = None
) -> Part:
    """Write a segment, whole before it has its name."""
    name = new_name(folder)
    final = segment_folder(folder, name)
    unfinished = final.with_suffix(".part")
    texts = np.zeros((0, manifest.width), np.float32) if texts is None else texts
    count = write_segment(unfinished, manifest.width, rows, texts[:QUERIES], manifest.settings)
    unfinished.rename(final)
    for inside in (final, folder / SEGMENTS):
        handle = os.open(inside, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    return Part(name, count)


def first_manifest(folder: Path, encoder: str, width: int, run: str, settings: IndexSettings):
    """That of a new index, or of the next version of one that is replaced."""
    try:
        version = read_manifest(folder).version
    except UserError:
        version = 0
    return Manifest(version, encoder, width, run, settings, ())


# ------------------------------------------------------------------------------- fewer segments


def compact(folder: Path) -> bool:
    """Merge segments where it is worthwhile; whether it was. Only while `writing`.

    A segment is merged with all smaller ones once these together are as many photos, so there are
    never more than a few, and a photo is copied a few times in its life. One of which a quarter was
    removed is written anew.
    """
    with Index.open(folder, approximate=False) as index:
        chosen = worth_merging([(segment.rows, segment.count) for segment in index.segments])
        if not chosen:
            return False
        manifest, segments = index.manifest, [index.segments[place] for place in chosen]
        texts = np.concatenate([segment.texts for segment in reversed(segments)])
        parts = [part for place, part in enumerate(manifest.parts) if place not in chosen]
        rows = (
            Row(segment.digest(row), segment.line(row), segment.vectors[row])
            for segment in segments
            for row in segment.live_rows()
        )
        parts.append(new_part(folder, manifest, rows, texts))
        write_manifest(folder, manifest.next(parts))
    sweep(folder)
    return True


def worth_merging(sizes: list[tuple[int, int]]) -> list[int]:
    """Rows and live rows of segments -> the places of those to be merged into one."""
    largest_first = sorted(range(len(sizes)), key=lambda place: -sizes[place][1])
    chosen = {place for place, (rows, live) in enumerate(sizes) if 4 * live < 3 * rows}
    for rank, place in enumerate(largest_first):
        behind = largest_first[rank + 1 :]
        if behind and sizes[place][1] <= sum(sizes[other][1] for other in behind):
            chosen |= {place, *behind}
            break
    return sorted(chosen)
