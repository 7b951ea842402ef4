"""The store of features: what goes in comes out; killing its writer loses and doubles nothing."""

import hashlib
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from imagetext.errors import UserError
from imagetext.pipelines import feature_store
from imagetext.pipelines.feature_store import FLIPPED, PLAIN, RECORD_BYTES, FeatureStore

ROOT = Path(__file__).parents[2]
SHAPE = (2, 2, 3)
ROW_BYTES = 2 * 12
META = {
    "format": 1,
    "encoder": "tiny",
    "weights": "0" * 64,
    "size": 8,
    "preprocessing": 1,
    "output": "grid",
    "shape": list(SHAPE),
    "dtype": "float16",
    "precision": "float32",
    "batch_size": 4,
}


def digest(number: int) -> bytes:
    return hashlib.sha256(b"photo %d" % number).digest()


def row(number: int, view: int = PLAIN) -> np.ndarray:
    return np.random.default_rng([number, view]).standard_normal(SHAPE).astype(np.float32)


def add(store: FeatureStore, numbers, view: int = PLAIN) -> None:
    array = np.stack([row(number, view) for number in numbers])
    store.append([digest(number) for number in numbers], [view] * len(numbers), array)


def fill(folder: Path, numbers, shard_rows: int = 1000, **meta) -> FeatureStore:
    with FeatureStore.create(folder, META | meta, shard_rows * ROW_BYTES) as store:
        if len(numbers):
            add(store, numbers)
    return FeatureStore.open(folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != ".lock"}


def test_rows_come_back_by_digest_and_view_in_any_order(tmp_path):
    with FeatureStore.create(tmp_path, META) as store:
        add(store, [3, 1, 4])
        add(store, [1, 5], FLIPPED)
        assert len(store) == 5
    store = FeatureStore.open(tmp_path)
    assert store.keys == [(digest(n), v) for n, v in ((3, 0), (1, 0), (4, 0), (1, 1), (5, 1))]
    rows = store.rows([digest(1), digest(9), digest(4)])
    assert rows.tolist() == [1, -1, 2]
    assert store.rows([digest(1), digest(3)], FLIPPED).tolist() == [3, -1]
    found = store.fetch([2, 1, 1, 3])
    expected = np.stack([row(4), row(1), row(1), row(1, FLIPPED)]).astype(np.float16)
    assert found.dtype == np.float16
    assert np.array_equal(found, expected)
    assert store.fetch([]).shape == (0, *SHAPE)
    wanted = [digest(n) for n in (5, 3, 7, 5, 7)]
    assert store.missing(wanted) == [digest(5), digest(7)]
    assert store.missing(wanted, FLIPPED) == [digest(3), digest(7)]
    for outside in (5, -1):
        with pytest.raises(IndexError):
            store.fetch([outside])


@pytest.mark.parametrize("at_once", [1, 2, 3, 7, 20])
def test_shards_roll_over_at_their_limit(tmp_path, at_once):
    numbers = list(range(10))
    with FeatureStore.create(tmp_path, META, 3 * ROW_BYTES + 5) as store:
        for start in range(0, 10, at_once):
            add(store, numbers[start : start + at_once])
            last = min(start + at_once, 10) - 1
            assert np.array_equal(store.fetch([last])[0], row(last).astype(np.float16))
    shards = sorted(tmp_path.glob("*.bin"))
    assert [file.stat().st_size for file in shards] == [3 * ROW_BYTES] * 3 + [ROW_BYTES]
    store = FeatureStore.open(tmp_path)
    order = [9, 0, 3, 2, 8, 3]
    assert np.array_equal(store.fetch(order), np.stack([row(n) for n in order]).astype(np.float16))
    assert store.size_on_disk == 10 * (ROW_BYTES + RECORD_BYTES)


