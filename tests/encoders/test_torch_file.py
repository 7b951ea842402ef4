"""PyTorch files are read like PyTorch reads them; damaged and other files are refused."""

import gzip
import os
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

from imagetext.encoders.torch_file import is_torchscript, read_torch_file
from imagetext.errors import UserError
from tests.encoders.torch_bytes import legacy, module, named, row, state, tensor, text, zipped

HERE = Path(__file__).parent


REAL = ("torch_legacy.pth", "torch_zip.pt")


def expected() -> dict[str, np.ndarray]:
    """The tensors that make_torch_files.py saves."""
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
def test_tensors_equal_those_saved_by_pytorch(name):
    actual = read_torch_file(HERE / name)
    assert list(actual) == list(expected())
    for key, value in expected().items():
        assert actual[key].dtype == value.dtype, key
        np.testing.assert_array_equal(actual[key], value, strict=True)
        assert not value.size or not actual[key].flags.writeable


def test_a_state_dict_inside_a_checkpoint_is_read():
    actual = read_torch_file(HERE / "torch_checkpoint.pth")
    assert actual["0.weight"].shape == (3, 2)
    assert [int(value.flat[0]) for value in actual.values()] == list(range(7))


def test_the_tensors_of_torchscript_are_read_without_its_code():
    path = HERE / "torch_script.pt"
    assert is_torchscript(path)
    assert not any(is_torchscript(HERE / name) for name in (*REAL, "absent.pt"))
    with zipfile.ZipFile(path) as archive:
        assert any("/code/" in name for name in archive.namelist())
    actual = read_torch_file(path)
    assert set(actual) == {
        *("scale", "size", "layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias")
    }
    assert actual["scale"] == 4.5 and actual["size"] == 224
    assert actual["layers.1.weight"].dtype == np.float16
    np.testing.assert_array_equal(actual["layers.1.weight"], 20 + np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(actual["layers.0.bias"], [10, 11, 12])


@pytest.mark.parametrize("pack", [legacy, zipped])
def test_assembled_files_are_read(tmp_path, pack):
    """Otherwise the tests of malicious files would prove nothing."""
    (tmp_path / "hand.pth").write_bytes(
        pack(state(w=tensor(), v=tensor(shape=row(), strides=row())))
    )
    actual = read_torch_file(tmp_path / "hand.pth")
    np.testing.assert_array_equal(actual["w"], [[1, 2], [3, 4]])
    assert actual["v"] == 1


def test_assembled_modules_are_read(tmp_path):
    """Parts that are not tensors are ignored."""
    parts = {"inner": module(w=tensor()), "text": text("x"), "v": tensor(), "none": b"N"}
    build = named("torch.jit._pickle", "build_intlist")
    listed = build + row(b"(I1\nl") + b"R"
    (tmp_path / "hand.pt").write_bytes(zipped(module(**parts, listed=listed) + b"."))
    actual = read_torch_file(tmp_path / "hand.pt")
    assert set(actual) == {"inner.w", "v"}
    np.testing.assert_array_equal(actual["inner.w"], [[1, 2], [3, 4]])


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
def test_other_kinds_of_files_are_recognised(tmp_path, kind):
    OTHERS[kind](tmp_path / "other.pth")
    with pytest.raises(UserError, match=rf"other\.pth: .* it seems to be {kind}.*; expected"):
        read_torch_file(tmp_path / "other.pth")


@pytest.mark.parametrize("name", [*REAL, "torch_script.pt"])
def test_truncated_files_are_refused(tmp_path, name):
    whole = (HERE / name).read_bytes()
    path = tmp_path / "cut.pth"
    for size in [*range(0, len(whole) - 1, 7), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"cut\.pth"):
            read_torch_file(path)


@pytest.mark.parametrize("name", [*REAL, "torch_script.pt"])
def test_files_with_wrong_bytes_are_read_or_refused(tmp_path, name):
    whole, random = (HERE / name).read_bytes(), np.random.default_rng(0)
    path, refused = tmp_path / "wrong.pth", 0
    for _ in range(400):
        wrong = bytearray(whole)
        for index in random.integers(0, len(whole), 3):
            wrong[index] = random.integers(0, 256)
        path.write_bytes(wrong)
        try:
            read_torch_file(path)
        except UserError:
            refused += 1
    assert refused > 100


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a file without permission")
def test_an_unreadable_file_is_refused(tmp_path):
    (tmp_path / "locked.pth").write_bytes(b"")
    (tmp_path / "locked.pth").chmod(0)
    with pytest.raises(UserError, match="cannot be read"):
        read_torch_file(tmp_path / "locked.pth")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"absent\.pth: cannot be read"):
        read_torch_file(tmp_path / "absent.pth")
