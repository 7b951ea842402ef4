"""State dicts that PyTorch saved (.pth, .pt), read without PyTorch and without running them.

    tensors = read_torch_file("efficientnet-lite0.pth")     # {name: numpy array}

Both formats of `torch.save` are read: the one of today, a zip archive, and the one before it,
pickles followed by the bare numbers; and the archives of TorchScript, of which the tensors are
taken and the code is left alone. Such a file is a program that PyTorch runs to rebuild its
tensors; here it finds nothing to call but the stand-ins below, and no number in it is believed
before it was held against the bytes that are there.
"""

import io
import math
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from imagetext.errors import UserError

#: The first two of the five pickles that a file of the older format begins with.
MAGIC, LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001
#: PyTorch's names for numbers of one kind. numpy has no bfloat16: the upper half of a float32.
STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
}
#: Of these TorchScript keeps lists.
LISTS = ("int", "bool", "double", "tensor")
#: Opcodes that reach outside the file. Persistent ids name storages, as tuples only: BINPERSID.
FORBIDDEN_OPCODES = {"EXT1", "EXT2", "EXT4", "PERSID", "NEXT_BUFFER", "READONLY_BUFFER"}
#: By which bytes, and where, other files are known that are given in place of PyTorch's.
OTHERS = (
    (8, b'{"', "a safetensors file"),
    (4, b"TFL3", "a model of TensorFlow Lite (.tflite)"),
    (0, b"\x89HDF", "an HDF5 file, as Keras writes (.h5)"),
    (0, b"\x1f\x8b", "a compressed file (.gz)"),
    (0, b"version https://git-lfs", "a mere pointer to a file in Git LFS"),
    (0, b"<", "a web page"),
)
#: As many as numpy has.
MOST_AXES = 64
#: Parts of a module of TorchScript: far more than there are, and far fewer than fill the memory.
MOST_PARTS = 100_000


def read_torch_file(path: str | Path) -> dict[str, np.ndarray]:
    """Every tensor of a state dict by name, as a read-only array; bfloat16 becomes float32.

    The state dict may be the whole file, or lie in it under "state_dict"; of TorchScript it is that
    of the whole module.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        _require_no_other(data)
        is_zip = data.startswith(b"PK\x03\x04")
        return _arrays(_from_zip(data) if is_zip else _from_pickles(data))
    except _Refused as refused:
        raise UserError(
            f"{path}: refused, as it contains {refused}; a state dict needs only named tensors of"
            " numbers. Do not open this file with other tools unless you trust it"
        ) from refused
    except Exception as error:  # a broken pickle can fail in any way its broken parts can
        raise UserError(
            f"{path}: not a complete file of torch.save: {error}; expected a file saved by PyTorch "
            "(.pth, .pt, .bin)"
        ) from error


def _require_no_other(data: bytes) -> None:
    for place, known_by, kind in OTHERS:
        if data.startswith(known_by, place):
            raise ValueError(f"it seems to be {kind}")


def is_torchscript(path: str | Path) -> bool:
    """Whether a file is an archive of TorchScript: a network that PyTorch saved with its code."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _arrays(found) -> dict[str, np.ndarray]:
    if isinstance(found, _Module):
        found = dict(found.tensors())
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict):
        raise _Refused(f"a {type(found).__name__} instead of a state dict")
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, _Tensor):
            raise _Refused(f"an entry {name!r:.60} that is no tensor with a name")
    return {name: tensor.array() for name, tensor in found.items()}


