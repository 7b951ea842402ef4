"""Writers that are killed, and concurrent readers, in separate processes."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from imagetext.errors import UserError
from imagetext.retrieval.index import build as building
from imagetext.retrieval.index.build import add, build, remove
from imagetext.retrieval.index.journal import EncodedFile, Journal
from imagetext.retrieval.index.manifest import ADDING, BUILDING
from imagetext.retrieval.index.reader import Index
from tests.retrieval.index.toy import Toy, contents, listed, said, some_queries, write_photos

ROOT = Path(__file__).parents[3]
WRITER = """
import sys, time
from pathlib import Path
from imagetext.retrieval.index import build, encoding
from tests.retrieval.index.toy import Toy, listed

class Slow(Toy):
    def encode_photo_bytes(self, photos):
        time.sleep(0.02)
        return super().encode_photo_bytes(photos)

encoding._CHUNK = 4
print("go", flush=True)
getattr(build, sys.argv[1])(Slow(), listed(Path(sys.argv[2])), sys.argv[3])
print("done", flush=True)
"""


def start(verb: str, photos: Path, index: Path, code: str = WRITER) -> subprocess.Popen:
    command = [sys.executable, "-c", code, verb, str(photos), str(index)]
    writer = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert writer.stdout.readline() == "go\n"
    return writer


def kill_at_work(writer: subprocess.Popen, journal: Path, rng: random.Random) -> int:
    """Kill the writer after it has encoded more photos; returns how many in total."""
    lines = journal / "files.jsonl"

    def written() -> int:
        return len(lines.read_bytes().splitlines()) if lines.exists() else 0

    before = written()
    while written() <= before + 1:  # a torn line is cut off first
        assert writer.poll() is None, writer.communicate()
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.05))
    writer.kill()
    writer.communicate()
    return written()


def test_a_build_killed_repeatedly_equals_an_undisturbed_one(tmp_path):
    photos, rng, progress = write_photos(tmp_path / "photos", range(400)), random.Random(1), []
    index = tmp_path / "killed"
    for _ in range(5):
        writer = start("build", photos, index)
        progress.append(kill_at_work(writer, index / BUILDING, rng))
        assert not (index / "index.json").exists()
    assert progress == sorted(progress) and 0 < progress[-1] < 400
    encoder = Toy()
    build(encoder, listed(photos), index)
    assert 0 < encoder.encoded <= 400 - progress[-1] + 1  # the last line may have been torn
    build(Toy(), listed(photos), tmp_path / "undisturbed")
    assert contents(index) == contents(tmp_path / "undisturbed")


def test_an_add_killed_repeatedly_neither_loses_nor_duplicates(tmp_path):
    photos, rng = write_photos(tmp_path / "photos", range(300)), random.Random(2)
    index, paths = tmp_path / "index", listed(write_photos(tmp_path / "photos", range(300)))
    build(Toy(), dict(list(paths.items())[:50]), index)
    asked = said(index, some_queries())
    for _ in range(4):
        kill_at_work(start("add", photos, index), index / ADDING, rng)
        assert said(index, some_queries()) == asked
    encoder = Toy()
    assert add(encoder, paths, index).added == 250
    assert encoder.encoded < 250
    build(Toy(), paths, tmp_path / "anew")
    assert said(index, some_queries(), 300) == said(tmp_path / "anew", some_queries(), 300)


DIES = """
import os, shutil, sys
from pathlib import Path
from imagetext.retrieval.index import build, edits
from tests.retrieval.index.toy import Toy, listed

verb, photos, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
calls = []

def dying(function):
    def called(*given, **named):
        calls.append(function.__name__)
        if len(calls) == step:
            os._exit(9)
        return function(*given, **named)
    return called

for module in (build, edits):
    for name in ("write_manifest", "new_part", "write_dead", "write_segment", "sweep", "publish"):
        if hasattr(module, name):
            setattr(module, name, dying(getattr(module, name)))
for step in range(1, 20):
    index = folder / f"index-{step}"
    shutil.copytree(folder / "start", index)
    child = os.fork()
    if not child:
        if verb == "remove":
            build.remove(index, [photos])
        else:
            getattr(build, verb)(Toy(), listed(photos), index)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(step, code, flush=True)
    if code != 9:
        break
