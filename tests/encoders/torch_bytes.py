"""PyTorch files assembled byte by byte."""

import io
import pickle
import struct
import zipfile


def text(value: str) -> bytes:
    return b"V" + value.encode() + b"\n"


def number(value: int) -> bytes:
    return b"I%d\n" % value


def row(*values: bytes | int) -> bytes:
    """A tuple of instructions and integers."""
    return b"(" + b"".join(number(v) if isinstance(v, int) else v for v in values) + b"t"


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def storage(kind: str = "FloatStorage", count: int = 4, key: str = "0", view: bytes = b"N"):
    return row(text("storage"), named("torch", kind), text(key), text("cpu"), count, view) + b"Q"


def tensor(of: bytes = storage(), offset=0, shape: bytes = row(2, 2), strides: bytes = row(2, 1)):
    rebuild = named("torch._utils", "_rebuild_tensor_v2")
    return rebuild + row(of, offset, shape, strides, b"I00\n", b"}") + b"R"


def state(**entries: bytes) -> bytes:
    """A pickle of a dictionary whose values are made by these instructions."""
    items = b"".join(text(name) + value + b"s" for name, value in entries.items())
    return b"}" + items + b"."


NUMBERS = struct.pack("<q4f", 4, 1, 2, 3, 4)


HEAD = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]


def legacy(program: bytes, keys=("0",), numbers: bytes = NUMBERS, head=HEAD) -> bytes:
    start = b"".join(pickle.dumps(part, 2) for part in head)
    return start + program + pickle.dumps(list(keys), 2) + numbers


def zipped(program: bytes, how=zipfile.ZIP_STORED, **members: bytes) -> bytes:
    members = {"data.pkl": program, "data/0": NUMBERS[8:]} | {
        name.replace("_", "/"): content for name, content in members.items()
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as archive:
        for name, content in members.items():
            archive.writestr(f"archive/{name}", content)
    return file.getvalue()


def call(module: str, name: str, *arguments: bytes) -> bytes:
    return named(module, name) + row(*arguments) + b"R"


def module(**parts: bytes) -> bytes:
    """A TorchScript module: an object created without arguments, and its parts."""
    return named("__torch__.some.Module", "Inner") + b")\x81" + state(**parts)[:-1] + b"b"
