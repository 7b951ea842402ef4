"""Building an index of photos, adding to it and removing from it, while others search it.

    done = build(encoder, list_photos("flickr8k"), "flickr8k.index")
    add(encoder, {"/photos/new.jpg": ()}, "flickr8k.index")
    remove("flickr8k.index", ["/photos/old.jpg"])

Killed at any instant, the same call goes on where it was; until it is done, readers see what was
there before.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagetext.errors import DataError, Problem, UserError
from imagetext.retrieval.index.approximate import NO_FAISS, QUERIES, IndexSettings, faiss_or_none
from imagetext.retrieval.index.changing import Edits, compact, first_manifest, new_part, publish
from imagetext.retrieval.index.growing import Encoder, Stored, grow
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
from imagetext.terminal import counted

Photos = Mapping[str, Sequence[str]]
Progress = Callable[[int, int], None]
NOTHING_READ = "no photo could be read"


@dataclass(frozen=True)
class Done:
    """What a change did; `meta` is the index's afterwards."""

    folder: Path
    meta: dict
    #: Photos encoded, photos gone, and files that could not be read.
    new: int
    gone: int
    bad: list[Problem]
    seconds: float

    @property
    def summary(self) -> str:
        meta, changes = self.meta, []
        if self.new:
            changes.append(f"{self.new:,} new")
        if self.gone:
            changes.append(f"{self.gone:,} removed")
        if self.bad:
            changes.append(f"{counted(len(self.bad), 'file')} left out")
        found = ", ".join(f"{value:.1%} for {name}" for name, value in meta["recall"].items())
        how = f"{meta['kind']}, recall@10 {found}" if found else meta["kind"]
        told = f" ({', '.join(changes)})" if changes else ""
        photos = counted(meta["photos"], "photo")
        return f"{photos}{told}, {how}, {self.seconds:,.0f} s: {self.folder}"


def build(
    encoder: Encoder,
    photos: Photos,
    to: str | Path,
    run: str = "",
    stored: Stored | None = None,
    settings: IndexSettings | None = None,
    progress: Progress | None = None,
) -> Done:
    """Index these photos and no others, in place of what index there was.

    Args:
        encoder: Makes the vectors.
        photos: Absolute path -> captions, as `list_photos` gives them.
        to: The folder of the index.
        run: Where the encoder lies, recorded for those who search.
        stored: Features that need not be computed again.
        settings: How it shall be searched.
        progress: Told files done and files to do.
    """
    began, to, settings = time.perf_counter(), Path(to), settings or IndexSettings()
    if settings.kind in ("ivfpq", "hnsw") and faiss_or_none() is None:
        raise UserError(f"an index of kind {settings.kind}: {NO_FAISS}")
    if not photos:
        raise UserError("no photos to index")
    stamps, bad = _stamps(photos)
    if not stamps:
        raise DataError(bad, NOTHING_READ)
    with writing(to):
        sweep(to)
        with Journal(to / BUILDING, encoder.digest, encoder.width) as journal:
            todo = [path for path, stamp in stamps.items() if not journal.knows(path, *stamp)]
            bad += grow(journal, encoder, todo, stored, progress=progress)
            unreadable, entries = {problem.file for problem in bad}, {}
            for path in stamps:
                if path not in unreadable:
                    size, stamp, digest = journal.files[path]
                    entry = entries.get(digest, Entry(()))
                    captions = dict.fromkeys([*entry.captions, *photos[path]])
                    files = (*entry.files, File(path, size, stamp))
                    entries[digest] = Entry(files, tuple(captions))
            if not entries:
                if not journal.files:  # else they may be gone on with
                    journal.remove()
                raise DataError(bad, NOTHING_READ)
            vectors = journal.vectors()
            rows = (
                Row(digest, entry.line(), vectors[journal.row(digest)])
                for digest, entry in entries.items()
            )
            manifest = first_manifest(to, encoder.digest, encoder.width, run, settings)
            texts = _text_vectors(encoder, [entry.captions for entry in entries.values()])
            write_manifest(to, manifest.next([new_part(to, manifest, rows, texts)]))
            journal.remove()
        sweep(to)
        return _done(to, len(entries), 0, bad, began)


