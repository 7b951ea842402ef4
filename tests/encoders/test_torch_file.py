"""Files of torch.save: read as PyTorch would, and nothing in them run or believed unchecked."""

import copyreg
import gzip
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

from imagetext.encoders.torch_file import is_torchscript, read_torch_file
from imagetext.errors import UserError

HERE = Path(__file__).parent
REAL = ("torch_legacy.pth", "torch_zip.pt")


def expected() -> dict[str, np.ndarray]:
    """What make_torch_files.py had PyTorch save."""
    plain = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    return {
        "plain": plain,
        "transposed": plain.transpose(2, 0, 1),
        "stepped": np.float32([1, 4, 7]),
        "tail": np.float32([6, 7, 8, 9]),
        "halves": np.float16([-0.75, -0.5, -0.25, 0, 0.25, 0.5]),
        "brain": np.float32([1, -2.5, 3.140625, 65536]),
        "doubles": np.array([0.1, -1e300]),
        "steps": np.array(2**40 + 1),
        "ints": np.arange(-2, 2, dtype=np.int32),
        "shorts": np.arange(-2, 2, dtype=np.int16),
        "signed": np.arange(-2, 2, dtype=np.int8),
        "bytes": np.arange(252, 256, dtype=np.uint8),
        "empty": np.zeros([0, 3], np.float32),
        "parameter": np.ones(2, np.float32),
    }


@pytest.mark.parametrize("name", REAL)
def test_what_pytorch_saved_is_read_to_the_bit(name):
    found = read_torch_file(HERE / name)
    assert list(found) == list(expected())
    for key, value in expected().items():
        assert found[key].dtype == value.dtype, key
        np.testing.assert_array_equal(found[key], value, strict=True)
        assert not value.size or not found[key].flags.writeable


def test_a_state_dict_within_a_checkpoint_is_found():
    found = read_torch_file(HERE / "torch_checkpoint.pth")
    assert found["0.weight"].shape == (3, 2)
    assert [int(value.flat[0]) for value in found.values()] == list(range(7))


