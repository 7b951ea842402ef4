"""Caption embeddings on disk: what is found, what is refused, and that no pickle runs anything."""

import copyreg
import io
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from imagetext.errors import UserError
from imagetext.pipelines.embeddings import EmbeddingTable


@pytest.fixture
def table() -> EmbeddingTable:
    vectors = np.random.default_rng(0).normal(size=[4, 6]).astype(np.float32)
    return EmbeddingTable(["A dog runs .", "Snow", "Un café", "  two  blanks"], vectors)


def test_rows_come_in_the_order_asked_and_repeat(table):
    asked = ["Snow", "A dog runs .", "Snow"]
    np.testing.assert_array_equal(table.lookup(asked), table.vectors[[1, 0, 1]])
    assert table.lookup([]).shape == (0, 6)


def test_blanks_and_line_ends_do_not_matter_but_an_exact_match_wins():
    table = EmbeddingTable(["Snow ", "Snow", "A  dog\r"], np.diag([1.0, 2.0, 3.0]))
    asked = ["Snow", "Snow ", "Snow\r\n", "A dog", "\ufeffA dog"]
    assert table.lookup(asked).max(axis=1).tolist() == [2, 1, 1, 3, 3]
    assert "snow" not in table


def test_missing_captions_are_told_once_in_order(table):
    assert table.missing(["x", "Snow", "Snow\r", "b", "x"]) == ["x", "b"]
    with pytest.raises(UserError, match=r"no vector for 'x'(?s:.)*no vector for 'b'"):
        table.lookup(["x", "Snow", "b"])


@pytest.mark.parametrize("name", ["table.npz", "table.pkl"])
def test_written_tables_read_back(table, tmp_path, name):
    table.write(tmp_path / name)
    read = EmbeddingTable.read(tmp_path / name)
    assert read.captions == table.captions
    assert read.vectors.dtype == np.float32
    np.testing.assert_array_equal(read.vectors, table.vectors)


def test_half_precision_halves_the_numbers_and_reads_as_float32(table, tmp_path):
    table.write(tmp_path / "half.npz", half=True)
    assert np.load(tmp_path / "half.npz")["vectors"].dtype == np.float16
    read = EmbeddingTable.read(tmp_path / "half.npz")
    assert read.vectors.dtype == np.float32
    np.testing.assert_allclose(read.vectors, table.vectors, rtol=1e-3)


def test_the_pickle_is_a_plain_dict_for_other_tools(table, tmp_path):
    table.write(tmp_path / "table.pkl")
    plain = pickle.loads((tmp_path / "table.pkl").read_bytes())
    assert type(plain) is dict and plain["Snow"].shape == (6,)
    assert plain["Snow"].dtype == np.float32 and plain["Snow"].base is None


@pytest.mark.parametrize("protocol", range(6))
def test_vectors_of_every_kind_in_pickles_of_every_protocol(tmp_path, protocol):
    values = {
        "row": np.arange(3, dtype=np.float32),
        "matrix": np.arange(3, dtype=np.float64)[None],
        "big-endian": np.arange(3, dtype=">f4"),
        "fortran": np.asfortranarray(np.arange(3.0)[:, None]),
        "list": [0.0, 1, 2],
        "scalars": [np.float32(0), np.float32(1), np.float64(2)],
    }
    path = tmp_path / "course.pkl"
    path.write_bytes(pickle.dumps(values, protocol))
    read = EmbeddingTable.read(path)
    np.testing.assert_array_equal(read.lookup(list(values)), [[0, 1, 2]] * len(values))


def test_pickles_of_numpy_1_are_read(tmp_path):
    data = pickle.dumps({"a": np.ones(3, np.float32)}, 2)
    old = data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert old != data
    (tmp_path / "old.pkl").write_bytes(old)
    assert EmbeddingTable.read(tmp_path / "old.pkl").lookup(["a"]).tolist() == [[1, 1, 1]]


