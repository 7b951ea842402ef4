"""Photos encoded so far, so that a killed build or add continues where it was.

    with Journal(folder / BUILDING, encoder.digest, encoder.width) as journal:
        todo = [path for path in paths if not journal.has_file(path, size, time)]
        journal.append([EncodedFile(path, size, time, digest, vector), ...])
        journal.vector(digest)

    vectors.f32     a row for each photo, in the order in which their digests first occur
    files.jsonl     a line for each file: path, size, time, digest, and the checksum of a new row

Rows are written before their lines. Whatever a kill or a power failure left incomplete is cut off.
"""

import json
import os
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from imagetext.errors import UserError
from imagetext.files import cannot_write, write_text

_ABOUT, _VECTORS, _FILES = "journal.json", "vectors.f32", "files.jsonl"


@dataclass(frozen=True)
class EncodedFile:
    """A file that has been read; `vector` is None if its photo already has one."""

    path: str
    size: int
    time: int
    digest: bytes
    vector: np.ndarray | None


class Journal:
    """The journal of one writer, which holds the lock of the index.

    Args:
        folder: The folder of the journal.
        encoder: Digest of the model.
        width: Numbers in a vector.
    """

    def __init__(self, folder: Path, encoder: str, width: int):
        self.folder, self.width = folder, width
        #: Size, time and digest of each file by path.
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
        """Number of photos with a vector."""
        return len(self._rows)

    def has_file(self, path: str, size: int, time: int) -> bool:
        """Whether this file, unchanged, has been read already."""
        return self.files.get(path, ())[:2] == (size, time)

    def has_vector(self, digest: bytes) -> bool:
        return digest in self._rows

    def vector(self, digest: bytes) -> np.ndarray:
        """float32 [width]."""
        return np.array(self.vectors()[self._rows[digest]])

    def vectors(self) -> np.ndarray:
        """All vectors, memory-mapped: float32 [n, width]."""
        if not self._rows:
            return np.zeros((0, self.width), np.float32)
        shape = (len(self._rows), self.width)
        return np.memmap(self.folder / _VECTORS, np.float32, "r", shape=shape).view(np.ndarray)

    def row(self, digest: bytes) -> int:
        """The row of a photo in `vectors`."""
        return self._rows[digest]

    def append(self, files: Sequence[EncodedFile]) -> None:
        """Write files that have been read, with the vectors of new photos."""
        vectors, lines = [], []
        for file in files:
            entry: dict[str, Any] = {"path": file.path, "size": file.size, "time": file.time}
            entry["digest"] = file.digest.hex()
            if file.vector is not None and file.digest not in self._rows:
                content = np.ascontiguousarray(file.vector, np.float32).tobytes()
                entry["checksum"] = zlib.crc32(content)
                vectors.append(content)
                self._rows[file.digest] = len(self._rows)
            lines.append(json.dumps(entry).encode() + b"\n")
            self.files[file.path] = (file.size, file.time, file.digest)
        try:
            _write(self._vectors, b"".join(vectors))
            _write(self._lines, b"".join(lines))
        except OSError as error:
            raise cannot_write(self.folder, error) from error

    def remove(self) -> None:
        """Delete the journal, once all of it is in the index."""
        self.__exit__()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _require_same(self, encoder: str) -> None:
        """Refuse to continue the work of another model."""
        file, expected = self.folder / _ABOUT, {"encoder": encoder, "width": self.width}
        try:
            content = json.loads(file.read_bytes())
        except FileNotFoundError:
            write_text(file, json.dumps(expected) + "\n")
            return
        except ValueError:
            content = None
        if content != expected:
            raise UserError(
                f"{self.folder}: contains unfinished work of another model; continue with that run,"
                f" or delete {self.folder}"
            )

    def _mend(self) -> None:
        """Read the lines whose rows are complete, and cut off everything after them."""
        row_bytes, good = 4 * self.width, 0
        files, data = self.folder / _FILES, self.folder / _VECTORS
        files.touch()
        data.touch()
        with files.open("rb") as lines, data.open("rb") as vectors:
            for line in lines:
                try:
                    entry = json.loads(line)
                    digest = bytes.fromhex(entry["digest"])
                    size, time = int(entry["size"]), int(entry["time"])
                    path, checksum = str(entry["path"]), entry.get("checksum")
                except (ValueError, TypeError, KeyError):
                    break
                if not line.endswith(b"\n"):
                    break
                if checksum is not None:
                    content = vectors.read(row_bytes)
                    if len(content) < row_bytes or zlib.crc32(content) != checksum:
                        break
                    self._rows[digest] = len(self._rows)
                self.files[path] = size, time, digest
                good += len(line)
        os.truncate(files, good)
        os.truncate(data, len(self._rows) * row_bytes)


def _write(file: IO[bytes], content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]
