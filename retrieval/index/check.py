"""Whether an index and its photos are whole: what `imagetext index check` does.

found = check("flickr8k.index")
found.problems                     # files missing, changed, corrupt; damage to the index itself
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from imagetext.errors import Problem, UserError
from imagetext.retrieval.index.manifest import read_lock, read_manifest, segment_folder
from imagetext.retrieval.index.reader import Index
from imagetext.retrieval.index.segment import Damaged, Segment
from imagetext.terminal import counted

_WORKERS, _CHUNK = 8, 256
MISSING, CHANGED, CORRUPT, DAMAGED = "missing", "changed", "corrupt", "damaged"


@dataclass(frozen=True)
class Checked:
    """Photos and files looked at, and how many are of each kind of wrong."""

    photos: int
    files: int
    wrong: dict[str, int]
    problems: list[Problem]

    @property
    def summary(self) -> str:
        told = [f"{count:,} {kind}" for kind, count in self.wrong.items() if count]
        where = f"{counted(self.photos, 'photo')} in {counted(self.files, 'file')}"
        return f"{where}: {', '.join(told) or 'all well'}"


def check(folder: str | Path, progress: Callable[[int, int], None] | None = None) -> Checked:
    """Compare every file of the index and every photo with the hash recorded of it."""
    folder = Path(folder)
    wrong = dict.fromkeys((MISSING, CHANGED, CORRUPT, DAMAGED), 0)
    problems = _damage(folder)
    wrong[DAMAGED] = len(problems)
    if problems:
        return Checked(0, 0, wrong, problems)
    with Index.open(folder, approximate=False) as index:
        files = [(file.path, digest) for digest, one in index.entries() for file in one.files]
        with ThreadPoolExecutor(_WORKERS) as pool:
            for start in range(0, len(files), _CHUNK):
                chunk = files[start : start + _CHUNK]
                kinds = pool.map(lambda one: _look(*one), chunk)
                for (path, _), kind in zip(chunk, kinds, strict=True):
                    if kind:
                        wrong[kind] += 1
                        problems.append(Problem(path, None, *_TOLD[kind](folder, path)))
                if progress:
                    progress(start + len(chunk), len(files))
        return Checked(len(index), len(files), wrong, problems)


_TOLD = {
    MISSING: lambda folder, path: (
        MISSING,
        f"put it back, or: imagetext index remove {folder} {path}",
    ),
    CHANGED: lambda folder, path: (
        "changed since it was indexed",
        f"imagetext index add {folder} {path}",
    ),
    CORRUPT: lambda folder, path: (
        "corrupt: no longer a photo",
        f"put it back, or: imagetext index remove {folder} {path}",
    ),
}


def _look(path: str, digest: bytes) -> str | None:
    try:
        with Path(path).open("rb") as file:
            if hashlib.file_digest(file, "sha256").digest() == digest:
                return None
    except (OSError, ValueError):
        return MISSING
    try:
        with Image.open(path) as image:
            image.draft("RGB", (32, 32))
            image.load()
    except Exception:  # Pillow raises many kinds
        return CORRUPT
    return CHANGED


def _damage(folder: Path) -> list[Problem]:
    """What is wrong with the index's own files. A writer may replace them meanwhile: it removes
    none that are held, and of a version that it replaced before that nothing is told."""
    while True:
        manifest, problems = read_manifest(folder), []
        with contextlib.ExitStack() as held:
            segments = []
            for part in manifest.parts:
                inside = segment_folder(folder, part.name)
                with _telling(inside, problems):
                    held.enter_context(read_lock(inside))
                    segments.append(Segment(inside, manifest.width, part.rows, part.dead))
            for segment in segments:
                with _telling(segment.folder, problems):
                    _whole(segment)
                    _sound(segment)
            if not problems or read_manifest(folder) == manifest:
                return problems


@contextlib.contextmanager
def _telling(inside: Path, problems: list[Problem]) -> Iterator[None]:
    remedy = "build the index anew (its photos are untouched)"
    try:
        yield
    except Damaged as error:
        problems.append(Problem(inside, None, str(error), remedy))
    except FileNotFoundError as error:
        problems.append(Problem(error.filename or inside, None, "missing", remedy))
    except OSError as error:
        raise UserError(f"{inside}: cannot be read: {error.strerror or error}") from error


def _whole(segment: Segment) -> None:
    for name, told in segment.facts["files"].items():
        with (segment.folder / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != told["sha256"]:
                raise Damaged(f"{name}: its content changed")


def _sound(segment: Segment) -> None:
    for start in range(0, segment.rows, 1 << 16):
        lengths = np.linalg.norm(segment.vectors[start : start + (1 << 16)], axis=1)
        if not np.allclose(lengths, 1, atol=1e-3):
            raise Damaged("a vector is not of length one")