def test_bfloat16_holds_what_float16_cannot(tmp_path):
    large = np.full((1, *SHAPE), 1e6, np.float32)
    with FeatureStore.create(tmp_path / "half", META) as store:
        with pytest.raises(UserError, match=r"exceeds the range of float16.*--dtype bfloat16"):
            store.append([digest(0)], [PLAIN], large)
        with pytest.raises(UserError, match="exceeds the range of float16"):
            store.append([digest(0)], [PLAIN], np.full((1, *SHAPE), np.inf, np.float16))
        assert len(store) == 0
    assert not list((tmp_path / "half").glob("features-*"))
    with FeatureStore.create(tmp_path / "brain", META | {"dtype": "bfloat16"}) as store:
        store.append([digest(0)], [PLAIN], large)
    found = FeatureStore.open(tmp_path / "brain").fetch([0])
    assert found.dtype == ml_dtypes.bfloat16
    np.testing.assert_allclose(found.astype(np.float32), large, rtol=4e-3)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(tmp_path, dtype, bad):
    array = np.ones((2, *SHAPE), np.float32)
    array[1, 1, 0, 2] = bad
    with FeatureStore.create(tmp_path, META | {"dtype": dtype}) as store:
        told = (
            "exceeds the range" if dtype == "float16" and np.isinf(bad) else "gives NaN or infinity"
        )
        with pytest.raises(UserError, match=told):
            store.append([digest(0), digest(1)], [PLAIN] * 2, array)
        assert len(store) == 0


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-9, 3e-5])
def test_a_row_that_vanishes_is_refused(tmp_path, value):
    array = np.stack([row(0), row(1)])
    array[1] = value
    with FeatureStore.create(tmp_path, META) as store:
        with pytest.raises(UserError, match=r"tiny gives only zeros.*float16"):
            store.append([digest(0), digest(1)], [PLAIN] * 2, array)
        assert len(store) == 0
        array[1, 0, 0, 0] = 1  # zeros beside others are features like any
        store.append([digest(0), digest(1)], [PLAIN] * 2, array)


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"x")
    with pytest.raises(UserError, match=r"contains photo\.jpg but no meta\.json"):
        FeatureStore.create(tmp_path, META)
    with pytest.raises(UserError, match=r"photo\.jpg: expected a folder, got a file"):
        FeatureStore.create(photo, META)
    assert contents(tmp_path) == {"photo.jpg": b"x"} and not (tmp_path / ".lock").exists()
    # Rows whose meta.json is lost may be another encoder's.
    store = fill(tmp_path / "store", [1]).folder
    (store / "meta.json").unlink()
    with pytest.raises(UserError, match=r"features-00000\.bin but no meta\.json"):
        FeatureStore.create(store, META)
    # As a writer leaves it that is killed at once.
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / ".lock").touch()
    (begun / ".meta.json.77.tmp.json").touch()
    fill(begun, [1])


def test_mistakes_of_a_caller_are_refused(tmp_path):
    store = fill(tmp_path, [1])
    with pytest.raises(ValueError, match="reading only"):
        add(store, [2])
    with FeatureStore.create(tmp_path, META) as store:
        for numbers in ([1], [2, 2]):
            with pytest.raises(ValueError, match="already has a row"):
                add(store, numbers)
        with pytest.raises(ValueError, match="expected an array"):
            store.append([digest(2)], [PLAIN], np.zeros((1, 3), np.float32))


def test_another_stores_folder_is_refused_with_why(tmp_path):
    before = contents(fill(tmp_path, [1]).folder)
    for key, other, told in (
        ("encoder", "large", "encoder tiny instead of large"),
        ("output", "pooled", "output grid instead of pooled"),
        ("weights", "1" * 64, r"weights 000000000000\.\.\. instead of 111111111111\.\.\."),
    ):
        with pytest.raises(UserError, match=told):
            FeatureStore.create(tmp_path, META | {key: other})
    assert contents(tmp_path) == before


def test_what_is_no_store_is_refused(tmp_path):
    with pytest.raises(UserError, match="no features found"):
        FeatureStore.open(tmp_path)
    for broken in ("", "[]", "{}", json.dumps(META), json.dumps(META | {"rows_a_shard": 0})):
        (tmp_path / "meta.json").write_text(broken)
        with pytest.raises(UserError, match="not a valid description of features"):
            FeatureStore.open(tmp_path)
        with pytest.raises(UserError, match="not a valid description of features"):
            FeatureStore.create(tmp_path, META)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        FeatureStore.create(tmp_path / "file" / "store", META)


# ------------------------------------------------------------------------- interrupted, and mended


