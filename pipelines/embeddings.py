"""A table of caption embeddings on disk, so that no sentence is encoded twice.

table = EmbeddingTable.read("captions.npz")          # or a course .pkl
vectors = table.lookup(["A dog runs .", "Snow"])     # [2, d] float32
"""

import io
import json
import math
import pickle
import pickletools
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from imagetext.errors import DataError, Problem, UserError
from imagetext.files import replacing

#: The encoder of every table that names none: the course's pickle, for one.
MINILM = "all-MiniLM-L6-v2"
#: Same vector, give or take a trip through float16.
RTOL, ATOL = 2e-3, 1e-4


class EmbeddingTable:
    """Captions and their vectors, [n, d] float32, found by caption.

        table = EmbeddingTable(["A dog runs ."], np.ones([1, 384], np.float32))
        table.merge(other).write("captions.npz")

    A caption is found as it is written, else with blanks at its ends and doubled blanks inside
    ignored, since the lists of one dataset differ in those (CRLF ends above all).
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
        self._exact: dict[str, int] = {}
        self._loose: dict[str, int] = {}
        self._index(origin)

    def _index(self, origin: str | Path) -> None:
        """Caption -> row, exact and normalised; drop exact duplicates, refuse contradictions."""
        kept, contradictions = [], []
        for row, caption in enumerate(self.captions):
            first = self._exact.setdefault(caption, row)
            if first == row:
                kept.append(row)
            elif not np.allclose(self.vectors[first], self.vectors[row], RTOL, ATOL):
                contradictions.append(f"two different vectors for {caption!r}")
        _refuse(origin, contradictions, "keep one of them")
        if len(kept) < len(self.captions):
            self.captions = [self.captions[row] for row in kept]
            self.vectors = self.vectors[kept]
            self._exact = {caption: row for row, caption in enumerate(self.captions)}
        for caption, row in self._exact.items():
            self._loose.setdefault(single_spaced(caption), row)

    def __len__(self) -> int:
        return len(self.captions)

    def __contains__(self, caption: str) -> bool:
        return self._row(caption) is not None

    @property
    def width(self) -> int:
        return self.vectors.shape[1]

    def _row(self, caption: str) -> int | None:
        row = self._exact.get(caption)
        return self._loose.get(single_spaced(caption)) if row is None else row

    def missing(self, captions: Iterable[str]) -> list[str]:
        """Those without a vector, each once, in order of appearance."""
        return [caption for caption in dict.fromkeys(captions) if caption not in self]

    def lookup(self, captions: Sequence[str]) -> np.ndarray:
        """n captions -> [n, d] float32; `UserError` names the first ones that are not there."""
        rows = [self._row(caption) for caption in captions]
        if None in rows:
            absent = self.missing(captions)
            _refuse(
                "embeddings",
                [f"no vector for {caption!r}" for caption in absent],
                "compute the embeddings of these captions first",
            )
        return self.vectors[np.asarray(rows, np.int64)]

    def merge(self, other: "EmbeddingTable") -> "EmbeddingTable":
        """A new table with the captions of both; the same caption must have the same vector."""
        if len(self) and len(other):
            one, another = ((table.encoder, table.width) for table in (self, other))
            if one != another:
                raise UserError(
                    f"cannot merge embeddings of width {one[1]} and {another[1]}, by {one[0]} and"
                    f" {another[0]}; they come from different encoders"
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
        """Read `.npz` (as `write` makes it) or `.pkl` (a dict of caption -> vector)."""
        path = Path(path)
        readers = {".npz": _read_npz, ".pkl": _read_pickle, ".pickle": _read_pickle}
        if path.suffix.lower() not in readers:
            raise UserError(f"{path}: expected an .npz or .pkl file of embeddings")
        try:
            if path.stat().st_size == 0:
                raise UserError(f"{path}: the file is empty; create or copy it again")
            captions, vectors, encoder = readers[path.suffix.lower()](path)
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
        return cls(captions, vectors, path, encoder)

    def write(self, path: str | Path, half: bool = False) -> None:
        """Write `.npz`, with `half` as float16 at half the size, or `.pkl` for other tools."""
        path = Path(path)
        if path.suffix.lower() == ".npz":
            vectors = self.vectors.astype(np.float16) if half else self.vectors
            if not np.isfinite(vectors).all():
                raise UserError(f"{path}: numbers too large for float16; write with half=False")
            blob = np.frombuffer(json.dumps(self.captions).encode(), np.uint8)
            with replacing(path) as temporary, temporary.open("wb") as file:
                encoder = np.frombuffer(self.encoder.encode(), np.uint8)
                np.savez(file, captions=blob, vectors=vectors, encoder=encoder)
        elif path.suffix.lower() in (".pkl", ".pickle"):
            # Copies: a row that is a view would drag the whole table into the pickle.
            rows = {
                caption: row.copy()
                for caption, row in zip(self.captions, self.vectors, strict=True)
            }
            with replacing(path) as temporary, temporary.open("wb") as file:
                pickle.dump(rows, file, protocol=4)
        else:
            raise UserError(f"{path}: embeddings are written to .npz or .pkl files")


def single_spaced(caption: str) -> str:
    """No blanks at the ends, single ones inside; byte order mark and line ends count as blanks."""
    return " ".join(caption.replace("\ufeff", " ").split())


def _refuse(origin: str | Path, complaints: Sequence[str], remedy: str) -> None:
    if complaints:
        raise DataError([Problem(origin, None, what, remedy) for what in complaints])


def _read_npz(path: Path) -> tuple[list[str], np.ndarray, str]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            captions = json.loads(archive["captions"].tobytes().decode("utf-8"))
            vectors = archive["vectors"]
            named = "encoder" in archive.files
            encoder = archive["encoder"].tobytes().decode() if named else MINILM
    except KeyError as error:
        raise UserError(f"{path}: {error.args[0]}; expected captions and vectors") from error
    except OSError:
        raise
    except Exception as error:  # zip, zlib, numpy and json each have their own for a broken file
        raise UserError(
            f"{path}: not a complete .npz file of embeddings; create or copy it again"
        ) from error
    if not isinstance(captions, list) or not all(isinstance(text, str) for text in captions):
        raise UserError(f"{path}: expected captions as a list of strings; write the file again")
    if vectors.dtype not in (np.float16, np.float32, np.float64):
        raise UserError(f"{path}: its vectors are {vectors.dtype}, not floating-point numbers")
    return captions, vectors, encoder


def _read_pickle(path: Path) -> tuple[list[str], np.ndarray, str]:
    """A dict of caption -> (d,), (1, d) or a list of d numbers."""
    table = _restricted_load(path)
    if not isinstance(table, dict):
        raise UserError(f"{path}: holds a {type(table).__name__}, not a dict of caption -> vector")
    captions, vectors, complaints = [], [], []
    width = None
    for caption, value in table.items():
        vector = _as_vector(value.array if isinstance(value, _Array) else value)
        if not isinstance(caption, str):
            complaints.append(f"the key {caption!r:.80} is not a caption")
        elif vector is None:
            complaints.append(f"the value of {caption!r} is not a row of numbers")
        elif vector.size != (width := width or vector.size):
            complaints.append(f"the vector of {caption!r} has {vector.size} numbers, not {width}")
        else:
            captions.append(caption)
            vectors.append(vector)
    _refuse(path, complaints, "every caption needs one vector of the same length")
    return captions, np.stack(vectors) if vectors else np.zeros([0, 0], np.float32), MINILM


def _as_vector(value) -> np.ndarray | None:
    """One row of floats, or None for anything else."""
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


# Unpickling calls whatever a file names, so a pickle is a program. This reader gives it nothing
# to call: opcodes are checked before the first one runs, and each name numpy's arrays need is
# answered by a stand-in below. No numpy function is ever reached from the file.

#: Opcodes that reach outside the file: extension registry, persistent ids, external buffers.
FORBIDDEN_OPCODES = {"EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "NEXT_BUFFER"}


def _restricted_load(path: Path):
    """What a pickle of containers, texts, numbers and numeric arrays holds; refuses all else."""
    data = path.read_bytes()
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name in FORBIDDEN_OPCODES:
                raise _Refused(f"the pickle instruction {opcode.name}")
            # A memo slot far beyond the file's size would only reserve memory.
            if opcode.name.endswith("PUT") and int(argument or 0) > len(data):
                raise _Refused("a memo slot larger than the file")
        return _Unpickler(io.BytesIO(data)).load()
    except _Refused as refused:
        raise UserError(
            f"{path}: refused, as it contains {refused}; a table of embeddings needs only a"
            " dictionary from caption to numeric array. Do not open this file with other tools"
            " unless you trust it"
        ) from refused
    except Exception as error:  # a broken pickle can fail in any way its broken parts can
        raise UserError(f"{path}: is not a whole pickle of embeddings: {error}") from error


class _Refused(Exception):
    """Something a table of embeddings has no need of."""


class _StandIn:
    """Called in place of a numpy name. It takes no state, so the file cannot alter it."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable):
        self._make = make

    def __call__(self, *arguments):
        return self._make(*arguments)

    def __setstate__(self, state):
        raise _Refused("an attempt to alter a constructor")