"""


@pytest.mark.parametrize("verb", ["build", "add", "remove"])
def test_dying_at_any_step_leaves_the_old_version_or_the_new(verb, tmp_path):
    """The process dies just before each step of writing in turn; then the command is repeated."""
    photos = write_photos(tmp_path / "photos", range(8))
    old = listed(write_photos(tmp_path / "old", range(100, 116)))
    build(Toy(), dict(old) | listed(photos) if verb == "remove" else old, tmp_path / "start")
    before = said(tmp_path / "start", some_queries(), 50)
    expected = {"build": listed(photos), "add": old | listed(photos), "remove": old}[verb]
    build(Toy(), expected, tmp_path / "expected")
    after = said(tmp_path / "expected", some_queries(), 50)
    command = [sys.executable, "-c", DIES, verb, str(photos), str(tmp_path)]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    codes = [int(line.split()[1]) for line in output.splitlines()]
    assert len(codes) > 3 and codes == [9] * (len(codes) - 1) + [0]
    left = []
    for step in range(1, len(codes) + 1):
        index = tmp_path / f"index-{step}"
        left.append(said(index, some_queries(), 50))
        if verb != "remove":
            getattr(building, verb)(Toy(), listed(photos), index)
        elif left[-1] == before:
            remove(index, [photos])
        assert said(index, some_queries(), 50) == after
        with Index.open(index) as opened:
            names = {segment.folder.name for segment in opened.segments}
        if verb != "remove":
            assert {path.name for path in (index / "segments").iterdir()} == names
    switched = left.index(after)
    assert left == [before] * switched + [after] * (len(left) - switched) and switched > 0


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_a_truncated_journal_keeps_complete_rows(tmp_path, cut):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((5, 3)).astype(np.float32)
    seen = [EncodedFile(f"{n}.png", 10, n, bytes([n % 4]) * 32, vectors[n % 4]) for n in range(5)]
    with Journal(tmp_path / "journal", "toy", 3) as journal:
        journal.append(seen[:2])
        journal.append(seen[2:])
    for name in ("files.jsonl", "vectors.f32"):
        file = tmp_path / "journal" / name
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) - cut])
        with Journal(tmp_path / "journal", "toy", 3) as journal:
            kept = len(journal.files)
            assert kept < 5 or cut == 0
            assert list(journal.files) == [f"{n}.png" for n in range(kept)]
            for one in seen[:kept]:
                np.testing.assert_array_equal(journal.vector(one.digest), one.vector)
            journal.append(seen[kept:])
            assert journal.vectors().tolist() == vectors[:4].tolist()
        assert file.read_bytes() == whole


def test_rows_that_never_reached_the_disk_are_discarded(tmp_path):
    """As after a power failure: the lines exist, but zeros are in place of vectors."""
    seen = [EncodedFile(f"{n}.png", 1, 1, bytes([n]) * 32, np.full(3, n + 1.0)) for n in range(4)]
    with Journal(tmp_path / "journal", "toy", 3) as journal:
        journal.append(seen)
    with (tmp_path / "journal" / "vectors.f32").open("rb+") as file:
        file.seek(2 * 12)
        file.write(bytes(12))
    with Journal(tmp_path / "journal", "toy", 3) as journal:
        assert list(journal.files) == ["0.png", "1.png"] and len(journal) == 2


def test_readers_see_complete_versions_during_changes(tmp_path):
    """A writer alternates between two sets of photos; a reader sees one or the other."""
    code = WRITER.partition("class Slow")[0] + (
        "print('go', flush=True)\n"
        "for number in range(20):\n"
        "    photos = Path(sys.argv[2]) / ('even', 'odd')[number % 2]\n"
        "    build.build(Toy(), listed(photos), sys.argv[3])\n"
    )
    index, photos = tmp_path / "index", tmp_path / "photos"
    write_photos(photos / "even", range(0, 60, 2))
    write_photos(photos / "odd", range(1, 30, 2))
    expected = []
    for name in ("even", "odd"):
        build(Toy(), listed(photos / name), tmp_path / name)
        expected.append(said(tmp_path / name, some_queries(), 50))
    build(Toy(), listed(photos / "even"), index)
    early, versions = Index.open(index), set()
    writer = start("build", photos, index, code)
    while writer.poll() is None:
        with Index.open(index) as opened:
            versions.add(opened.manifest.version)
            time.sleep(0.002)
            [hits] = opened.search(some_queries(1), 50)
            rounded = [(h.id, round(h.score, 4), sorted(h.paths), h.captions) for h in hits]
            assert rounded in (expected[0][0], expected[1][0])
    assert writer.communicate()[1] == "" and writer.returncode == 0
    assert len(versions) > 2 and max(versions) > early.manifest.version
    # Who holds the first version goes on with it, and its files stay as long.
    assert not early.is_current and len(early.search(some_queries(1), 50)[0]) == 30
    held = early.segments[0].folder
    assert held.exists() and len(list((index / "segments").iterdir())) <= 3  # one just closed
    early.close()
    build(Toy(), listed(photos / "odd"), index)
    assert not held.exists() and len(list((index / "segments").iterdir())) == 1


def test_a_second_writer_is_refused(tmp_path):
    photos = write_photos(tmp_path / "photos", range(4))
    code = WRITER.replace("time.sleep(0.02)", "print('in', flush=True); time.sleep(60)")
    writer = start("build", photos, tmp_path / "index", code)
    assert writer.stdout.readline() == "in\n"
    for change in (
        lambda: build(Toy(), listed(photos), tmp_path / "index"),
        lambda: build(Toy("other"), listed(photos), tmp_path / "index"),
    ):
        with pytest.raises(UserError, match=f"process {writer.pid} is writing this index; wait"):
            change()
    os.kill(writer.pid, 9)
    writer.communicate()
    assert build(Toy(), listed(photos), tmp_path / "index").meta["photos"] == 4
