"""Build an index of photos, add to it and remove from it, while others search it.

    done = build(model, list_photos("flickr8k"), "flickr8k.index")
    add(model, {"/photos/new.jpg": ()}, "flickr8k.index")
    remove("flickr8k.index", ["/photos/old.jpg"])

After a kill at any instant, the same call continues where it was; until it is done, readers see the
previous version.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imagetext.errors import DataError, Problem, UserError
from imagetext.retrieval.index.approximate import NO_FAISS, QUERIES, IndexSettings, import_faiss
from imagetext.retrieval.index.edits import Edits, compact, first_manifest, new_part, publish
from imagetext.retrieval.index.encoding import Encoder, FeatureCache, encode_files
from imagetext.retrieval.index.journal import Journal
from imagetext.retrieval.index.listing import absolute
from imagetext.retrieval.index.manifest import (
    ADDING,
    BUILDING,
    read_manifest,
    require_encoder,
    sweep,
    write_manifest,
    writing,
)
from imagetext.retrieval.index.reader import Index
from imagetext.retrieval.index.segment import Entry, File, Row
from imagetext.terminal import plural

#: Captions of each photo by its absolute path.
Photos = Mapping[str, Sequence[str]]
#: Called with the number of files done and in all.
OnProgress = Callable[[int, int], None]
NOTHING_READ = "no photo could be read"


@dataclass(frozen=True)
class IndexChange:
    """What a change to an index did.

    Args:
        folder: The index.
        meta: `Index.meta` after the change.
        added: Number of photos that were added.
        removed: Number of photos that were removed.
        bad: Files that could not be read.
        seconds: Time taken.
    """

    folder: Path
    meta: dict[str, Any]
    added: int
    removed: int
    bad: list[Problem]
    seconds: float

    @property
    def summary(self) -> str:
        """The change in one line."""
        meta, changes = self.meta, []
        if self.added:
            changes.append(f"{self.added:,} new")
        if self.removed:
            changes.append(f"{self.removed:,} removed")
        if self.bad:
            changes.append(f"{plural(len(self.bad), 'file')} left out")
        recall = ", ".join(f"{value:.1%} for {name}" for name, value in meta["recall"].items())
        kind = f"{meta['kind']}, recall@10 {recall}" if recall else meta["kind"]
        changed = f" ({', '.join(changes)})" if changes else ""
        photos = plural(meta["photos"], "photo")
        return f"{photos}{changed}, {kind}, {self.seconds:,.0f} s: {self.folder}"


def build(
    encoder: Encoder,
    photos: Photos,
    to: str | Path,
    run: str = "",
    cache: FeatureCache | None = None,
    settings: IndexSettings | None = None,
    progress: OnProgress | None = None,
) -> IndexChange:
    """Index these photos and no others, replacing any previous index.

    Args:
        encoder: The model.
        photos: The photos with their captions, as `list_photos` returns them.
        to: The folder of the index.
        run: Folder of the model's run, recorded for searches.
        cache: Stored features, which need not be computed again.
        settings: How the index is searched.
        progress: Called with the number of files done and in all.
    """
    start, to, settings = time.perf_counter(), Path(to), settings or IndexSettings()
    if settings.kind in ("ivfpq", "hnsw") and import_faiss() is None:
        raise UserError(f"kind {settings.kind}: {NO_FAISS}")
    if not photos:
        raise UserError("no photos to index")
    stamps, bad = _read_stamps(photos)
    if not stamps:
        raise DataError(bad, NOTHING_READ)
    with writing(to):
        sweep(to)
        with Journal(to / BUILDING, encoder.digest, encoder.width) as journal:
            todo = [path for path, stamp in stamps.items() if not journal.has_file(path, *stamp)]
            bad += encode_files(journal, encoder, todo, cache, progress=progress)
            entries = _entries(photos, stamps, journal, {str(problem.file) for problem in bad})
            if not entries:
                if not journal.files:  # otherwise another build can use them
                    journal.remove()
                raise DataError(bad, NOTHING_READ)
            vectors = journal.vectors()
            rows = (
                Row(digest, entry.line(), vectors[journal.row(digest)])
                for digest, entry in entries.items()
            )
            manifest = first_manifest(to, encoder.digest, encoder.width, run, settings)
            texts = _encode_captions(encoder, [entry.captions for entry in entries.values()])
            write_manifest(to, manifest.next([new_part(to, manifest, rows, texts)]))
            journal.remove()
        sweep(to)
        return _describe(to, len(entries), 0, bad, start)


def add(
    encoder: Encoder,
    photos: Photos,
    to: str | Path,
    cache: FeatureCache | None = None,
    progress: OnProgress | None = None,
) -> IndexChange:
    """Add photos to an index; for those it contains, unchanged, only size and time are compared.

    A photo that has changed replaces the one indexed under its path; one that is indexed under
    another path gets this path as well. The arguments are those of `build`.
    """
    start, to = time.perf_counter(), Path(to)
    require_encoder(to, read_manifest(to), encoder.digest)
    with writing(to):
        sweep(to)
        with (
            Index.open(to, approximate=False) as index,
            Journal(to / ADDING, encoder.digest, encoder.width) as journal,
        ):
            index.require_encoder(encoder.digest)
            edits, (stamps, bad) = Edits(index), _read_stamps(photos)

            def has_vector(digest: bytes) -> bool:
                return journal.has_vector(digest) or index.find(digest) is not None

            def is_done(path: str) -> bool:
                in_journal = journal.has_file(path, *stamps[path])
                return in_journal and has_vector(journal.files[path][2])

            changed = {path for path in stamps if not edits.has_file(path, *stamps[path])}
            todo = [path for path in stamps if path in changed and not is_done(path)]
            indexed = {digest for _, digest in edits.files.values()}
            bad += encode_files(journal, encoder, todo, cache, indexed.__contains__, progress)
            unreadable = {str(problem.file) for problem in bad}
            for path in stamps:
                if path in unreadable:
                    continue
                if path in changed:
                    size, stamp, digest = journal.files[path]
                    edits.put(File(path, size, stamp), digest, photos[path])
                elif photos[path]:
                    edits.put(*edits.files[path], photos[path])
            added = sum(index.find(digest) is None for digest in edits.changed)
            removed = sum(not entry.files for entry in edits.changed.values())
            if edits.changed:
                captions = [entry.captions for entry in edits.changed.values()]
                publish(to, edits, journal.vector, _encode_captions(encoder, captions))
            journal.remove()
        sweep(to)
        compact(to)
        return _describe(to, added, removed, bad, start)


def remove(to: str | Path, paths: Sequence[str | Path]) -> IndexChange:
    """Remove files, and all files in folders, from an index; the files themselves stay."""
    start, to = time.perf_counter(), Path(to)
    read_manifest(to)
    with writing(to):
        sweep(to)
        with Index.open(to, approximate=False) as index:
            edits = Edits(index)
            for path in map(absolute, paths):
                inside = path.rstrip("/") + "/"
                files = [path] if path in edits.files else []
                files += [file for file in edits.files if file.startswith(inside)]
                if not files:
                    raise UserError(f"{path}: not in {to}, neither as a photo nor as a folder")
                for file in files:
                    edits.drop(file)
            removed = sum(not entry.files for entry in edits.changed.values())
            publish(to, edits)
        sweep(to)
        compact(to)
        return _describe(to, 0, removed, [], start)


def _read_stamps(photos: Photos) -> tuple[dict[str, tuple[int, int]], list[Problem]]:
    """Size and time of every file, and a problem for those that cannot be found."""
    stamps: dict[str, tuple[int, int]] = {}
    bad: list[Problem] = []
    for path in photos:
        try:
            status = Path(path).stat()
            stamps[path] = status.st_size, status.st_mtime_ns
        except (OSError, ValueError) as error:
            what = getattr(error, "strerror", None) or str(error)
            bad.append(Problem(path, None, what, "correct the path, or leave it out"))
    return stamps, bad


def _entries(
    photos: Photos,
    stamps: Mapping[str, tuple[int, int]],
    journal: Journal,
    unreadable: set[str],
) -> dict[bytes, Entry]:
    """The entry of every photo; identical files share one."""
    entries: dict[bytes, Entry] = {}
    for path in stamps:
        if path not in unreadable:
            size, stamp, digest = journal.files[path]
            entry = entries.get(digest, Entry(()))
            captions = dict.fromkeys([*entry.captions, *photos[path]])
            files = (*entry.files, File(path, size, stamp))
            entries[digest] = Entry(files, tuple(captions))
    return entries


def _encode_captions(encoder: Encoder, captions: Sequence[Sequence[str]]) -> np.ndarray | None:
    """Vectors of a sample of the captions, on which recall is measured: [at most QUERIES, d]."""
    texts = [each[0] for each in captions if each]
    if not texts:
        return None
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(texts), min(QUERIES, len(texts)), replace=False)
    return encoder.encode_texts([texts[number] for number in chosen.tolist()])


def _describe(to: Path, added: int, removed: int, bad: list[Problem], start: float) -> IndexChange:
    with contextlib.closing(Index.open(to)) as index:
        seconds = time.perf_counter() - start
        return IndexChange(to, index.meta, added, removed, bad, seconds)