class _DType:
    """A numeric dtype: "f4", then its byte order as state."""

    __slots__ = ("dtype",)

    def __init__(self, code, *_):
        if not (isinstance(code, str) and re.fullmatch(r"[<>|=]?(f[248]|[iu][1248])", code)):
            raise _Refused(f"an array of dtype {code!r:.40}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state):
        if state[1] not in ("<", ">", "|", "=") or any(state[2:5]):
            raise _Refused("a structured dtype")
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """An array that is made empty and filled by its state, as numpy pickles them."""

    __slots__ = ("array",)

    def __init__(self, *_):
        self.array = np.zeros(0, np.float32)

    def __setstate__(self, state):
        _, shape, dtype, fortran, data = state
        self.array = _filled(data, dtype, shape, "F" if fortran else "C")


def _filled(data, dtype, shape, order, *_) -> np.ndarray:
    if not isinstance(dtype, _DType):
        raise _Refused("an array without a plain dtype")
    # An array of objects keeps a list here; its elements are never looked at.
    if not isinstance(data, (bytes, bytearray)):
        raise _Refused("an array whose numbers are not bytes")
    if not isinstance(shape, tuple) or math.prod(shape) * dtype.dtype.itemsize != len(data):
        raise ValueError("an array's numbers do not fill its shape")
    return np.frombuffer(data, dtype.dtype).reshape(shape, order=order)


def _scalar(dtype, data) -> np.number:
    return _filled(data, dtype, (1,), "C")[0]


def _encode(text, encoding) -> bytes:
    """Pickles of protocol 2 spell bytes as Latin-1 text."""
    if encoding not in ("latin1", "latin-1"):
        raise _Refused(f"text encoded as {encoding!r:.40}")
    return text.encode("latin-1")


STAND_INS = {
    ("numpy", "ndarray"): _StandIn(_Array),
    ("numpy", "dtype"): _StandIn(_DType),
    ("_codecs", "encode"): _StandIn(_encode),
    **{
        (f"numpy.{core}.{module}", name): _StandIn(make)
        for core in ("core", "_core")
        for module, name, make in (
            ("multiarray", "_reconstruct", _Array),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _filled),
        )
    },
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        if (module, name) not in STAND_INS:
            raise _Refused(f"a call of {module}.{name}")
        return STAND_INS[module, name]

    def persistent_load(self, identifier):
        raise _Refused("a persistent id")
