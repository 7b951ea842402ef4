"""A folder of features, one row for each photo and view, that can be killed while it is written.

    with FeatureStore.create(folder, meta) as store:         # one writer
        store.append(digests, [PLAIN] * len(digests), array)

    store = FeatureStore.open(folder)                        # any number of readers
    store.fetch(store.rows(digests))                         # float16 [n, 9, 9, 1280]

    meta.json            description of the rows: encoder, weights, output, shape, precision, ...
    features-00000.bin   rows, memory-mapped by readers
    features-00000.idx   a record for each row: SHA-256 of the photo, view, checksum

Rows are written before their records. A process that is killed leaves at most a tail without
complete records: readers ignore it, and the next writer cuts it off. A reader compares each row
with its checksum when it is first fetched. A writer replaces the record of a damaged row by a hole:
the photo then has no row and gets a new one, and no other row moves.
"""

import contextlib
import fcntl
import itertools
import json
import math
import os
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from imagetext.errors import UserError
from imagetext.files import cannot_write, write_text
from imagetext.pipelines.feature_meta import DTYPES, read_meta, require_same, require_store_or_empty
from imagetext.terminal import show_progress

#: The two views of a photo: as it is, and mirrored.
PLAIN, FLIPPED = 0, 1
#: Bits of the exponent: all of them are set in infinity and NaN, and in no other number.
EXPONENTS = {"float16": np.uint16(0x7C00), "bfloat16": np.uint16(0x7F80)}
SHARD_BYTES = 1 << 30
#: A record is its key, digest and view, and a checksum of key and row.
KEY_BYTES, RECORD_BYTES = 33, 37
#: The record of a damaged row, which belongs to no photo.
HOLE = bytes(RECORD_BYTES)


