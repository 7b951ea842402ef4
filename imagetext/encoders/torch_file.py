"""Read PyTorch files (.pth, .pt) without PyTorch and without running code.

    tensors = read_torch_file("efficientnet-lite0.pth")     # {name: numpy array}

Supported are the formats of `torch.save`, the current one (a zip archive) and the legacy one
(pickles followed by the numbers), and the tensors in TorchScript archives. Such a file contains a
pickle: a program that rebuilds the tensors and could run any code. Here it can only call the
stand-ins below, and all sizes in it are checked against the actual data.
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

#: The first two of the five pickles at the beginning of a legacy file.
MAGIC, LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001
#: PyTorch's types of storages. NumPy has no bfloat16, which is the upper half of a float32.
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
#: Types of the lists in TorchScript.
LISTS = ("int", "bool", "double", "tensor")
#: Opcodes that access data outside the pickle. Storages have persistent ids, but only BINPERSID.
FORBIDDEN_OPCODES = {"EXT1", "EXT2", "EXT4", "PERSID", "NEXT_BUFFER", "READONLY_BUFFER"}
#: Signatures of other files: offset, bytes and description.
OTHER_FILES = (
    (8, b'{"', "a safetensors file"),
    (4, b"TFL3", "a TensorFlow Lite model (.tflite)"),
    (0, b"\x89HDF", "an HDF5 file (.h5), as saved by Keras"),
    (0, b"\x1f\x8b", "a compressed file (.gz)"),
    (0, b"version https://git-lfs", "a Git LFS pointer"),
    (0, b"<", "a web page"),
)
#: NumPy's limit.
MAX_AXES = 64
#: Limit of the parts of a TorchScript module, far above that of real ones.
MAX_PARTS = 100_000


def read_torch_file(path: str | Path) -> dict[str, np.ndarray]:
    """Read the tensors of a state dict.

    Args:
        path: A file that contains a state dict, a dictionary with a "state_dict", or a TorchScript
            module.

    Returns:
        Name -> read-only array. bfloat16 becomes float32.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        _refuse_other_files(data)
        is_zip = data.startswith(b"PK\x03\x04")
        return _arrays(_from_zip(data) if is_zip else _from_pickles(data))
    except _Refused as refused:
        raise UserError(
            f"{path}: refused because it contains {refused}; a state dict contains only named"
            " tensors. Do not open this file with other tools unless you trust it"
        ) from refused
    except Exception as error:  # a damaged pickle can raise anything
        raise UserError(
            f"{path}: not a complete PyTorch file: {error}; expected a file saved by torch.save "
            "(.pth, .pt, .bin)"
        ) from error


def _refuse_other_files(data: bytes) -> None:
    for offset, signature, kind in OTHER_FILES:
        if data.startswith(signature, offset):
            raise ValueError(f"it seems to be {kind}")


def is_torchscript(path: str | Path) -> bool:
    """Whether a file is a TorchScript archive, which contains a network and its code."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _arrays(value) -> dict[str, np.ndarray]:
    if isinstance(value, _Module):
        value = dict(value.tensors())
    if isinstance(value, dict) and isinstance(value.get("state_dict"), dict):
        value = value["state_dict"]
    if not isinstance(value, dict):
        raise _Refused(f"a {type(value).__name__} instead of a state dict")
    for name, tensor in value.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            raise _Refused(f"an entry {name!r:.60} that is not a tensor with a name")
    return {name: tensor.array() for name, tensor in value.items()}


def _from_zip(data: bytes):
    """Read an archive of `<name>/data.pkl` and the storages `<name>/data/<key>`."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
        # The code of TorchScript is not read. (Only this code is compressed.)
        members = {name: entry for name, entry in members.items() if _is_needed(name)}
        if "data.pkl" not in members:
            raise ValueError("it seems to be another zip archive, such as .npz or .keras")
        # The members are not compressed, so they cannot be larger than the file.
        if sum(entry.file_size for entry in members.values()) > len(data):
            raise _Refused("an archive whose members are larger than the file")
        if "byteorder" in members and archive.read(members["byteorder"]) != b"little":
            raise _Refused("numbers that are not little-endian")
        unpickler = _Unpickler(archive.read(members["data.pkl"]))
        value = unpickler.load()
        for key, storage in unpickler.storages.items():
            storage.fill(archive.read(members[f"data/{key}"]), 0)
    return value


def _is_needed(name: str) -> bool:
    return name in ("data.pkl", "byteorder") or name.startswith("data/")


def _from_pickles(data: bytes):
    """Read five pickles, followed by the storages: each its size and its numbers."""
    position, parts = 0, []
    for _ in range(5):
        unpickler = _Unpickler(data, position)
        parts.append((unpickler.load(), unpickler.storages))
        position = unpickler.end
    (magic, _), (version, _), (system, _), (value, storages), (keys, _) = parts
    if magic != MAGIC or version != LEGACY_VERSION:
        raise ValueError("the magic number or the version at its beginning is wrong")
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise _Refused("numbers that are not little-endian")
    if not isinstance(keys, list) or sorted(keys) != sorted(storages):
        raise _Refused("other storages than those of its tensors")
    for key in keys:
        (count,) = struct.unpack_from("<q", data, position)
        if count != storages[key].count:
            raise ValueError(f"storage {key}: expected {storages[key].count} numbers, got {count}")
        position = storages[key].fill(data, position + 8)
    return value


class _Refused(Exception):
    """Something that does not belong in a state dict."""


class _Inert:
    """An object that a file may use, but not change."""

    __slots__ = ()

    def __setstate__(self, state):
        raise _Refused("an attempt to change the objects that rebuild its tensors")