def _from_zip(data: bytes):
    """An archive `<name>/data.pkl` beside `<name>/data/<key>`, the numbers of each storage."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
        # The code of TorchScript, of all members the only compressed ones, is not read.
        members = {name: entry for name, entry in members.items() if _is_read(name)}
        if "data.pkl" not in members:
            raise ValueError("it seems to be a zip archive of others, such as .npz or .keras")
        # Nothing is compressed in there, so the parts cannot be more than the whole.
        if sum(entry.file_size for entry in members.values()) > len(data):
            raise _Refused("an archive whose parts are larger than the whole")
        if "byteorder" in members and archive.read(members["byteorder"]) != b"little":
            raise _Refused("numbers that are not little-endian")
        reader = _Unpickler(archive.read(members["data.pkl"]))
        found = reader.load()
        for key, storage in reader.storages.items():
            storage.fill(archive.read(members[f"data/{key}"]), 0)
    return found


def _is_read(name: str) -> bool:
    return name in ("data.pkl", "byteorder") or name.startswith("data/")


def _from_pickles(data: bytes):
    """Five pickles, one after the other, then each storage: how many numbers, and the numbers."""
    position, read = 0, []
    for _ in range(5):
        reader = _Unpickler(data, position)
        read.append((reader.load(), reader.storages))
        position = reader.end
    (magic, _), (version, _), (system, _), (found, storages), (keys, _) = read
    if magic != MAGIC or version != LEGACY_VERSION:
        raise ValueError("it does not begin as one")
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise _Refused("numbers that are not little-endian")
    if not isinstance(keys, list) or sorted(keys) != sorted(storages):
        raise _Refused("other storages than its tensors need")
    for key in keys:
        (count,) = struct.unpack_from("<q", data, position)
        if count != storages[key].count:
            raise ValueError(f"storage {key} holds {count} numbers, not {storages[key].count}")
        position = storages[key].fill(data, position + 8)
    return found


class _Refused(Exception):
    """Something a state dict has no need of."""


class _Inert:
    """The file may ask for these objects; it cannot alter them."""

    __slots__ = ()

    def __setstate__(self, state):
        raise _Refused("an attempt to alter what rebuilds its tensors")


class _Storage(_Inert):
    """`count` numbers of one kind, which follow later in the file."""

    __slots__ = ("count", "dtype", "numbers")

    def __init__(self, dtype: str, count: int):
        self.dtype, self.count = dtype, count

    def fill(self, data: bytes, position: int) -> int:
        """Take the numbers that begin at `position`; return where they end."""
        halves = self.dtype == "bfloat16"
        dtype = np.dtype("<u2" if halves else self.dtype)
        end = position + self.count * dtype.itemsize
        if end > len(data):
            raise ValueError(f"it ends {end - len(data)} bytes too early")
        self.numbers = np.frombuffer(memoryview(data)[position:end], dtype)
        if halves:
            self.numbers = (self.numbers.astype(np.uint32) << 16).view(np.float32)
        return end


class _Tensor(_Inert):
    """A view of a storage, all of whose elements are known to lie in it."""

    __slots__ = ("offset", "shape", "storage", "strides")

    def __init__(self, storage, offset, shape, strides, *_):
        if not isinstance(storage, _Storage):
            raise _Refused("a tensor without a storage")
        if not (isinstance(shape, tuple) and isinstance(strides, tuple)):
            raise _Refused("a tensor without a shape")
        if len(shape) != len(strides) or len(shape) > MOST_AXES:
            raise _Refused(f"a tensor of {len(shape)} axes and {len(strides)} strides")
        if any(type(n) is not int or not 0 <= n < 2**63 for n in (offset, *shape, *strides)):
            raise _Refused("a tensor whose shape is not made of whole numbers")
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        # More elements than numbers would be legal (a stride of 0), and a way to fill the memory.
        if 0 not in shape and (last >= storage.count or math.prod(shape) > storage.count):
            raise _Refused(f"a tensor of shape {shape!s:.60} that reaches beyond its storage")
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def array(self) -> np.ndarray:
        numbers = self.storage.numbers
        if 0 in self.shape:
            return np.zeros(self.shape, numbers.dtype)
        size = numbers.dtype.itemsize
        strides = [step * size for step in self.strides]
        made = np.ndarray(self.shape, numbers.dtype, numbers, self.offset * size, strides)
        made.flags.writeable = False
        return made


class _Dict(dict, _Inert):
    """OrderedDict, whose only state is PyTorch's note of module versions."""

    __slots__ = ()

    def __setstate__(self, state):
        pass