@pytest.mark.parametrize("shard_rows", [1000, 2])
def test_wherever_the_files_were_cut_the_next_writer_mends_them(tmp_path, shard_rows):
    """Every length that the last shard's files can have after a kill, and the writer's twin."""
    whole = contents(fill(tmp_path / "whole", range(5), shard_rows).folder)
    number = len(list((tmp_path / "whole").glob("*.bin"))) - 1
    data, index = f"features-{number:05}.bin", f"features-{number:05}.idx"
    lengths = [(size, 0) for size in range(0, len(whole[data]) + 1, 5)]
    lengths += [(len(whole[data]), size) for size in range(0, len(whole[index]) + 1, 3)]
    for case, (data_length, index_length) in enumerate(lengths):
        folder = tmp_path / str(case)
        folder.mkdir()
        for name, content in whole.items():
            (folder / name).write_bytes(content)
        (folder / data).write_bytes(whole[data][:data_length])
        (folder / index).write_bytes(whole[index][:index_length])
        rows = len(FeatureStore.open(folder))
        assert rows == 5 - (len(whole[index]) - index_length + RECORD_BYTES - 1) // RECORD_BYTES
        with FeatureStore.create(folder, META) as store:
            assert len(store) == rows
            if rows < 5:
                add(store, range(rows, 5))
        assert contents(folder) == whole


def damage(folder: Path, number: int, shard_rows: int = 1000, content: bytes = bytes(8)) -> Path:
    """Write something else into a row; returns the file it is in."""
    shard, place = divmod(number, shard_rows)
    data = folder / f"features-{shard:05}.bin"
    with data.open("rb+") as file:
        file.seek(place * ROW_BYTES + 4)
        file.write(content)
    return data


def test_rows_that_never_reached_the_disk_are_cut_off(tmp_path, capsys):
    """As after a power failure: records are there, and zeros where the rows should be."""
    whole = contents(fill(tmp_path, range(6)).folder)
    for number in (3, 4, 5):
        damage(tmp_path, number)
    with FeatureStore.create(tmp_path, META) as store:
        assert [key for key, _ in store.keys] == [digest(n) for n in range(3)]
        add(store, [3, 4, 5])
    assert contents(tmp_path) == whole
    assert "removed 3 features that are damaged\n" in capsys.readouterr().out


@pytest.mark.parametrize("shard_rows", [1000, 4, 2])
def test_a_check_drops_damaged_rows_alone_and_they_can_be_added_again(tmp_path, capsys, shard_rows):
    fill(tmp_path, range(7), shard_rows)
    early = FeatureStore.open(tmp_path)
    before = early.fetch([0, 2, 5])
    for number in (1, 4, 6):
        damage(tmp_path, number, shard_rows)
    with FeatureStore.create(tmp_path, META, check=True) as store:
        assert store.dropped == [(digest(number), PLAIN) for number in (1, 4, 6)]
        assert store.missing(map(digest, range(7))) == [digest(number) for number in (1, 4, 6)]
        add(store, [4, 6])
        add(store, [1])
    assert "removed 3 features" in capsys.readouterr().out
    with FeatureStore.create(tmp_path, META, check=True) as writer:
        for store in (FeatureStore.open(tmp_path), writer):
            assert (len(store), store.dropped) == (7, [])
            assert [key for key, _ in store.keys] == [digest(n) for n in (0, 2, 3, 5, 4, 6, 1)]
            found = store.fetch(store.rows(map(digest, range(7))))
            assert np.array_equal(found, np.stack([row(n) for n in range(7)]).astype(np.float16))
    assert np.array_equal(early.fetch([0, 2, 5]), before)  # who reads meanwhile is not disturbed
    assert capsys.readouterr().out == ""


def test_a_damaged_record_costs_its_row_alone(tmp_path):
    fill(tmp_path, range(5))
    with (tmp_path / "features-00000.idx").open("rb+") as file:
        file.seek(2 * RECORD_BYTES + 7)
        file.write(b"?")
    with FeatureStore.create(tmp_path, META) as store:
        assert [key for key, _ in store.keys] == [digest(n) for n in (0, 1, 3, 4)]
        add(store, [2])


def test_without_a_check_only_the_last_file_is_looked_at(tmp_path):
    fill(tmp_path, range(5), shard_rows=2)
    damage(tmp_path, 1, 2)
    with FeatureStore.create(tmp_path, META) as store:
        assert (len(store), store.dropped) == (5, [])


