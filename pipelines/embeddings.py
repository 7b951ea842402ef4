"""Tables of caption embeddings on disk, so that no sentence is encoded twice.

table = EmbeddingTable.read("captions.npz")          # or a course .pkl
vectors = table.lookup(["A dog runs .", "Snow"])     # [2, d] float32
"""

import json
import pickle
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from imagetext.errors import DataError, Problem, UserError
from imagetext.files import replacing
from imagetext.pipelines.pickled_arrays import PickledArray, load_pickle

#: The encoder of tables that do not name one, such as the course's pickle.
MINILM = "all-MiniLM-L6-v2"
#: Tolerance for equal vectors, one of which may have been stored as float16.
RTOL, ATOL = 2e-3, 1e-4


class EmbeddingTable:
    """Captions and their vectors.

    A caption is looked up as it is written, otherwise ignoring differences in white space: the
    lists of a dataset may differ in that, above all in line ends.

    Args:
        captions: n captions.
        vectors: Their vectors [n, d], stored as float32.
        origin: Where they come from, for error messages.
        encoder: The name of the encoder.

    Examples:
        >>> table = EmbeddingTable(["A dog runs ."], np.ones([1, 384], np.float32))
        >>> table.merge(other).write("captions.npz")
    """

    def __init__(
        self,
        captions: Iterable[str],
        vectors: np.ndarray,
        origin: str | Path = "embeddings",
        encoder: str = MINILM,
    ):
        self.captions, self.encoder = list(captions), encoder
        self.vectors = np.asarray(vectors, np.float32)
        if self.vectors.ndim != 2 or len(self.vectors) != len(self.captions):
            raise UserError(
                f"{origin}: {len(self.captions)} captions but vectors of shape "
                f"{self.vectors.shape}; expected one row for each caption"
            )
        finite = np.isfinite(self.vectors).all(axis=1)
        _refuse(
            origin,
            [
                f"the vector of {self.captions[row]!r} holds NaN or infinity"
                for row in np.flatnonzero(~finite)
            ],
            "compute it again",
        )
        self._row_of: dict[str, int] = {}
        self._row_of_normal: dict[str, int] = {}
        self._index(origin)

    def _index(self, origin: str | Path) -> None:
        """Index the captions; drop duplicates, refuse different vectors for the same caption."""
        kept, conflicts = [], []
        for row, caption in enumerate(self.captions):
            first = self._row_of.setdefault(caption, row)
            if first == row:
                kept.append(row)
            elif not np.allclose(self.vectors[first], self.vectors[row], RTOL, ATOL):
                conflicts.append(f"two different vectors for {caption!r}")
        _refuse(origin, conflicts, "keep one of them")
        if len(kept) < len(self.captions):
            self.captions = [self.captions[row] for row in kept]
            self.vectors = self.vectors[kept]
            self._row_of = {caption: row for row, caption in enumerate(self.captions)}
        for caption, row in self._row_of.items():
            self._row_of_normal.setdefault(normalise_spaces(caption), row)

    def __len__(self) -> int:
        return len(self.captions)

    def __contains__(self, caption: str) -> bool:
        return self._row(caption) is not None

    @property
    def width(self) -> int:
        """The number of elements of each vector."""
        return self.vectors.shape[1]

    def _row(self, caption: str) -> int | None:
        row = self._row_of.get(caption)
        return self._row_of_normal.get(normalise_spaces(caption)) if row is None else row

    def missing(self, captions: Iterable[str]) -> list[str]:
        """The captions without a vector, each once, in order of appearance."""
        return [caption for caption in dict.fromkeys(captions) if caption not in self]

    def lookup(self, captions: Sequence[str]) -> np.ndarray:
        """The vectors of n captions, float32 [n, d]; a `DataError` lists captions without one."""
        rows = [self._row(caption) for caption in captions]
        if None in rows:
            _refuse(
                "embeddings",
                [f"no vector for {caption!r}" for caption in self.missing(captions)],
                "compute the embeddings of these captions first",
            )
        return self.vectors[np.asarray(rows, np.int64)]

    def merge(self, other: "EmbeddingTable") -> "EmbeddingTable":
        """A new table with the captions of both. The same caption must have the same vector."""
        if len(self) and len(other):
            first, second = ((table.encoder, table.width) for table in (self, other))
            if first != second:
                raise UserError(
                    f"cannot merge embeddings of width {first[1]} and {second[1]}, by {first[0]}"
                    f" and {second[0]}; they come from different encoders"
                )
        parts = [table.vectors for table in (self, other) if len(table)] or [self.vectors]
        return EmbeddingTable(
            self.captions + other.captions,
            np.concatenate(parts),
            "merged embeddings",
            self.encoder,
        )

    @classmethod
    def read(cls, path: str | Path) -> "EmbeddingTable":
        """Read a `.npz` file (see `write`), or a `.pkl` file with a dict from caption to vector."""
        path = Path(path)
        readers = {".npz": _read_npz, ".pkl": _read_pickle, ".pickle": _read_pickle}
        if path.suffix.lower() not in readers:
            raise UserError(f"{path}: expected a .npz or .pkl file of embeddings")
        try:
            if path.stat().st_size == 0:
                raise UserError(f"{path}: the file is empty; create or copy it again")
            captions, vectors, encoder = readers[path.suffix.lower()](path)
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
        return cls(captions, vectors, path, encoder)

    def write(self, path: str | Path, half: bool = False) -> None:
        """Write the table.

        Args:
            path: A .npz file, or a .pkl file for other tools.
            half: Store float16 in a .npz file, at half the size.
        """
        path = Path(path)
        if path.suffix.lower() == ".npz":
            vectors = self.vectors.astype(np.float16) if half else self.vectors
            if not np.isfinite(vectors).all():
                raise UserError(
                    f"{path}: values exceed the range of float16; write with half=False"
                )
            blob = np.frombuffer(json.dumps(self.captions).encode(), np.uint8)
            with replacing(path) as temporary, temporary.open("wb") as file:
                encoder = np.frombuffer(self.encoder.encode(), np.uint8)
                np.savez(file, captions=blob, vectors=vectors, encoder=encoder)
        elif path.suffix.lower() in (".pkl", ".pickle"):
            # Copies, since pickling a view would include the whole table.
            rows = {
                caption: row.copy()
                for caption, row in zip(self.captions, self.vectors, strict=True)
            }
            with replacing(path) as temporary, temporary.open("wb") as file:
                pickle.dump(rows, file, protocol=4)
        else:
            raise UserError(f"{path}: embeddings are written to .npz or .pkl files")