def test_merging_keeps_both_and_refuses_contradictions(table):
    more = EmbeddingTable(["Snow", "Rain"], np.stack([table.vectors[1], np.ones(6)]))
    merged = table.merge(more)
    assert len(merged) == 5
    np.testing.assert_array_equal(merged.lookup(["Rain"])[0], np.ones(6))
    half = EmbeddingTable(["Snow"], table.vectors[[1]].astype(np.float16))
    assert len(table.merge(half)) == 4
    with pytest.raises(UserError, match="two different vectors for 'Snow'"):
        table.merge(EmbeddingTable(["Snow"], np.ones([1, 6])))
    with pytest.raises(UserError, match="of width 6 and 7"):
        table.merge(EmbeddingTable(["Rain"], np.ones([1, 7])))
    empty = EmbeddingTable([], np.zeros([0, 0]))
    assert empty.merge(table).captions == table.captions == table.merge(empty).captions


def test_vectors_that_cannot_be_are_told_by_caption(tmp_path):
    with pytest.raises(UserError, match="vector of 'b' holds NaN"):
        EmbeddingTable(["a", "b"], np.array([[1.0], [np.nan]]))
    with pytest.raises(UserError, match="2 captions but vectors of shape"):
        EmbeddingTable(["a", "b"], np.ones([3, 1]))
    for value, complaint in [
        (np.ones(2), "vector of 'b' has 2 elements instead of 3"),
        (np.ones([2, 3]), "value of 'b' is not a vector of numbers"),
        (["x", "y", "z"], "value of 'b' is not a vector of numbers"),
        ([[1], [2, 3]], "value of 'b' is not a vector of numbers"),
        (None, "value of 'b' is not a vector of numbers"),
    ]:
        (tmp_path / "bad.pkl").write_bytes(pickle.dumps({"a": np.ones(3), "b": value}))
        with pytest.raises(UserError, match=complaint):
            EmbeddingTable.read(tmp_path / "bad.pkl")
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(UserError, match="got list"):
        EmbeddingTable.read(tmp_path / "bad.pkl")


@pytest.mark.parametrize("name", ["table.npz", "table.pkl"])
def test_every_truncated_file_is_told_as_such(table, tmp_path, name):
    path = tmp_path / name
    table.write(path)
    whole = path.read_bytes()
    for size in [0, 1, 10, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=name):
            EmbeddingTable.read(path)
    path.write_bytes(b"<html>Not found</html>")
    with pytest.raises(UserError, match="not a complete"):
        EmbeddingTable.read(path)


def test_other_npz_files_and_suffixes_are_refused(tmp_path):
    np.savez(tmp_path / "other.npz", x=np.ones(3))
    with pytest.raises(UserError, match="expected captions and vectors"):
        EmbeddingTable.read(tmp_path / "other.npz")
    captions = np.frombuffer(json.dumps(["a"]).encode(), np.uint8)
    np.savez(tmp_path / "objects.npz", captions=captions, vectors=np.array([None]))
    with pytest.raises(UserError, match="not a complete"):
        EmbeddingTable.read(tmp_path / "objects.npz")
    with pytest.raises(UserError, match=r"\.npz or \.pkl"):
        EmbeddingTable.read(tmp_path / "table.csv")
    with pytest.raises(UserError, match="cannot be read"):
        EmbeddingTable.read(tmp_path / "absent.npz")


class _Calls:
    """Pickles as a call of `function(*arguments)`."""

    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


def _object_array(content) -> np.ndarray:
    array = np.empty(1, dtype=object)
    array[0] = content
    return array


class _PersistentIds(pickle.Pickler):
    def persistent_id(self, thing):
        return "outside" if thing == "persistent" else None