def test_a_store_that_was_copied_in_part_reads_as_the_rows_it_has(tmp_path, capsys):
    whole = contents(fill(tmp_path, range(7), shard_rows=2).folder)
    second = tmp_path / "features-00001.bin"
    second.write_bytes(second.read_bytes()[: ROW_BYTES + 3])
    assert [key for key, _ in FeatureStore.open(tmp_path).keys] == [digest(n) for n in range(3)]
    with FeatureStore.create(tmp_path, META) as store:
        add(store, range(3, 7))
    assert contents(tmp_path) == whole
    told = "removed 3 features that are damaged or follow a truncated file"
    assert told in capsys.readouterr().out


@pytest.mark.parametrize("shard_rows", [1000, 2])
def test_a_damaged_row_is_told_when_it_is_fetched(tmp_path, shard_rows):
    fill(tmp_path, range(5), shard_rows)
    data = damage(tmp_path, 3, shard_rows, b"\x00\x7c")  # infinity
    store = FeatureStore.open(tmp_path)
    store.fetch([0, 4, 2, 4])
    remedy = f"imagetext data features ROOT --encoder tiny --output grid --to {tmp_path} --check"
    told = f"{data.name}: row {3 % shard_rows} is damaged.*: {remedy}$"
    for _ in range(2):
        with pytest.raises(UserError, match=told):
            store.fetch([0, 3])


WRITER = """
import sys
from pathlib import Path
from tests.pipelines.test_feature_store import META, ROW_BYTES, FeatureStore, add
with FeatureStore.create(Path(sys.argv[1]), META, 500 * ROW_BYTES) as store:
    print("go", flush=True)
    while len(store) < int(sys.argv[2]):
        add(store, range(len(store), min(len(store) + 3, int(sys.argv[2]))))
"""


def test_killed_at_random_moments_it_equals_the_undisturbed_one(tmp_path):
    rng, rows, seen = random.Random(0), 3000, []
    command = [sys.executable, "-c", WRITER, str(tmp_path / "killed"), str(rows)]
    for _ in range(5):
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
        assert writer.stdout.readline() == b"go\n"
        time.sleep(rng.uniform(0, 0.05))
        writer.kill()
        writer.communicate()
        seen.append(len(FeatureStore.open(tmp_path / "killed")))
    assert sorted(seen) == seen and seen[-1] > 0
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    undisturbed = fill(tmp_path / "undisturbed", range(rows), shard_rows=500)
    assert contents(tmp_path / "killed") == contents(undisturbed.folder)


def test_a_second_writer_is_told_of_the_first(tmp_path):
    command = [sys.executable, "-c", WRITER + "    sys.stdin.read()", str(tmp_path), "3"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as writer:
        assert writer.stdout.readline() == b"go\n"
        with pytest.raises(UserError, match=rf"process {writer.pid} is adding features.*wait"):
            FeatureStore.create(tmp_path, META)
        writer.stdin.close()
    fill(tmp_path, [9])


def test_readers_see_whole_rows_while_another_process_appends(tmp_path):
    rows = 3000
    command = [sys.executable, "-c", WRITER, str(tmp_path), str(rows)]
    lengths = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as writer:
        assert writer.stdout.readline() == b"go\n"
        early = FeatureStore.open(tmp_path)
        while not lengths or lengths[-1] < rows:
            store = FeatureStore.open(tmp_path)
            lengths.append(len(store))
            if len(store):
                chosen = sorted({0, len(store) // 2, len(store) - 1})
                expected = np.stack([row(number) for number in chosen]).astype(np.float16)
                assert np.array_equal(store.fetch(chosen), expected)
    assert len(set(lengths)) > 2  # it did grow under our eyes
    assert lengths == sorted(lengths)
    assert len(early) <= lengths[0]
    if len(early):
        assert np.array_equal(early.fetch([0])[0], row(0).astype(np.float16))


def test_a_full_disk_is_told_and_what_was_there_stays(tmp_path, monkeypatch):
    before = contents(fill(tmp_path, [1, 2]).folder)

    def refuse(file, content):
        with file.open("ab") as opened:
            opened.write(bytes(content)[:7])
        raise feature_store.cannot_write(file, OSError(28, "No space left on device"))

    with FeatureStore.create(tmp_path, META) as store:
        monkeypatch.setattr(feature_store, "_append_bytes", refuse)
        with pytest.raises(UserError, match="the disk is full"):
            add(store, [3])
    monkeypatch.undo()
    assert len(FeatureStore.open(tmp_path)) == 2
    with FeatureStore.create(tmp_path, META):
        assert contents(tmp_path) == before
