"""PyTorch files that are malicious or impossible are refused, and nothing in them is run."""

import copyreg
import pickle
import struct
import zipfile
from pathlib import Path

import pytest

from imagetext.encoders.torch_file import read_torch_file
from imagetext.errors import UserError
from tests.encoders.torch_bytes import (
    HEAD,
    NUMBERS,
    call,
    legacy,
    module,
    named,
    number,
    row,
    state,
    storage,
    tensor,
    text,
    zipped,
)


def doubled(depth: int) -> bytes:
    """Nested modules, each of which contains the next one twice: 2 ** depth tensors by name."""
    program = module(w=tensor())
    for level in range(depth):
        program = named("__torch__", "Outer") + b")\x81}" + text("a") + program + b"q%c" % level
        program += b"s" + text("b") + b"h%c" % level + b"sb"
    return program


def test_endlessly_nested_modules_are_refused(tmp_path):
    (tmp_path / "few.pt").write_bytes(zipped(doubled(3) + b"."))
    assert len(read_torch_file(tmp_path / "few.pt")) == 8
    itself = named("__torch__", "Outer") + b")\x81q\x01}" + text("a") + b"h\x01sb."
    for program in (doubled(40) + b".", itself):
        (tmp_path / "many.pt").write_bytes(zipped(program))
        with pytest.raises(UserError, match="refused because it contains a module with too many"):
            read_torch_file(tmp_path / "many.pt")


def malicious(marker: Path) -> dict[str, bytes]:
    """Instructions that would create the file `marker`, or access data outside the file."""
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


MALICIOUS = sorted(malicious(Path("marker")))


@pytest.mark.parametrize("name", MALICIOUS)
@pytest.mark.parametrize("part", ["legacy", "zip", "head", "keys"])
def test_malicious_files_are_refused_and_not_run(tmp_path, name, part):
    marker = tmp_path / "marker"
    evil = malicious(marker)[name]
    whole = {
        "legacy": legacy(state(w=tensor(), x=evil)),
        "zip": zipped(state(w=tensor(), x=evil)),
        "head": evil + b"." + legacy(state(w=tensor())),
        "keys": legacy(state(w=tensor()) + b"]" + evil + b"a.", keys=[]),
    }[part]
    (tmp_path / "evil.pth").write_bytes(whole)
    with pytest.raises(
        UserError, match=r"evil\.pth: (refused|not a complete PyTorch file)"
    ) as error:
        read_torch_file(tmp_path / "evil.pth")
    assert len(str(error.value).splitlines()) == 1
    assert not marker.exists()


@pytest.mark.parametrize(
    ("name", "message"),
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
def test_the_reason_for_refusing_a_file_is_reported(tmp_path, name, message):
    (tmp_path / "evil.pth").write_bytes(legacy(state(x=malicious(tmp_path / "marker")[name])))
    with pytest.raises(UserError, match=f"refused because it contains {message}"):
        read_torch_file(tmp_path / "evil.pth")


def test_extension_codes_are_refused_even_when_cached(tmp_path):
    """The cache of the registry returns objects without calling `find_class`."""
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


def test_the_malicious_files_would_run_code(tmp_path):
    """Otherwise the tests above would prove nothing."""
    marker = tmp_path / "marker"
    for name in ("os.system", "STACK_GLOBAL", "INST", "OBJ", "eval"):
        pickle.loads(malicious(marker)[name] + b".")
        assert marker.exists(), name
        marker.unlink()


IMPOSSIBLE = {
    "offset": tensor(offset=1),
    "shape": tensor(shape=row(2, 3)),
    "stride": tensor(strides=row(3, 1)),
    "endless by a stride of zero": tensor(shape=row(10**9, 10**9), strides=row(0, 0)),
    "huge": tensor(shape=row(2**62, 2**62), strides=row(2**62, 1)),
    "beyond any number": tensor(offset=10**400),
    "negative offset": tensor(offset=-1),
    "negative shape": tensor(shape=row(-2, -2)),
    "negative stride": tensor(offset=3, strides=row(-2, -1)),
    "not an integer": tensor(offset=b"F0.5\n"),
    "boolean": tensor(offset=b"I01\n"),
    "text for shape": tensor(shape=text("22")),
    "fewer strides": tensor(strides=row(1)),
    "too many axes": tensor(shape=row(*[1] * 99), strides=row(*[1] * 99)),
    "no storage": tensor(of=b"N"),
    "storage larger than the file": tensor(of=storage(count=10**12)),
    "negative storage": tensor(of=storage(count=-1)),
    "storage of objects": tensor(of=storage("ObjectStorage")),
    "storage of booleans": tensor(of=storage("BoolStorage")),
    "view of a storage": tensor(of=storage(view=row(text("1"), 0, 2))),
    "storage of two kinds": tensor() + b"0" + tensor(of=storage("IntStorage")),
    "storage of two sizes": tensor() + b"0" + tensor(of=storage(count=3)),
    "called kind": call("torch", "FloatStorage", number(9)),
    "a parameter of nothing": call("torch._utils", "_rebuild_parameter", b"N", b"I00\n", b"}"),
    "not a tensor": number(3),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
@pytest.mark.parametrize("pack", [legacy, zipped])
def test_impossible_tensors_are_refused(tmp_path, pack, what):
    (tmp_path / "wrong.pth").write_bytes(pack(state(w=IMPOSSIBLE[what])))
    with pytest.raises(UserError, match=r"wrong\.pth: (refused|not a complete PyTorch file)"):
        read_torch_file(tmp_path / "wrong.pth")


@pytest.mark.parametrize("what", ["offset", "shape", "stride", "huge"])
def test_a_tensor_beyond_its_storage_is_reported(tmp_path, what):
    (tmp_path / "wrong.pth").write_bytes(legacy(state(w=IMPOSSIBLE[what])))
    with pytest.raises(UserError, match=r"a tensor of shape .* that reaches beyond its storage"):
        read_torch_file(tmp_path / "wrong.pth")


INCONSISTENT = {
    "an unused storage": legacy(state(w=tensor()), keys=["0", "1"], numbers=NUMBERS * 2),
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
    "not a PyTorch file": b"Not found",
    "nothing": b"",
}


@pytest.mark.parametrize("what", INCONSISTENT)
def test_inconsistent_files_are_refused(tmp_path, what):
    (tmp_path / "wrong.pth").write_bytes(INCONSISTENT[what])
    with pytest.raises(UserError, match=r"wrong\.pth: (refused|not a complete PyTorch file)"):
        read_torch_file(tmp_path / "wrong.pth")
