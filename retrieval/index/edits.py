"""The next version of an index: new segments beside the old ones, then a new manifest.

    edits = Edits(index)
    edits.put(File("/photos/a.jpg", size, time), digest, captions)
    edits.drop("/photos/b.jpg")
    publish(folder, edits, vector_of, texts)

A photo with any change is marked as removed in its segment and written into the next one; nothing
else of an old segment is touched.
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
    """Changes to an open index.

    Args:
        index: The index.
    """

    def __init__(self, index: Index):
        self.index = index
        #: The new entries of changed photos; photos without files are removed.
        self.changed: dict[bytes, Entry] = {}
        #: Each file by path, with the digest of the photo in it.
        self.files: dict[str, tuple[File, bytes]] = {}
        for digest, entry in index.entries():
            self.files |= {file.path: (file, digest) for file in entry.files}

    def has_file(self, path: str, size: int, time: int) -> bool:
        """Whether this file, unchanged, is in the index."""
        file, _ = self.files.get(path, (None, None))
        return file is not None and (file.size, file.time) == (size, time)

    def entry(self, digest: bytes) -> Entry:
        """The entry of a photo after the changes so far."""
        if digest in self.changed:
            return self.changed[digest]
        place = self.index.find(digest)
        return place[0].entry(place[1]) if place else Entry(())

    def put(self, file: File, digest: bytes, captions: Iterable[str] = ()) -> None:
        """Record that this file contains this photo, whatever it contained before."""
        old_file, old_digest = self.files.get(file.path, (None, None))
        if old_digest is not None and old_digest != digest:
            self.drop(file.path)
        entry = self.entry(digest)
        merged = tuple(dict.fromkeys([*entry.captions, *captions]))
        if old_file == file and old_digest == digest and merged == entry.captions:
            return
        files = {each.path: each for each in entry.files} | {file.path: file}
        self.changed[digest] = Entry(tuple(files.values()), merged)
        self.files[file.path] = file, digest

    def drop(self, path: str) -> None:
        """Remove a file, and its photo unless another file contains it."""
        _, digest = self.files.pop(path)
        entry = self.entry(digest)
        files = tuple(file for file in entry.files if file.path != path)
        self.changed[digest] = Entry(files, entry.captions)

    def rows(self, vector_of: Callable[[bytes], np.ndarray]) -> Iterator[Row]:
        """The changed photos that stay, as rows of a new segment."""
        for digest, entry in self.changed.items():
            if entry.files:
                yield Row(digest, entry.line(), vector_of(digest))

    def dead(self, segment: Segment) -> np.ndarray:
        """The rows of a segment that are removed, now or before."""
        rows = [row for row in map(segment.find, self.changed) if row is not None]
        removed = np.zeros(0, np.int64) if segment.live is None else np.flatnonzero(~segment.live)
        return np.concatenate([removed, np.array(rows, np.int64)])


def publish(
    folder: Path,
    edits: Edits,
    vector_of: Callable[[bytes], np.ndarray] | None = None,
    texts: np.ndarray | None = None,
) -> Manifest:
    """Write the edits as the next version and make it current. Only while `writing`.

    Args:
        folder: The index.
        edits: The changes.
        vector_of: Returns the vector of a new photo by its digest.
        texts: Vectors of new captions [m, d].
    """
    index = edits.index
    manifest, parts = index.manifest, []

    def vector(digest: bytes) -> np.ndarray:
        if place := index.find(digest):
            return place[0].vectors[place[1]]
        assert vector_of is not None
        return vector_of(digest)

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
    """Write a segment; it gets its name when it is complete."""
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


def first_manifest(
    folder: Path, encoder: str, width: int, run: str, settings: IndexSettings
) -> Manifest:
    """An empty manifest for a new index, or for one that replaces what is there."""
    try:
        version = read_manifest(folder).version
    except UserError:
        version = 0
    return Manifest(version, encoder, width, run, settings, ())


# ------------------------------------------------------------------------------- fewer segments


def compact(folder: Path) -> bool:
    """Merge segments where it is worthwhile; returns whether it was. Only while `writing`.

    A segment is merged with all smaller ones once they hold as many photos together. So there are
    never more than a few segments, and a photo is copied only a few times. A segment that has lost
    a quarter of its photos is rewritten.
    """
    with Index.open(folder, approximate=False) as index:
        chosen = choose_merge([(segment.rows, segment.count) for segment in index.segments])
        if not chosen:
            return False
        manifest, segments = index.manifest, [index.segments[number] for number in chosen]
        texts = np.concatenate([segment.texts for segment in reversed(segments)])
        parts = [part for number, part in enumerate(manifest.parts) if number not in chosen]
        rows = (
            Row(segment.digest(row), segment.line(row), segment.vectors[row])
            for segment in segments
            for row in segment.live_rows()
        )
        parts.append(new_part(folder, manifest, rows, texts))
        write_manifest(folder, manifest.next(parts))
    sweep(folder)
    return True


def choose_merge(sizes: list[tuple[int, int]]) -> list[int]:
    """Choose the segments to merge into one.

    Args:
        sizes: Rows and live rows of each segment.

    Returns:
        The numbers of the segments, possibly none.
    """
    largest_first = sorted(range(len(sizes)), key=lambda number: -sizes[number][1])
    chosen = {number for number, (rows, live) in enumerate(sizes) if 4 * live < 3 * rows}
    for rank, number in enumerate(largest_first):
        smaller = largest_first[rank + 1 :]
        if smaller and sizes[number][1] <= sum(sizes[other][1] for other in smaller):
            chosen |= {number, *smaller}
            break
    return sorted(chosen)