def test_the_tensors_of_torchscript_are_taken_and_its_code_is_left_alone():
    path = HERE / "torch_script.pt"
    assert is_torchscript(path)
    assert not any(is_torchscript(HERE / name) for name in (*REAL, "absent.pt"))
    with zipfile.ZipFile(path) as archive:
        assert any("/code/" in name for name in archive.namelist())
    found = read_torch_file(path)
    assert set(found) == {
        *("scale", "size", "layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias")
    }
    assert found["scale"] == 4.5 and found["size"] == 224
    assert found["layers.1.weight"].dtype == np.float16
    np.testing.assert_array_equal(found["layers.1.weight"], 20 + np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(found["layers.0.bias"], [10, 11, 12])


# ------------------------------------------------ files put together by hand, byte by byte


def text(value: str) -> bytes:
    return b"V" + value.encode() + b"\n"


def number(value: int) -> bytes:
    return b"I%d\n" % value


def row(*values: bytes | int) -> bytes:
    """A tuple of instructions and whole numbers."""
    return b"(" + b"".join(number(v) if isinstance(v, int) else v for v in values) + b"t"


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def storage(kind: str = "FloatStorage", count: int = 4, key: str = "0", view: bytes = b"N"):
    return row(text("storage"), named("torch", kind), text(key), text("cpu"), count, view) + b"Q"


def tensor(of: bytes = storage(), offset=0, shape: bytes = row(2, 2), strides: bytes = row(2, 1)):
    rebuild = named("torch._utils", "_rebuild_tensor_v2")
    return rebuild + row(of, offset, shape, strides, b"I00\n", b"}") + b"R"


def state(**entries: bytes) -> bytes:
    """The pickle of a dict of what these instructions make."""
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


@pytest.mark.parametrize("pack", [legacy, zipped])
def test_what_is_put_together_by_hand_is_read(tmp_path, pack):
    """Else the tests below prove nothing."""
    (tmp_path / "hand.pth").write_bytes(
        pack(state(w=tensor(), v=tensor(shape=row(), strides=row())))
    )
    found = read_torch_file(tmp_path / "hand.pth")
    np.testing.assert_array_equal(found["w"], [[1, 2], [3, 4]])
    assert found["v"] == 1


def call(module: str, name: str, *arguments: bytes) -> bytes:
    return named(module, name) + row(*arguments) + b"R"


def module(**parts: bytes) -> bytes:
    """Of TorchScript: a class of its own, made without arguments, and what is set on it."""
    return named("__torch__.some.Module", "Inner") + b")\x81" + state(**parts)[:-1] + b"b"


def test_a_module_put_together_by_hand_is_read(tmp_path):
    """Else the tests of what is wrong with one prove nothing. What is no tensor is passed over."""
    parts = {"inner": module(w=tensor()), "told": text("x"), "v": tensor(), "none": b"N"}
    build = named("torch.jit._pickle", "build_intlist")
    listed = build + row(b"(I1\nl") + b"R"
    (tmp_path / "hand.pt").write_bytes(zipped(module(**parts, listed=listed) + b"."))
    found = read_torch_file(tmp_path / "hand.pt")
    assert set(found) == {"inner.w", "v"}
    np.testing.assert_array_equal(found["inner.w"], [[1, 2], [3, 4]])


def doubled(depth: int) -> bytes:
    """A module that is part of the next one twice, and so on: 2 ** depth tensors by name."""
    program = module(w=tensor())
    for number in range(depth):
        program = named("__torch__", "Outer") + b")\x81}" + text("a") + program + b"q%c" % number
        program += b"s" + text("b") + b"h%c" % number + b"sb"
    return program


def test_modules_without_end_are_refused(tmp_path):
    (tmp_path / "few.pt").write_bytes(zipped(doubled(3) + b"."))
    assert len(read_torch_file(tmp_path / "few.pt")) == 8
    itself = named("__torch__", "Outer") + b")\x81q\x01}" + text("a") + b"h\x01sb."
    for program in (doubled(40) + b".", itself):
        (tmp_path / "many.pt").write_bytes(zipped(program))
        with pytest.raises(UserError, match="refused because it contains a module with too many"):
            read_torch_file(tmp_path / "many.pt")


def hostile(marker: Path) -> dict[str, bytes]:
    """Instructions that would make the file `marker`, or reach outside the file, if they ran."""
    command = text(f"touch {marker}")
    run = call("posix", "system", command)
    modern = b"\x8c\x05posix\x8c\x06system\x93" + row(command) + b"R"
    altered = b"(N}" + text("shape") + row(9, 9) + b"stb"
    return {
        "os.system": run,
        "STACK_GLOBAL": modern,
        "INST": b"(" + command + b"iposix\nsystem\n",
        "OBJ": b"(" + named("posix", "system") + command + b"o",
        "eval": call("builtins", "eval", text(f"open({str(marker)!r}, 'w').close()")),
        "getattr": call("builtins", "getattr", text("posix"), text("system")),
        "torch.load": call("torch", "load", text(str(marker))),
        "bytes of another file": call("torch.storage", "_load_from_bytes", text("x")),
        "another rebuilding": call("torch._utils", "_rebuild_sparse_tensor", number(0), row()),
        "dotted name": call("torch._utils", "_rebuild_tensor_v2.__class__"),
        "within a tensor": tensor(of=run),
        "within a storage": tensor(of=storage(view=run)),
        "within a shape": tensor(shape=run),
        "extension registry": b"\x82\x7f",
        "text persistent id": b"P0\n",
        "outside buffer": b"\x97",
        "a name altered": named("torch", "FloatStorage") + b"}" + text("dtype") + b"I1\nsb",
        "a function altered": named("torch._utils", "_rebuild_tensor_v2") + altered,
        "a tensor altered": tensor() + altered,
        "within a module": module(w=run),
        "a module altered": module(w=tensor()) + b"}" + text("w") + run + b"sb",
        "a module with an argument": named("__torch__", "M") + row(run) + b"\x81",
        "code of a module": call("__torch__.torch", "load", run),
        "a like name": call("__torch__x", "Module"),
        "memo bomb": b"Nr\xff\xff\xff\x7f",
        "module": row(text("module"), text("x")) + b"Q",
    }


HOSTILE = sorted(hostile(Path("marker")))


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("place", ["legacy", "zip", "head", "keys"])
def test_hostile_files_are_refused_and_run_nothing(tmp_path, name, place):
    marker = tmp_path / "marker"
    evil = hostile(marker)[name]
    whole = {
        "legacy": legacy(state(w=tensor(), x=evil)),
        "zip": zipped(state(w=tensor(), x=evil)),
        "head": evil + b"." + legacy(state(w=tensor())),
        "keys": legacy(state(w=tensor()) + b"]" + evil + b"a.", keys=[]),
    }[place]
    (tmp_path / "evil.pth").write_bytes(whole)
    with pytest.raises(
        UserError, match=r"evil\.pth: (refused|not a complete PyTorch file)"
    ) as caught:
        read_torch_file(tmp_path / "evil.pth")
    assert len(str(caught.value).splitlines()) == 1
    assert not marker.exists()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("os.system", r"a call of posix\.system"),
        ("getattr", r"a call of builtins\.getattr"),
        ("text persistent id", "the pickle instruction PERSID"),
        ("extension registry", "the pickle instruction EXT1"),
        ("outside buffer", "the pickle instruction NEXT_BUFFER"),
        ("memo bomb", "a memo slot larger than the file"),
        ("a tensor altered", "an attempt to change"),
    ],
)
def test_hostile_files_are_refused_for_what_they_are(tmp_path, name, told):
    (tmp_path / "evil.pth").write_bytes(legacy(state(x=hostile(tmp_path / "marker")[name])))
    with pytest.raises(UserError, match=f"refused because it contains {told}"):
        read_torch_file(tmp_path / "evil.pth")


