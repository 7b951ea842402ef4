"""The manifest of an index, index.json: its current segments. Replaced as a whole by each change.

    manifest = read_manifest(folder)
    with writing(folder):                             # one process at a time
        write_manifest(folder, manifest.next(parts))
        sweep(folder)                                 # delete what is no longer used

A reader holds a shared lock on each of its segments. Files that a newer version no longer needs are
deleted by a writer once no reader holds them.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from imagetext.errors import UserError
from imagetext.files import cannot_write, write_text
from imagetext.retrieval.index.approximate import IndexSettings
from imagetext.retrieval.index.segment import FACTS, damaged

FORMAT = 1
FILE, SEGMENTS = "index.json", "segments"
#: Unfinished work that can be continued: see `imagetext.retrieval.index.journal`.
BUILDING, ADDING = "building", "adding"
_NAME, _DEAD = re.compile(r"\d{6,12}"), re.compile(r"dead-\d{6,12}\.i64")


@dataclass(frozen=True)
class Part:
    """A segment in the manifest.

    Args:
        name: Its folder.
        rows: Photos in it, removed ones included.
        dead: Name of the file that lists its removed rows.
    """

    name: str
    rows: int
    dead: str | None = None


@dataclass(frozen=True)
class Manifest:
    """A version of an index.

    Args:
        version: Increases by one with every change.
        encoder: Digest of the model that computed the vectors.
        width: Numbers in a vector.
        run: Folder of that model's run.
        settings: How the index is searched.
        parts: The segments, oldest first.
    """

    version: int
    encoder: str
    width: int
    run: str
    settings: IndexSettings
    parts: tuple[Part, ...]

    def next(self, parts: list[Part]) -> "Manifest":
        """The next version, with other segments."""
        return dataclasses.replace(self, version=self.version + 1, parts=tuple(parts))


def read_manifest(folder: str | Path) -> Manifest:
    """Read the current version; raises `UserError` if there is no index."""
    folder = Path(folder)
    file = folder / FILE
    try:
        content = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        if (folder / BUILDING).is_dir():
            raise UserError(
                f"{folder}: the index is not finished; run the same `imagetext index build` again"
                " to continue"
            ) from error
        raise UserError(
            f"{folder}: not an index; to make one: imagetext index build RUN FOLDER --to {folder}"
        ) from error
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise damaged(folder, f"{FILE} is not valid JSON") from error
    try:
        if content["format"] != FORMAT:
            raise UserError(
                f"{folder}: unsupported index format {content['format']}: expected {FORMAT}; build"
                " the index again"
            )
        parts = tuple(_part(part) for part in content["parts"])
        return Manifest(
            _natural(content["version"]),
            str(content["encoder"]),
            _natural(content["width"]),
            str(content["run"]),
            _settings(folder, content["settings"]),
            parts,
        )
    except (ValueError, TypeError, KeyError) as error:
        raise damaged(folder, f"{FILE} does not describe an index") from error


def _settings(folder: Path, values: dict) -> IndexSettings:
    try:
        return IndexSettings(**values)
    except UserError as error:
        raise damaged(folder, f"{FILE}: {error}") from error


def _part(entry: dict) -> Part:
    # Names become paths: only those that this module makes, so that none leads out of the folder.
    if not _NAME.fullmatch(entry["name"]):
        raise ValueError
    if entry["dead"] is not None and not _DEAD.fullmatch(entry["dead"]):
        raise ValueError
    return Part(entry["name"], _natural(entry["rows"]), entry["dead"])


def _natural(number: object) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < 2**48:
        raise ValueError
    return number


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Make this the current version, for all readers that open the index from now on."""
    content = {"format": FORMAT} | dataclasses.asdict(manifest)
    write_text(folder / FILE, json.dumps(content, indent=2) + "\n")


def require_encoder(folder: str | Path, manifest: Manifest, digest: str) -> None:
    """Refuse a model other than the one that computed the vectors."""
    if manifest.encoder != digest:
        raise UserError(
            f"{folder}: was built with another model: expected {manifest.encoder[:12]}, got"
            f" {digest[:12]}; use the run it was built with ({manifest.run or 'not recorded'}), or"
            " build it again with yours"
        )


def segment_folder(folder: Path, name: str) -> Path:
    return folder / SEGMENTS / name


def new_name(folder: Path) -> str:
    """A name that no segment in the folder has."""
    taken = [int(path.name) for path in _segment_folders(folder)]
    return f"{max(taken, default=0) + 1:06}"


def _segment_folders(folder: Path) -> list[Path]:
    inside = folder / SEGMENTS
    if not inside.is_dir():
        return []
    return [path for path in inside.iterdir() if _NAME.fullmatch(path.name)]


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Lock the index against other writers; the lock ends with the process, however it ends."""
    file = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = file.open("a+b", buffering=0)
    except OSError as error:
        raise cannot_write(file, error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            process = lock.read().decode(errors="replace")
            raise UserError(
                f"{folder}: process {process} is writing this index; wait until it has finished"
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()).encode())
        yield


def read_lock(segment: Path) -> IO[bytes]:
    """Keep a segment's files from being deleted while the returned file is open.

    Raises:
        FileNotFoundError: A writer is deleting the segment.
    """
    opened = (segment / FACTS).open("rb")
    try:
        fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        opened.close()
        raise FileNotFoundError(str(segment)) from error
    return opened


def sweep(folder: Path) -> None:
    """Delete what the current version does not use and no reader holds. Only while `writing`."""
    parts = {}
    if (folder / FILE).exists():
        parts = {part.name: part for part in read_manifest(folder).parts}
    for path in _segment_folders(folder):
        if path.name in parts:
            for file in path.glob("dead-*.i64"):
                if file.name != parts[path.name].dead:
                    file.unlink(missing_ok=True)
        elif _claim(path):
            shutil.rmtree(path, ignore_errors=True)
    for path in (folder / SEGMENTS).glob("*.part"):
        shutil.rmtree(path, ignore_errors=True)


def _claim(segment: Path) -> bool:
    """Whether a segment can be deleted, because no reader holds it."""
    try:
        with (segment / FACTS).open("rb") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (segment / FACTS).unlink()  # new readers find nothing and read index.json again
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