class _Storage(_Inert):
    """`count` numbers of a type, which are read later."""

    __slots__ = ("count", "dtype", "numbers")

    def __init__(self, dtype: str, count: int):
        self.dtype, self.count = dtype, count

    def fill(self, data: bytes, start: int) -> int:
        """Read the numbers from `start` on; return where they end."""
        is_bfloat16 = self.dtype == "bfloat16"
        dtype = np.dtype("<u2" if is_bfloat16 else self.dtype)
        end = start + self.count * dtype.itemsize
        if end > len(data):
            raise ValueError(f"{end - len(data)} bytes are missing at its end")
        self.numbers = np.frombuffer(memoryview(data)[start:end], dtype)
        if is_bfloat16:
            self.numbers = (self.numbers.astype(np.uint32) << 16).view(np.float32)
        return end


class _Tensor(_Inert):
    """A view of a storage; all elements are inside the storage."""

    __slots__ = ("offset", "shape", "storage", "strides")

    def __init__(self, storage, offset, shape, strides, *_):
        if not isinstance(storage, _Storage):
            raise _Refused("a tensor without a storage")
        if not (isinstance(shape, tuple) and isinstance(strides, tuple)):
            raise _Refused("a tensor without a shape")
        if len(shape) != len(strides) or len(shape) > MAX_AXES:
            raise _Refused(f"a tensor of {len(shape)} axes and {len(strides)} strides")
        if any(type(n) is not int or not 0 <= n < 2**63 for n in (offset, *shape, *strides)):
            raise _Refused("a tensor whose shape does not consist of integers")
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        # More elements than numbers would be valid (strides of 0), but could exhaust the memory.
        if 0 not in shape and (last >= storage.count or math.prod(shape) > storage.count):
            raise _Refused(f"a tensor of shape {shape!s:.60} that reaches beyond its storage")
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def array(self) -> np.ndarray:
        numbers = self.storage.numbers
        if 0 in self.shape:
            return np.zeros(self.shape, numbers.dtype)
        size = numbers.dtype.itemsize
        strides = [step * size for step in self.strides]
        array = np.ndarray(self.shape, numbers.dtype, numbers, self.offset * size, strides)
        array.flags.writeable = False
        return array


class _Dict(dict, _Inert):
    """Stands in for OrderedDict, whose only state is PyTorch's dictionary of module versions."""

    __slots__ = ()

    def __setstate__(self, state):
        pass


class _Module(_Inert):
    """Stands in for the classes of TorchScript, `__torch__`: only the parts by name."""

    __slots__ = ("parts",)

    def __setstate__(self, state):
        if hasattr(self, "parts") or not isinstance(state, dict):
            raise _Refused("a module without named parts")
        self.parts = state

    def tensors(self) -> Iterator[tuple[str, "_Tensor"]]:
        """The tensors of the module and of all nested modules, by their dotted names."""
        pending, count = [("", self)], 0
        while pending:
            prefix, module = pending.pop()
            for name, part in getattr(module, "parts", {}).items():
                count += 1
                # A module may be part of several others, and in a malicious file of itself.
                if count > MAX_PARTS or not isinstance(name, str):
                    raise _Refused("a module with too many parts, or one without a name")
                if isinstance(part, _Module):
                    pending.append((f"{prefix}{name}.", part))
                elif isinstance(part, _Tensor):
                    yield prefix + name, part


class _StorageType(_Inert):
    """The type of a storage, which cannot be called."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: str):
        self.dtype = dtype


class _StandIn(_Inert):
    """Called instead of a function of PyTorch."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable):
        self._make = make

    def __call__(self, *arguments):
        return self._make(*arguments)


def _parameter(tensor, *_) -> _Tensor:
    if not isinstance(tensor, _Tensor):
        raise _Refused("a parameter that is not a tensor")
    return tensor


def _first_argument(value, *_):
    return value


STAND_INS = {
    ("collections", "OrderedDict"): _StandIn(_Dict),
    ("torch._utils", "_rebuild_tensor"): _StandIn(_Tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _StandIn(_Tensor),
    ("torch._utils", "_rebuild_parameter"): _StandIn(_parameter),
    **{("torch", name): _StorageType(dtype) for name, dtype in STORAGES.items()},
    # Typed lists and objects in TorchScript; not used here.
    **{("torch.jit._pickle", f"build_{kind}list"): _StandIn(_first_argument) for kind in LISTS},
    ("torch.jit._pickle", "restore_type_tag"): _StandIn(_first_argument),
}


class _Unpickler(pickle.Unpickler):
    """Reads one pickle in `data`, after checking all of its instructions."""

    def __init__(self, data: bytes, start: int = 0):
        stream = io.BytesIO(data)
        stream.seek(start)
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name in FORBIDDEN_OPCODES:
                raise _Refused(f"the pickle instruction {opcode.name}")
            # A huge memo slot would only allocate memory.
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
        """The storage for ("storage", type, key, device, count, None); the same for each key."""
        what, kind, key, _, count, *view = identifier
        if what != "storage" or not isinstance(kind, _StorageType) or not isinstance(key, str):
            raise _Refused("a persistent id that is not that of a storage of numbers")
        if type(count) is not int or count < 0 or any(part is not None for part in view):
            raise _Refused(f"a storage of {count!r:.40} numbers")
        storage = self.storages.setdefault(key, _Storage(kind.dtype, count))
        if (storage.dtype, storage.count) != (kind.dtype, count):
            raise _Refused(f"two storages with the same key, {key!r:.40}")
        return storage