def hostile_pickles(marker: Path) -> dict[str, bytes]:
    """Pickles that would make the file `marker`, or reach outside the file, if they were run."""
    command, code = f"touch {marker}", f"open({str(marker)!r}, 'w').close()"
    evil_numpy = marker.with_name("evil.npy")
    np.save(evil_numpy, _object_array(_Calls(os.system, command)), allow_pickle=True)
    persistent = io.BytesIO()
    _PersistentIds(persistent).dump({"a": "persistent"})

    def text(value: str) -> bytes:
        return b"\x8c" + bytes([len(value)]) + value.encode()

    def reached(module: str, name: str, argument: str) -> bytes:
        return b"\x80\x04" + text(module) + text(name) + b"\x93" + text(argument) + b"\x85R."

    return {
        "os.system": pickle.dumps({"a": _Calls(os.system, command)}),
        "eval": pickle.dumps({"a": _Calls(eval, code)}, 2),
        "exec": pickle.dumps(_Calls(exec, code)),
        "subprocess": pickle.dumps({"a": _Calls(subprocess.call, ["touch", str(marker)])}),
        "dict key": pickle.dumps({_Calls(os.system, command): np.ones(3)}),
        "object array": pickle.dumps({"a": _object_array(_Calls(os.system, command))}),
        "object array, no call": pickle.dumps({"a": _object_array("text")}),
        "numpy.load": pickle.dumps(_Calls(np.load, str(evil_numpy), None, True)),
        "getattr": reached("builtins", "getattr", "system"),
        "dotted name": reached("numpy", "ndarray.__class__", command),
        "module through numpy": reached("numpy", "os.system", command),
        "numpy.testing": reached("numpy.testing._private.utils", "runstring", code),
        "old opcodes": b"cos\nsystem\n(S'" + command.encode() + b"'\ntR.",
        "INST": b"(S'" + command.encode() + b"'\nios\nsystem\n.",
        "persistent id": persistent.getvalue(),
        "altered constructor": b"cnumpy\ndtype\n}S'_make'\nI1\nsb.",
        "altered slots": b"cnumpy\ndtype\n(N}S'_make'\nI1\nstb.",
        "memo bomb": b"N" + b"r\xff\xff\xff\x7f" + b".",
        "new object": b"\x80\x02cnumpy\nndarray\nI99999999999\n\x85\x81.",
        "huge array": b"cnumpy\nndarray\n(I99999999999\ntR.",
    }


#: Their names, known before there is a folder to aim them at.
NAMES = [
    "os.system", "eval", "exec", "subprocess", "dict key", "object array",
    "object array, no call", "numpy.load", "getattr", "dotted name", "module through numpy",
    "numpy.testing", "old opcodes", "INST", "persistent id", "altered constructor",
    "altered slots", "memo bomb", "new object", "huge array",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_hostile_pickles_are_refused_and_run_nothing(tmp_path, name):
    marker = tmp_path / "marker"
    hostile = hostile_pickles(marker)
    assert sorted(hostile) == sorted(NAMES)
    (tmp_path / "evil.pkl").write_bytes(hostile[name])
    with pytest.raises(UserError, match=r"evil\.pkl"):
        EmbeddingTable.read(tmp_path / "evil.pkl")
    assert not marker.exists()


def test_the_hostile_pickles_would_have_run(tmp_path):
    """Else the test above proves nothing."""
    marker = tmp_path / "marker"
    for name in ("os.system", "eval", "subprocess", "object array", "numpy.load", "old opcodes"):
        pickle.loads(hostile_pickles(marker)[name])
        assert marker.exists(), name
        marker.unlink()


def test_extension_codes_are_refused_even_when_cached(tmp_path):
    """The registry's cache hands out objects without asking the unpickler."""
    marker = tmp_path / "marker"
    copyreg.add_extension(os.system.__module__, "system", 0x7F)
    try:
        program = pickle.dumps(_Calls(os.system, f"touch {marker}"), 2)
        assert b"\x82\x7f" in program
        pickle.loads(program)
        marker.unlink()
        (tmp_path / "evil.pkl").write_bytes(program)
        with pytest.raises(UserError, match="EXT1"):
            EmbeddingTable.read(tmp_path / "evil.pkl")
        assert not marker.exists()
    finally:
        copyreg.remove_extension(os.system.__module__, "system", 0x7F)


def test_importing_the_table_does_not_import_tensorflow():
    check = "import sys, imagetext.pipelines.embeddings; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=Path(__file__).parents[2])