def add(
    encoder: Encoder,
    photos: Photos,
    to: str | Path,
    stored: Stored | None = None,
    progress: Progress | None = None,
) -> Done:
    """Index these photos, too; those that are there, unchanged, cost a look at their size and time.

    A photo that was changed replaces what was indexed under its path; one that is there under
    another path gets this one besides. Arguments are those of `build`.
    """
    began, to = time.perf_counter(), Path(to)
    require_encoder(to, read_manifest(to), encoder.digest)
    with writing(to):
        sweep(to)
        with (
            Index.open(to, approximate=False) as index,
            Journal(to / ADDING, encoder.digest, encoder.width) as journal,
        ):
            index.require_encoder(encoder.digest)
            edits, (stamps, bad) = Edits(index), _stamps(photos)

            def held(digest: bytes) -> bool:
                return journal.has_vector(digest) or index.find(digest) is not None

            def read_already(path: str) -> bool:
                return journal.knows(path, *stamps[path]) and held(journal.files[path][2])

            other = [path for path in stamps if not edits.knows(path, *stamps[path])]
            todo = [path for path in other if not read_already(path)]
            known = {digest for _, digest in edits.files.values()}
            bad += grow(journal, encoder, todo, stored, known.__contains__, progress)
            unreadable, other = {problem.file for problem in bad}, set(other)
            for path in stamps:
                if path in unreadable:
                    continue
                if path in other:
                    size, stamp, digest = journal.files[path]
                    edits.put(File(path, size, stamp), digest, photos[path])
                elif photos[path]:
                    edits.put(*edits.files[path], photos[path])
            new = sum(index.find(digest) is None for digest in edits.changed)
            gone = sum(not entry.files for entry in edits.changed.values())
            if edits.changed:
                texts = _text_vectors(encoder, [one.captions for one in edits.changed.values()])
                publish(to, edits, journal.vector, texts)
            journal.remove()
        sweep(to)
        compact(to)
        return _done(to, new, gone, bad, began)


def remove(to: str | Path, paths: Sequence[str | Path]) -> Done:
    """Take files, and all files in folders, out of the index; the files themselves stay."""
    began, to = time.perf_counter(), Path(to)
    read_manifest(to)
    with writing(to):
        sweep(to)
        with Index.open(to, approximate=False) as index:
            edits = Edits(index)
            for path in map(absolute, paths):
                inside = path.rstrip("/") + "/"
                found = [path] if path in edits.files else []
                found += [file for file in edits.files if file.startswith(inside)]
                if not found:
                    raise UserError(f"{path}: not in {to}, neither as a photo nor as a folder")
                for file in found:
                    edits.drop(file)
            gone = sum(not entry.files for entry in edits.changed.values())
            publish(to, edits)
        sweep(to)
        compact(to)
        return _done(to, 0, gone, [], began)


def _stamps(photos: Photos) -> tuple[dict[str, tuple[int, int]], list[Problem]]:
    """Sizes and times of the files, and what is wrong with those that have none."""
    stamps, bad = {}, []
    for path in photos:
        try:
            status = Path(path).stat()
            stamps[path] = status.st_size, status.st_mtime_ns
        except (OSError, ValueError) as error:
            what = getattr(error, "strerror", None) or str(error)
            bad.append(Problem(path, None, what, "correct the path, or leave it out"))
    return stamps, bad


def _text_vectors(encoder: Encoder, captions: Sequence[Sequence[str]]) -> np.ndarray | None:
    """Vectors of a sample of the captions, on which recall is measured: [at most QUERIES, d]."""
    captions = [texts[0] for texts in captions if texts]
    if not captions:
        return None
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(captions), min(QUERIES, len(captions)), replace=False)
    return encoder.encode_texts([captions[place] for place in chosen.tolist()])


def _done(to: Path, new: int, gone: int, bad: list[Problem], began: float) -> Done:
    with contextlib.closing(Index.open(to)) as index:
        return Done(to, index.meta, new, gone, bad, time.perf_counter() - began)