def test_extension_codes_are_refused_even_when_cached(tmp_path):
    """The registry's cache hands out objects without asking the unpickler."""
    marker = tmp_path / "marker"
    program = b"\x82\x7f" + row(text(f"touch {marker}")) + b"R"
    copyreg.add_extension("posix", "system", 0x7F)
    try:
        pickle.loads(program + b".")
        marker.unlink()
        (tmp_path / "evil.pth").write_bytes(legacy(state(x=program)))
        with pytest.raises(UserError, match="EXT1"):
            read_torch_file(tmp_path / "evil.pth")
        assert not marker.exists()
    finally:
        copyreg.remove_extension("posix", "system", 0x7F)


def test_the_hostile_files_would_have_run(tmp_path):
    """Else the test above proves nothing."""
    marker = tmp_path / "marker"
    for name in ("os.system", "STACK_GLOBAL", "INST", "OBJ", "eval"):
        pickle.loads(hostile(marker)[name] + b".")
        assert marker.exists(), name
        marker.unlink()


IMPOSSIBLE = {
    "offset": tensor(offset=1),
    "shape": tensor(shape=row(2, 3)),
    "stride": tensor(strides=row(3, 1)),
    "endless by a stride of nothing": tensor(shape=row(10**9, 10**9), strides=row(0, 0)),
    "huge": tensor(shape=row(2**62, 2**62), strides=row(2**62, 1)),
    "beyond any number": tensor(offset=10**400),
    "negative offset": tensor(offset=-1),
    "negative shape": tensor(shape=row(-2, -2)),
    "negative stride": tensor(offset=3, strides=row(-2, -1)),
    "not whole": tensor(offset=b"F0.5\n"),
    "truth value": tensor(offset=b"I01\n"),
    "text for shape": tensor(shape=text("22")),
    "fewer strides": tensor(strides=row(1)),
    "too many axes": tensor(shape=row(*[1] * 99), strides=row(*[1] * 99)),
    "no storage": tensor(of=b"N"),
    "storage larger than the file": tensor(of=storage(count=10**12)),
    "negative storage": tensor(of=storage(count=-1)),
    "storage of objects": tensor(of=storage("ObjectStorage")),
    "storage of truth values": tensor(of=storage("BoolStorage")),
    "view of a storage": tensor(of=storage(view=row(text("1"), 0, 2))),
    "storage of two kinds": tensor() + b"0" + tensor(of=storage("IntStorage")),
    "storage of two sizes": tensor() + b"0" + tensor(of=storage(count=3)),
    "called kind": call("torch", "FloatStorage", number(9)),
    "a parameter of nothing": call("torch._utils", "_rebuild_parameter", b"N", b"I00\n", b"}"),
    "no tensor": number(3),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
@pytest.mark.parametrize("pack", [legacy, zipped])
def test_tensors_that_cannot_be_are_refused(tmp_path, pack, what):
    (tmp_path / "wrong.pth").write_bytes(pack(state(w=IMPOSSIBLE[what])))
    with pytest.raises(UserError, match=r"wrong\.pth: (refused|not a complete PyTorch file)"):
        read_torch_file(tmp_path / "wrong.pth")


@pytest.mark.parametrize("what", ["offset", "shape", "stride", "huge"])
def test_a_tensor_beyond_its_storage_is_told_as_such(tmp_path, what):
    (tmp_path / "wrong.pth").write_bytes(legacy(state(w=IMPOSSIBLE[what])))
    with pytest.raises(UserError, match=r"a tensor of shape .* that reaches beyond its storage"):
        read_torch_file(tmp_path / "wrong.pth")


FLAWED = {
    "a storage nobody needs": legacy(state(w=tensor()), keys=["0", "1"], numbers=NUMBERS * 2),
    "a storage twice": legacy(state(w=tensor()), keys=["0", "0"], numbers=NUMBERS * 2),
    "no storage": legacy(state(w=tensor()), keys=[]),
    "another count": legacy(state(w=tensor()), numbers=struct.pack("<q4f", 3, 1, 2, 3, 4)),
    "endless count": legacy(state(w=tensor()), numbers=struct.pack("<q4f", -1, 1, 2, 3, 4)),
    "another magic number": legacy(state(w=tensor()), head=[1, 1001, HEAD[2]]),
    "another version": legacy(state(w=tensor()), head=[HEAD[0], 1002, HEAD[2]]),
    "big-endian": legacy(state(w=tensor()), head=[HEAD[0], 1001, {"little_endian": False}]),
    "big-endian zip": zipped(state(w=tensor()), byteorder=b"big"),
    "a number for a name": legacy(b"}I1\n" + tensor() + b"s."),
    "a list": legacy(b"]" + tensor() + b"a."),
    "zip without its numbers": zipped(state(w=tensor(of=storage(key="7")))),
    "zip with fewer numbers": zipped(state(w=tensor()), data_0=NUMBERS[8:-1]),
    "zip that unpacks to more": zipped(
        state(w=tensor()), zipfile.ZIP_DEFLATED, data_0=bytes(10**7)
    ),
    "another zip": zipped(state(w=tensor())).replace(b"data.pkl", b"code.pkl"),
    "no file of PyTorch's": b"Not found",
    "nothing": b"",
}


@pytest.mark.parametrize("what", FLAWED)
def test_flawed_files_are_told_as_such(tmp_path, what):
    (tmp_path / "flawed.pth").write_bytes(FLAWED[what])
    with pytest.raises(UserError, match=r"flawed\.pth: (refused|not a complete PyTorch file)"):
        read_torch_file(tmp_path / "flawed.pth")


def npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, w=np.ones(3))