class _Module(_Inert):
    """What TorchScript rebuilds by code of its own, `__torch__`: here mere parts by name."""

    __slots__ = ("parts",)

    def __setstate__(self, state):
        if hasattr(self, "parts") or not isinstance(state, dict):
            raise _Refused("a module whose parts have no names")
        self.parts = state

    def tensors(self) -> Iterator[tuple[str, "_Tensor"]]:
        """Those of the module and of all modules in it, by their dotted names."""
        waiting, met = [("", self)], 0
        while waiting:
            before, module = waiting.pop()
            for name, part in getattr(module, "parts", {}).items():
                met += 1
                # A module may be part of several; of those that are part of themselves no end.
                if met > MOST_PARTS or not isinstance(name, str):
                    raise _Refused("a module with too many parts, or with one that has no name")
                if isinstance(part, _Module):
                    waiting.append((f"{before}{name}.", part))
                elif isinstance(part, _Tensor):
                    yield before + name, part


class _Kind(_Inert):
    """A storage's type: only ever named, never called."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: str):
        self.dtype = dtype


class _StandIn(_Inert):
    """Called in place of a function of PyTorch's."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable):
        self._make = make

    def __call__(self, *arguments):
        return self._make(*arguments)


def _parameter(tensor, *_) -> _Tensor:
    if not isinstance(tensor, _Tensor):
        raise _Refused("a parameter that is no tensor")
    return tensor


def _as_given(value, *_):
    return value


STAND_INS = {
    ("collections", "OrderedDict"): _StandIn(_Dict),
    ("torch._utils", "_rebuild_tensor"): _StandIn(_Tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _StandIn(_Tensor),
    ("torch._utils", "_rebuild_parameter"): _StandIn(_parameter),
    **{("torch", name): _Kind(dtype) for name, dtype in STORAGES.items()},
    # Lists and what else TorchScript gives a type; of no interest here.
    **{("torch.jit._pickle", f"build_{kind}list"): _StandIn(_as_given) for kind in LISTS},
    ("torch.jit._pickle", "restore_type_tag"): _StandIn(_as_given),
}


class _Unpickler(pickle.Unpickler):
    """One pickle out of `data`: looked through before its first instruction is run."""

    def __init__(self, data: bytes, start: int = 0):
        stream = io.BytesIO(data)
        stream.seek(start)
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name in FORBIDDEN_OPCODES:
                raise _Refused(f"the pickle instruction {opcode.name}")
            # A memo slot far beyond the file's size would only reserve memory.
            if opcode.name.endswith("PUT") and argument > len(data):
                raise _Refused("a memo slot larger than the file")
        self.end = stream.tell()
        self.storages: dict[str, _Storage] = {}
        super().__init__(io.BytesIO(data[start : self.end]))

    def find_class(self, module: str, name: str):
        if module.split(".")[0] == "__torch__":
            return _Module
        if (module, name) not in STAND_INS:
            raise _Refused(f"a call of {module}.{name}")
        return STAND_INS[module, name]

    def persistent_load(self, identifier):
        """("storage", kind, key, device, how many numbers, None): one object for each key."""
        what, kind, key, _, count, *view = identifier
        if what != "storage" or not isinstance(kind, _Kind) or not isinstance(key, str):
            raise _Refused("a persistent id that names no storage of numbers")
        if type(count) is not int or count < 0 or any(part is not None for part in view):
            raise _Refused(f"a storage of {count!r:.40} numbers")
        storage = self.storages.setdefault(key, _Storage(kind.dtype, count))
        if (storage.dtype, storage.count) != (kind.dtype, count):
            raise _Refused(f"two storages of one name, {key!r:.40}")
        return storage