class FeatureStore:
    """Features of photos by the SHA-256 of the file and the view. Use `open` or `create`.

    A reader sees the rows that existed when it opened the store; a writer may append more.
    """

    def __init__(self, folder: str | Path):
        self.folder, self.meta = Path(folder), read_meta(folder)
        self.shape, self.dtype = tuple(self.meta["shape"]), DTYPES[self.meta["dtype"]]
        self._row_bytes = math.prod(self.shape) * self.dtype.itemsize
        self._rows_a_shard = self.meta["rows_a_shard"]
        #: Digest and view of the rows that a writer has found damaged.
        self.dropped: list[tuple[bytes, int]] = []
        self._rows: dict[bytes, int] = {}
        #: Number of rows in the files, including holes.
        self._places = 0
        #: The records of rows that have not been compared with their checksums yet.
        self._unread: dict[int, bytes] = {}
        self._maps: dict[int, np.ndarray] = {}
        self._lock: IO[bytes] | None = None

    @classmethod
    def open(cls, folder: str | Path) -> "FeatureStore":
        """Open a store for reading."""
        store = cls(folder)
        store._read_index()
        return store

    @classmethod
    def create(
        cls, folder: str | Path, meta: dict, shard_bytes: int = SHARD_BYTES, check: bool = False
    ) -> "FeatureStore":
        """Open a store for appending, or create it.

        Args:
            folder: The folder; one with other files is refused.
            meta: Description of the rows. An existing store keeps its dtype and precision.
            shard_bytes: Size of a file.
            check: Compare every row with its checksum, not only those of the last file.

        Returns:
            The store; close it when done.

        Raises:
            UserError: If the store has other features, or another process is writing to it.
        """
        folder = Path(folder)
        require_store_or_empty(folder)
        lock = _locked(folder)
        try:
            if not (folder / "meta.json").exists():
                row_bytes = math.prod(meta["shape"]) * DTYPES[meta["dtype"]].itemsize
                meta = meta | {"rows_a_shard": max(1, shard_bytes // row_bytes)}
                write_text(folder / "meta.json", json.dumps(meta, indent=2, sort_keys=True) + "\n")
            store = cls(folder)
            require_same(folder, store.meta, meta)
            store._repair(check)
            store._read_index()
        except BaseException:
            lock.close()
            raise
        store._lock = lock
        return store

    def close(self) -> None:
        """Flush to disk and let others write; otherwise a power failure may damage rows."""
        if self._lock:
            try:
                _to_disk(self._files(max(0, self._places - 1) // self._rows_a_shard))
            finally:
                self._lock.close()
                self._lock = None

    def __enter__(self) -> "FeatureStore":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def keys(self) -> list[tuple[bytes, int]]:
        """Digest and view of every row, in the order of the rows."""
        return list(map(_split_key, self._rows))

    @property
    def size_on_disk(self) -> int:
        """Size of the rows and records in bytes."""
        return sum(file.stat().st_size for file in self.folder.glob("features-*"))

    def rows(self, digests: Iterable[bytes], view: int = PLAIN) -> np.ndarray:
        """The row of each photo, int64 [n]; -1 without one."""
        return np.array([self._rows.get(_key(digest, view), -1) for digest in digests], np.int64)

    def missing(self, digests: Iterable[bytes], view: int = PLAIN) -> list[bytes]:
        """The photos without a row, each once, in order of appearance."""
        return [d for d in dict.fromkeys(digests) if _key(d, view) not in self._rows]

    def fetch(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """Read rows [n] as [n, *shape] in the stored dtype. Thread-safe."""
        rows = np.asarray(numbers, np.int64)
        if rows.size and not 0 <= rows.min() <= rows.max() < self._places:
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {self._places}")
        shards, places = np.divmod(rows, self._rows_a_shard)
        array = np.empty((len(rows), *self.shape), self.dtype)
        for shard in np.unique(shards).tolist():
            chosen = shards == shard
            array[chosen] = self._mapped(shard)[places[chosen]]
        self._verify(rows, array)
        return array

    def _verify(self, rows: np.ndarray, array: np.ndarray) -> None:
        """Compare rows [n, *shape] with their checksums when they are first fetched."""
        for number, row in zip(rows.tolist(), array, strict=True):
            record = self._unread.get(number)
            if record is None:
                continue
            if record != _record(record[:KEY_BYTES], row.view(np.uint16)):
                data = self._files(number // self._rows_a_shard)[0]
                options = f"--encoder {self.meta['encoder']} --output {self.meta['output']}"
                options += " --flips" if record[KEY_BYTES - 1] == FLIPPED else ""
                raise UserError(
                    f"{data}: row {number % self._rows_a_shard} is damaged; to extract it again:"
                    f" imagetext data features ROOT {options} --to {self.folder} --check"
                )
            self._unread.pop(number, None)

    def append(self, digests: Sequence[bytes], views: Sequence[int], array: np.ndarray) -> None:
        """Append rows.

        Args:
            digests: The SHA-256 of each photo.
            views: The view of each row.
            array: The rows [n, *shape].

        Raises:
            UserError: If a row contains NaN, infinity, or values that the dtype cannot represent.
        """
        if self._lock is None:
            raise ValueError("the store is open for reading only")
        keys = [_key(digest, view) for digest, view in zip(digests, views, strict=True)]
        if len(set(keys)) < len(keys) or any(key in self._rows for key in keys):
            raise ValueError("a photo already has a row")
        if array.shape != (len(keys), *self.shape):
            raise ValueError(f"expected an array {(len(keys), *self.shape)}, got {array.shape}")
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(array, self.dtype)
        self._require_finite(stored)
        bits = stored.view(np.uint16).reshape(len(keys), -1)
        while keys:
            shard, place = divmod(self._places, self._rows_a_shard)
            room = self._rows_a_shard - place
            self._append_to(shard, keys[:room], bits[:room])
            keys, bits = keys[room:], bits[room:]

    def _require_finite(self, stored: np.ndarray) -> None:
        if stored.size == 0:
            return
        # np.isfinite takes twenty times as long, as it converts half precision to single.
        exponent = EXPONENTS[self.meta["dtype"]]
        largest = (stored.view(np.uint16) & exponent).reshape(len(stored), -1).max(axis=1)
        if not largest.min():
            raise UserError(
                f"{self.folder}: {self.meta['encoder']} gives only zeros, or values too small"
                f" for {self.meta['dtype']}; its weights may be damaged"
            )
        if largest.max() < exponent:
            return
        if self.meta["dtype"] == "float16" and not np.isnan(stored).any():
            raise UserError(
                f"{self.folder}: a feature exceeds the range of float16 (65,504); delete this"
                " folder and extract again with --dtype bfloat16"
            )
        raise UserError(
            f"{self.folder}: {self.meta['encoder']} gives NaN or infinity; its weights are"
            " damaged, or unsuitable for this precision"
        )

    def _append_to(self, shard: int, keys: list[bytes], bits: np.ndarray) -> None:
        """Append rows uint16 [n, elements] that fit into this shard."""
        records = b"".join(map(_record, keys, bits))
        data, index = self._files(shard)
        _append_bytes(data, memoryview(bits.data).cast("B"))
        _append_bytes(index, memoryview(records))
        self._rows.update({key: place for place, key in enumerate(keys, self._places)})
        self._places += len(keys)
        self._maps.pop(shard, None)
        if self._places % self._rows_a_shard == 0:
            _to_disk((data, index))

    def _files(self, shard: int) -> tuple[Path, Path]:
        name = f"features-{shard:05}"
        return self.folder / f"{name}.bin", self.folder / f"{name}.idx"

    def _shards(self) -> list[int]:
        return [int(file.stem[-5:]) for file in self.folder.glob("features-?????.idx")]

    def _records(self, shard: int) -> list[bytes]:
        """The complete records of a shard that have complete rows."""
        data, index = self._files(shard)
        content = index.read_bytes() if index.exists() else b""
        count = min(len(content) // RECORD_BYTES, _size(data) // self._row_bytes)
        starts = range(0, min(count, self._rows_a_shard) * RECORD_BYTES, RECORD_BYTES)
        return [content[start : start + RECORD_BYTES] for start in starts]

    def _read_index(self) -> None:
        for shard in itertools.count():
            records = self._records(shard)
            valid = {n: record for n, record in enumerate(records, self._places) if record != HOLE}
            self._unread.update(valid)
            self._rows.update({record[:KEY_BYTES]: number for number, record in valid.items()})
            self._places += len(records)
            if len(records) < self._rows_a_shard:
                return

    def _repair(self, every_row: bool) -> None:
        """Replace damaged rows by holes, and cut off everything after the last valid row; report
        the number of complete rows that are removed.

        Every row of the last shard is checked: after a power failure, any of them may be missing on
        disk. Earlier shards were flushed to disk when they were full.
        """
        last = 0
        while len(self._records(last)) == self._rows_a_shard and self._records(last + 1):
            last += 1
        for shard in range(0 if every_row else last, last + 1):
            self.dropped += self._drop_damaged(shard)
        behind = sum(len(self._records(shard)) for shard in self._shards() if shard > last)
        if lost := len(self.dropped) + behind:
            reason = "are damaged or follow a truncated file" if behind else "are damaged"
            show_progress(f"{self.folder}: removed {lost:,} features that {reason}")
        records, (data, index) = self._records(last), self._files(last)
        while records and records[-1] == HOLE:
            records.pop()
        for file, row_bytes in ((index, RECORD_BYTES), (data, self._row_bytes)):
            if _size(file) > len(records) * row_bytes:
                os.truncate(file, len(records) * row_bytes)
        for file in self.folder.glob("features-*.*"):
            if file.name > index.name and file.stem != index.stem:
                file.unlink()

    def _drop_damaged(self, shard: int) -> list[tuple[bytes, int]]:
        """Replace rows that differ from their checksums by holes; return digests and views."""
        records, (data, index) = self._records(shard), self._files(shard)
        rows = _memory_map(data, np.dtype(np.uint16), (len(records), self._row_bytes // 2))
        damaged = [
            place
            for place, (record, row) in enumerate(zip(records, rows, strict=True))
            if record not in (HOLE, _record(record[:KEY_BYTES], row))
        ]
        for place in damaged:
            with index.open("r+b") as file:
                file.seek(place * RECORD_BYTES)
                file.write(HOLE)
        return [_split_key(records[place]) for place in damaged]

    def _mapped(self, shard: int) -> np.ndarray:
        """The rows of a shard [n, *shape], memory-mapped."""
        if shard not in self._maps:
            count = min(self._places - shard * self._rows_a_shard, self._rows_a_shard)
            data = self._files(shard)[0]
            self._maps[shard] = _memory_map(data, self.dtype, (count, *self.shape))
        return self._maps[shard]


def _key(digest: bytes, view: int) -> bytes:
    return digest + bytes([view])


def _split_key(key: bytes) -> tuple[bytes, int]:
    return key[: KEY_BYTES - 1], key[KEY_BYTES - 1]


def _record(key: bytes, row: np.ndarray) -> bytes:
    return key + zlib.crc32(row.data, zlib.crc32(key)).to_bytes(4, "little")


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _memory_map(file: Path, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    if 0 in shape:  # cannot be mapped
        return np.zeros(shape, dtype)
    return np.memmap(file, dtype, "r", shape=shape)


def _append_bytes(file: Path, content: memoryview) -> None:
    try:
        with file.open("ab", buffering=0) as opened:
            while content:
                content = content[opened.write(content) :]
    except OSError as error:
        raise cannot_write(file, error) from error


def _to_disk(files: Iterable[Path]) -> None:
    for file in files:
        with contextlib.suppress(FileNotFoundError), file.open("rb") as opened:
            os.fsync(opened.fileno())


def _locked(folder: Path) -> IO[bytes]:
    """A lock that the system releases when the process ends, however it ends."""
    file = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = file.open("a+b", buffering=0)
    except OSError as error:
        raise cannot_write(file, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock.truncate(0)
        lock.write(str(os.getpid()).encode())
    except OSError as error:
        lock.seek(0)
        process = lock.read().decode(errors="replace")
        lock.close()
        if not isinstance(error, BlockingIOError):
            raise cannot_write(file, error) from error
        raise UserError(
            f"{folder}: process {process} is adding features; wait until it has finished"
        ) from error
    return lock
