"""Reading pickles of numeric arrays without executing them.

    table = load_pickle("captions.pkl")          # such as {"A dog runs .": np.ndarray}

A pickle is a program: it can call any function that it names. This reader gives it nothing to call.
Opcodes are checked before the first one is executed, and the names that NumPy arrays need are
resolved to the stand-ins below. The file cannot reach any NumPy function.
"""

import io
import math
import pickle
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from imagetext.errors import UserError

#: Opcodes that refer to things outside the file: extensions, persistent ids, external buffers.
FORBIDDEN_OPCODES = {"EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "NEXT_BUFFER"}


def load_pickle(path: Path) -> Any:
    """Load a pickle of containers, strings, numbers and numeric arrays; refuse anything else.

    Args:
        path: The file.

    Returns:
        Its content, with arrays as `PickledArray`.

    Raises:
        UserError: If the file contains anything else, or is damaged.
    """
    data = path.read_bytes()
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name in FORBIDDEN_OPCODES:
                raise _Refused(f"the pickle instruction {opcode.name}")
            # A memo slot beyond the size of the file would only allocate memory.
            if opcode.name.endswith("PUT") and int(argument or 0) > len(data):
                raise _Refused("a memo slot larger than the file")
        return _Unpickler(io.BytesIO(data)).load()
    except _Refused as refused:
        raise UserError(
            f"{path}: refused, as it contains {refused}; a table of embeddings needs only a"
            " dictionary from caption to numeric array. Do not open this file with other tools"
            " unless you trust it"
        ) from refused
    except Exception as error:  # a damaged pickle can fail in any way
        raise UserError(
            f"{path}: not a complete pickle of embeddings ({error}); create or copy it again"
        ) from error


class _Refused(Exception):
    """Something that a table of embeddings does not need."""


class _StandIn:
    """Replaces a name from NumPy. It has no state, so the file cannot change it."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable):
        self._make = make

    def __call__(self, *arguments):
        return self._make(*arguments)

    def __setstate__(self, state):
        raise _Refused("an attempt to change a constructor")


class _DType:
    """A numeric dtype: created as "f4", with its byte order as state."""

    __slots__ = ("dtype",)

    def __init__(self, code, *_):
        if not (isinstance(code, str) and re.fullmatch(r"[<>|=]?(f[248]|[iu][1248])", code)):
            raise _Refused(f"an array of dtype {code!r:.40}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state):
        if state[1] not in ("<", ">", "|", "=") or any(state[2:5]):
            raise _Refused("a structured dtype")
        self.dtype = self.dtype.newbyteorder(state[1])


class PickledArray:
    """An array, created empty and filled by its state, as NumPy pickles them."""

    __slots__ = ("array",)

    def __init__(self, *_):
        self.array = np.zeros(0, np.float32)

    def __setstate__(self, state):
        _, shape, dtype, fortran, data = state
        self.array = _array_from(data, dtype, shape, "F" if fortran else "C")


def _array_from(data, dtype, shape, order, *_) -> np.ndarray:
    if not isinstance(dtype, _DType):
        raise _Refused("an array without a plain dtype")
    # An array of objects has a list here; its elements are never accessed.
    if not isinstance(data, (bytes, bytearray)):
        raise _Refused("an array whose data is not bytes")
    if not isinstance(shape, tuple) or math.prod(shape) * dtype.dtype.itemsize != len(data):
        raise ValueError("the data of an array does not fit its shape")
    return np.frombuffer(data, dtype.dtype).reshape(shape, order=order)


def _scalar(dtype, data) -> np.number:
    return _array_from(data, dtype, (1,), "C")[0]


def _encode(text, encoding) -> bytes:
    """Pickles of protocol 2 contain bytes as Latin-1 text."""
    if encoding not in ("latin1", "latin-1"):
        raise _Refused(f"text encoded as {encoding!r:.40}")
    return text.encode("latin-1")


STAND_INS = {
    ("numpy", "ndarray"): _StandIn(PickledArray),
    ("numpy", "dtype"): _StandIn(_DType),
    ("_codecs", "encode"): _StandIn(_encode),
    **{
        (f"numpy.{core}.{module}", name): _StandIn(make)
        for core in ("core", "_core")
        for module, name, make in (
            ("multiarray", "_reconstruct", PickledArray),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _array_from),
        )
    },
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        if (module, name) not in STAND_INS:
            raise _Refused(f"a call to {module}.{name}")
        return STAND_INS[module, name]

    def persistent_load(self, identifier):
        raise _Refused("a persistent id")
