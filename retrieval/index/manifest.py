"""Which segments make up an index now: index.json, replaced whole when something changes.

    manifest = read_manifest(folder)
    with writing(folder):                             # one process at a time
        write_manifest(folder, manifest.next(parts))
        sweep(folder)                                 # what no version needs and nobody reads

A reader holds a shared lock on each of its segments. Files that a newer version left behind are
removed by a writer once no reader holds them.
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
#: Unfinished work that is gone on with: see `imagetext.retrieval.index.journal`.
BUILDING, ADDING = "building", "adding"
_NAME, _DEAD = re.compile(r"\d{6,12}"), re.compile(r"dead-\d{6,12}\.i64")


@dataclass(frozen=True)
class Part:
    """A segment by name; `dead` is the file that lists its removed rows."""

    name: str
    rows: int
    dead: str | None = None


@dataclass(frozen=True)
class Manifest:
    """A version of an index.

    Args:
        version: Grows by one with every change.
        encoder: The digest of the weights that made the vectors: others have another space.
        width: Numbers in a vector.
        run: The folder of the run that made them.
        settings: How it is to be searched.
        parts: The segments, oldest first.
    """

    version: int
    encoder: str
    width: int
    run: str
    settings: IndexSettings
    parts: tuple[Part, ...]

    def next(self, parts: list[Part]) -> "Manifest":
        return dataclasses.replace(self, version=self.version + 1, parts=tuple(parts))


def read_manifest(folder: str | Path) -> Manifest:
    """The current version; `UserError` where there is none."""
    folder = Path(folder)
    file = folder / FILE
    try:
        told = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        if (folder / BUILDING).is_dir():
            raise UserError(
                f"{folder}: this index was begun and is not finished -- run the same `imagetext "
                "index build` again: it goes on where it was"
            ) from error
        raise UserError(
            f"{folder}: no index here -- imagetext index build RUN FOLDER --to {folder}"
        ) from error
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise damaged(folder, f"{FILE} is no JSON") from error
    try:
        if told["format"] != FORMAT:
            raise UserError(
                f"{folder}: an index of format {told['format']}, where this version of imagetext "
                f"reads {FORMAT} -- build it anew"
            )
        parts = tuple(_part(one) for one in told["parts"])
        return Manifest(
            _natural(told["version"]),
            str(told["encoder"]),
            _natural(told["width"]),
            str(told["run"]),
            IndexSettings(**told["settings"]),
            parts,
        )
    except (ValueError, TypeError, KeyError) as error:
        raise damaged(folder, f"{FILE} does not describe an index") from error


def _part(told: dict) -> Part:
    # Names become paths: only such as this module makes, so none leads out of the folder.
    if not _NAME.fullmatch(told["name"]):
        raise ValueError
    if told["dead"] is not None and not _DEAD.fullmatch(told["dead"]):
        raise ValueError
    return Part(told["name"], _natural(told["rows"]), told["dead"])


def _natural(number) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < 2**48:
        raise ValueError
    return number


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """The switch: readers that open from now on see this version."""
    told = {"format": FORMAT} | dataclasses.asdict(manifest)
    write_text(folder / FILE, json.dumps(told, indent=2) + "\n")


def require_encoder(folder: str | Path, manifest: Manifest, digest: str) -> None:
    """Refuse vectors of other weights: they would be compared without any sense."""
    if manifest.encoder != digest:
        raise UserError(
            f"{folder}: holds vectors of another model ({manifest.encoder[:12]} instead of "
            f"{digest[:12]}) -- use the run it was built with ({manifest.run or 'not recorded'}), "
            "or build it anew with yours"
        )


def segment_folder(folder: Path, name: str) -> Path:
    return folder / SEGMENTS / name


def new_name(folder: Path) -> str:
    """A name that no segment has or had of late."""
    taken = [int(path.name) for path in _named(folder)]
    return f"{max(taken, default=0) + 1:06}"


def _named(folder: Path) -> list[Path]:
    inside = folder / SEGMENTS
    if not inside.is_dir():
        return []
    return [path for path in inside.iterdir() if _NAME.fullmatch(path.name)]


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Keep other writers out; the system ends it with the process, however that ends."""
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
                f"{folder}: process {process} is writing this index -- wait until it has finished"
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()).encode())
        yield


def read_lock(segment: Path) -> IO[bytes]:
    """Keep a segment's files while it is open; FileNotFoundError where a writer removes them."""
    opened = (segment / FACTS).open("rb")
    try:
        fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        opened.close()
        raise FileNotFoundError(str(segment)) from error
    return opened


def sweep(folder: Path) -> None:
    """Remove what the current version does not name, as far as no reader holds it.

    Only while `writing`.
    """
    parts = {}
    if (folder / FILE).exists():
        parts = {part.name: part for part in read_manifest(folder).parts}
    for path in _named(folder):
        if path.name in parts:
            for file in path.glob("dead-*.i64"):
                if file.name != parts[path.name].dead:
                    file.unlink(missing_ok=True)
        elif _unread(path):
            shutil.rmtree(path, ignore_errors=True)
    for path in (folder / SEGMENTS).glob("*.part"):
        shutil.rmtree(path, ignore_errors=True)


def _unread(segment: Path) -> bool:
    try:
        with (segment / FACTS).open("rb") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (segment / FACTS).unlink()  # whoever comes now finds nothing and reads index.json anew
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
