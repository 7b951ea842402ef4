"""Check that an index and its photos are intact: `imagetext index check`.

result = check("flickr8k.index")
result.problems                    # missing, changed and corrupt files; damage to the index itself
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
from imagetext.retrieval.index.segment import REBUILD, DamagedError, Segment
from imagetext.terminal import plural

_WORKERS, _CHUNK = 8, 256
MISSING, CHANGED, CORRUPT, DAMAGED = "missing", "changed", "corrupt", "damaged"


@dataclass(frozen=True)
class CheckResult:
    """What a check found.

    Args:
        photos: Photos that were checked.
        files: Files that were checked.
        counts: Number of problems of each kind: missing, changed, corrupt, damaged.
        problems: All problems.
    """

    photos: int
    files: int
    counts: dict[str, int]
    problems: list[Problem]

    @property
    def summary(self) -> str:
        kinds = [f"{count:,} {kind}" for kind, count in self.counts.items() if count]
        checked = f"{plural(self.photos, 'photo')} in {plural(self.files, 'file')}"
        return f"{checked}: {', '.join(kinds) or 'no problems'}"


def check(folder: str | Path, progress: Callable[[int, int], None] | None = None) -> CheckResult:
    """Compare every file of the index and every photo with its recorded hash.

    Args:
        folder: The index.
        progress: Called with the number of files done and in all.
    """
    folder = Path(folder)
    counts = dict.fromkeys((MISSING, CHANGED, CORRUPT, DAMAGED), 0)
    problems = _find_damage(folder)
    counts[DAMAGED] = len(problems)
    if problems:
        return CheckResult(0, 0, counts, problems)
    with Index.open(folder, approximate=False) as index:
        files = [(file.path, digest) for digest, entry in index.entries() for file in entry.files]
        with ThreadPoolExecutor(_WORKERS) as pool:
            for start in range(0, len(files), _CHUNK):
                chunk = files[start : start + _CHUNK]
                kinds = pool.map(lambda file: _check_photo(*file), chunk)
                for (path, _), kind in zip(chunk, kinds, strict=True):
                    if kind:
                        counts[kind] += 1
                        problems.append(_photo_problem(kind, folder, path))
                if progress:
                    progress(start + len(chunk), len(files))
        return CheckResult(len(index), len(files), counts, problems)


def _photo_problem(kind: str, folder: Path, path: str) -> Problem:
    if kind == CHANGED:
        remedy = f"imagetext index add {folder} {path}"
        return Problem(path, None, "changed since it was indexed", remedy)
    what = MISSING if kind == MISSING else "corrupt: no longer a photo"
    return Problem(path, None, what, f"restore it, or: imagetext index remove {folder} {path}")


def _check_photo(path: str, digest: bytes) -> str | None:
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


def _find_damage(folder: Path) -> list[Problem]:
    """Problems with the index's own files.

    A writer may replace the index in the meantime. It deletes no segment that is locked here, and
    problems with a version that has been replaced before that are not reported.
    """
    while True:
        manifest = read_manifest(folder)
        problems: list[Problem] = []
        with contextlib.ExitStack() as locks:
            segments = []
            for part in manifest.parts:
                inside = segment_folder(folder, part.name)
                with _collecting(inside, problems):
                    locks.enter_context(read_lock(inside))
                    segments.append(Segment(inside, manifest.width, part.rows, part.dead))
            for segment in segments:
                with _collecting(segment.folder, problems):
                    _check_hashes(segment)
                    _check_vectors(segment)
            if not problems or read_manifest(folder) == manifest:
                return problems


@contextlib.contextmanager
def _collecting(inside: Path, problems: list[Problem]) -> Iterator[None]:
    try:
        yield
    except DamagedError as error:
        problems.append(Problem(inside, None, str(error), REBUILD))
    except FileNotFoundError as error:
        problems.append(Problem(error.filename or inside, None, "missing", REBUILD))
    except OSError as error:
        raise UserError(f"{inside}: cannot be read: {error.strerror or error}") from error


def _check_hashes(segment: Segment) -> None:
    for name, entry in segment.facts["files"].items():
        with (segment.folder / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != entry["sha256"]:
                raise DamagedError(f"{name}: the content has changed")


def _check_vectors(segment: Segment) -> None:
    for start in range(0, segment.rows, 1 << 16):
        lengths = np.linalg.norm(segment.vectors[start : start + (1 << 16)], axis=1)
        if not np.allclose(lengths, 1, atol=1e-3):
            raise DamagedError("a vector is not of length one")
