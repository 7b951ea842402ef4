"""Photos encoded so far, so that a killed process is gone on with where it was.

    with Journal(folder / BUILDING, encoder.digest, encoder.width) as journal:
        todo = [path for path in paths if not journal.knows(path, size, time)]
        journal.append([Seen(path, size, time, digest, vector), ...])
        journal.vector(digest)

    vectors.f32     a row a photo, in the order in which their digests first occur
    files.jsonl     a line a file: path, size, time, digest, and a checksum of a new row

Rows are written before their lines. What a kill, or a power failure, left torn is cut off.
"""

import json
import os
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagetext.errors import UserError
from imagetext.files import cannot_write, write_text

_ABOUT, _VECTORS, _FILES = "journal.json", "vectors.f32", "files.jsonl"


@dataclass(frozen=True)
class Seen:
    """A file that was read; `vector` is None where its photo has one already."""

    path: str
    size: int
    time: int
    digest: bytes
    vector: np.ndarray | None


class Journal:
    """One writer's; the lock is the index's."""

    def __init__(self, folder: Path, encoder: str, width: int):
        self.folder, self.width = folder, width
        #: Path -> size, time and digest, as last read.
        self.files: dict[str, tuple[int, int, bytes]] = {}
        self._rows: dict[bytes, int] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._require_same(encoder)
            self._mend()
            self._vectors = (folder / _VECTORS).open("ab", buffering=0)
            self._lines = (folder / _FILES).open("ab", buffering=0)
        except OSError as error:
            raise cannot_write(folder, error) from error

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_) -> None:
        self._vectors.close()
        self._lines.close()

    def __len__(self) -> int:
        """Photos with a vector here."""
        return len(self._rows)

    def knows(self, path: str, size: int, time: int) -> bool:
        """Whether this very file was read already."""
        return self.files.get(path, ())[:2] == (size, time)

    def has_vector(self, digest: bytes) -> bool:
        return digest in self._rows

    def vector(self, digest: bytes) -> np.ndarray:
        """float32 [width]."""
        return np.array(self.vectors()[self._rows[digest]])

    def vectors(self) -> np.ndarray:
        """All rows, mapped: float32 [n, width]; `row` finds one."""
        if not self._rows:
            return np.zeros((0, self.width), np.float32)
        shape = (len(self._rows), self.width)
        return np.memmap(self.folder / _VECTORS, np.float32, "r", shape=shape).view(np.ndarray)

    def row(self, digest: bytes) -> int:
        return self._rows[digest]

    def append(self, seen: Sequence[Seen]) -> None:
        vectors, lines = [], []
        for one in seen:
            told = {"path": one.path, "size": one.size, "time": one.time}
            told["digest"] = one.digest.hex()
            if one.vector is not None and one.digest not in self._rows:
                content = np.ascontiguousarray(one.vector, np.float32).tobytes()
                told["checksum"] = zlib.crc32(content)
                vectors.append(content)
                self._rows[one.digest] = len(self._rows)
            lines.append(json.dumps(told).encode() + b"\n")
            self.files[one.path] = (one.size, one.time, one.digest)
        try:
            _write(self._vectors, b"".join(vectors))
            _write(self._lines, b"".join(lines))
        except OSError as error:
            raise cannot_write(self.folder, error) from error

    def remove(self) -> None:
        """When all of it is in the index."""
        self.__exit__()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _require_same(self, encoder: str) -> None:
        """Refuse to go on with another model's work."""
        file, told = self.folder / _ABOUT, {"encoder": encoder, "width": self.width}
        try:
            found = json.loads(file.read_bytes())
        except FileNotFoundError:
            write_text(file, json.dumps(told) + "\n")
            return
        except ValueError:
            found = None
        if found != told:
            raise UserError(
                f"{self.folder}: another model's work lies here, unfinished -- go on with that "
                f"run, or delete {self.folder}"
            )

    def _mend(self) -> None:
        """Read the lines whose rows are whole, and cut off what comes after."""
        row_bytes, good = 4 * self.width, 0
        files, data = self.folder / _FILES, self.folder / _VECTORS
        files.touch()
        data.touch()
        with files.open("rb") as lines, data.open("rb") as vectors:
            for line in lines:
                try:
                    told = json.loads(line)
                    stamp = int(told["size"]), int(told["time"]), bytes.fromhex(told["digest"])
                    path, checksum = str(told["path"]), told.get("checksum")
                except (ValueError, TypeError, KeyError):
                    break
                if not line.endswith(b"\n"):
                    break
                if checksum is not None:
                    content = vectors.read(row_bytes)
                    if len(content) < row_bytes or zlib.crc32(content) != checksum:
                        break
                    self._rows[stamp[2]] = len(self._rows)
                self.files[path] = stamp
                good += len(line)
        os.truncate(files, good)
        os.truncate(data, len(self._rows) * row_bytes)


def _write(file, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]