def normalise_spaces(caption: str) -> str:
    """Remove white space at the ends, line ends and byte order marks; single spaces inside."""
    return " ".join(caption.replace("\ufeff", " ").split())


def _refuse(origin: str | Path, messages: Sequence[str], remedy: str) -> None:
    if messages:
        raise DataError([Problem(origin, None, what, remedy) for what in messages])


def _read_npz(path: Path) -> tuple[list[str], np.ndarray, str]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            captions = json.loads(archive["captions"].tobytes().decode("utf-8"))
            vectors = archive["vectors"]
            has_encoder = "encoder" in archive.files
            encoder = archive["encoder"].tobytes().decode() if has_encoder else MINILM
    except KeyError as error:
        raise UserError(f"{path}: {error.args[0]}; expected captions and vectors") from error
    except OSError:
        raise
    except Exception as error:  # zip, zlib, NumPy and JSON raise various types for damaged files
        raise UserError(
            f"{path}: not a complete .npz file of embeddings; create or copy it again"
        ) from error
    if not isinstance(captions, list) or not all(isinstance(text, str) for text in captions):
        raise UserError(f"{path}: expected captions as a list of strings; write the file again")
    if vectors.dtype not in (np.float16, np.float32, np.float64):
        raise UserError(f"{path}: expected floating-point vectors, got {vectors.dtype}")
    return captions, vectors, encoder


def _read_pickle(path: Path) -> tuple[list[str], np.ndarray, str]:
    """Read a dict from caption to an array [d] or [1, d] or a list of d numbers."""
    table = load_pickle(path)
    if not isinstance(table, dict):
        raise UserError(
            f"{path}: expected a dict from caption to vector, got {type(table).__name__}"
        )
    captions, vectors, messages = [], [], []
    width = None
    for caption, value in table.items():
        vector = _as_vector(value.array if isinstance(value, PickledArray) else value)
        if not isinstance(caption, str):
            messages.append(f"expected a caption as key, got {caption!r:.80}")
        elif vector is None:
            messages.append(f"the value of {caption!r} is not a vector of numbers")
        elif vector.size != (width := width or vector.size):
            messages.append(
                f"the vector of {caption!r} has {vector.size} elements instead of {width}"
            )
        else:
            captions.append(caption)
            vectors.append(vector)
    _refuse(path, messages, "every caption needs one vector of the same length")
    return captions, np.stack(vectors) if vectors else np.zeros([0, 0], np.float32), MINILM


def _as_vector(value) -> np.ndarray | None:
    """A vector of floats; None for anything else."""
    try:
        array = np.asarray(value)
    except ValueError:
        return None
    if (
        array.dtype.kind not in "fiu"
        or array.size == 0
        or array.size != max(array.shape, default=0)
    ):
        return None
    return array.reshape(-1).astype(np.float32)