OTHERS = {
    "a safetensors file": lambda path: save_file({"w": np.ones(3, np.float32)}, path),
    "an HDF5 file": lambda path: h5py.File(path, "w").close(),
    "another zip archive": npz,
    "a compressed file": lambda path: path.write_bytes(gzip.compress(legacy(state(w=tensor())))),
    "a TensorFlow Lite model": lambda path: path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(20)),
    "a Git LFS pointer": lambda path: path.write_bytes(
        b"version https://git-lfs.github.com/spec/v1"
    ),
    "a web page": lambda path: path.write_bytes(b"<!DOCTYPE html><title>Not found</title>"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_file_of_another_kind_is_told_as_such(tmp_path, kind):
    OTHERS[kind](tmp_path / "other.pth")
    with pytest.raises(UserError, match=rf"other\.pth: .* it seems to be {kind}.*; expected"):
        read_torch_file(tmp_path / "other.pth")


@pytest.mark.parametrize("name", [*REAL, "torch_script.pt"])
def test_every_truncated_file_is_told_as_such(tmp_path, name):
    whole = (HERE / name).read_bytes()
    path = tmp_path / "cut.pth"
    for size in [*range(0, len(whole) - 1, 7), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"cut\.pth"):
            read_torch_file(path)


@pytest.mark.parametrize("name", [*REAL, "torch_script.pt"])
def test_a_file_with_wrong_bytes_is_read_or_told_and_nothing_else(tmp_path, name):
    whole, random = (HERE / name).read_bytes(), np.random.default_rng(0)
    path, told = tmp_path / "wrong.pth", 0
    for _ in range(400):
        wrong = bytearray(whole)
        for place in random.integers(0, len(whole), 3):
            wrong[place] = random.integers(0, 256)
        path.write_bytes(wrong)
        try:
            read_torch_file(path)
        except UserError:
            told += 1
    assert told > 100


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a file one may not read")
def test_an_unreadable_file_is_told(tmp_path):
    (tmp_path / "locked.pth").write_bytes(b"")
    (tmp_path / "locked.pth").chmod(0)
    with pytest.raises(UserError, match="cannot be read"):
        read_torch_file(tmp_path / "locked.pth")


def test_an_absent_file_is_told(tmp_path):
    with pytest.raises(UserError, match=r"absent\.pth: cannot be read"):
        read_torch_file(tmp_path / "absent.pth")
