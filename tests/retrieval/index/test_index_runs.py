"""What the command line calls, with a toy model."""

import types

import pytest
from PIL import Image

from imagetext.errors import DataError, UserError
from imagetext.retrieval.index import runs
from imagetext.retrieval.index.build import remove
from imagetext.retrieval.index.check import check
from tests.retrieval.index.toy import COLOURS, Toy, write_photo


@pytest.fixture
def toy_run(tmp_path, monkeypatch):
    made = Toy()
    made.config = types.SimpleNamespace(data=types.SimpleNamespace(from_pixels=True))
    (tmp_path / "runs" / "toy").mkdir(parents=True)
    loaded = []
    monkeypatch.setattr(
        runs, "_load_model", lambda run, compiled=True: loaded.append(str(run)) or made
    )
    for number, colour in enumerate(list(COLOURS) * 3):
        write_photo(tmp_path / "photos" / f"{colour}-{number}.png", number, colour)
    return tmp_path / "runs" / "toy", loaded


def test_an_index_is_built_extended_and_searched_with_its_run(toy_run, tmp_path, monkeypatch):
    run, loaded = toy_run
    monkeypatch.chdir(tmp_path)
    done = runs.build_index("runs/toy", "photos", "index")
    assert done.summary.startswith("9 photos (9 new), exact, ")
    extra = write_photo(tmp_path / "green \udcff.png", 50, "green")
    assert runs.add_to_index("index", [extra]).added == 1
    monkeypatch.chdir("/")
    search = runs.open_search(tmp_path / "index")
    assert loaded == ["runs/toy", str(run), str(run)]
    hits = search.search("green", top=4)
    lines = runs.as_text(hits).splitlines()
    assert len(lines) == 4 and all("green" in line for line in lines)
    assert lines[0].split()[0] == "1" and float(lines[0].split()[1]) > 0.9
    "\n".join(lines).encode()


def test_mistyped_names_are_reported_before_a_model_is_loaded(toy_run, tmp_path):
    run, loaded = toy_run
    with pytest.raises(UserError, match="fotos: no such folder; expected a folder of photos"):
        runs.build_index(run, tmp_path / "fotos", tmp_path / "index")
    (tmp_path / "a.jpg").write_bytes(b"a")
    with pytest.raises(UserError, match=r"a.jpg: is a file, but an index is a folder.* --to"):
        runs.build_index(run, tmp_path / "photos", tmp_path / "a.jpg")
    with pytest.raises(UserError, match="photos: contains other files; choose an index or a new"):
        runs.build_index(run, tmp_path / "photos", tmp_path / "photos")
    assert loaded == [] and not (tmp_path / "index").exists()


def test_summaries_of_one_photo_and_of_none(toy_run, tmp_path):
    run, _ = toy_run
    index, photo = tmp_path / "index", write_photo(tmp_path / "one" / "one.png", 1)
    done = runs.build_index(run, photo.parent, index)
    assert done.summary.startswith("1 photo (1 new), ")
    assert check(index).summary == "1 photo in 1 file: no problems"
    gone = remove(index, [photo])
    assert gone.summary.startswith("0 photos (1 removed), ")
    actual = runs.as_text(runs.open_search(index).search("red"))
    assert actual == "Nothing found: the index contains no photos."


def test_a_missing_run_is_reported(toy_run, tmp_path):
    run, loaded = toy_run
    runs.build_index(run, tmp_path / "photos", tmp_path / "index")
    run.rmdir()
    for ask in (
        lambda: runs.open_search(tmp_path / "index"),
        lambda: runs.add_to_index(tmp_path / "index", [tmp_path / "photos"]),
    ):
        with pytest.raises(
            UserError, match=r"cannot find the run .*runs/toy\); name it with --run"
        ):
            ask()
    assert runs.open_search(tmp_path / "index", "elsewhere").search("red")
    assert loaded[-1] == "elsewhere"


def test_the_photo_of_a_query_must_be_readable(tmp_path):
    Image.new("RGB", (3, 3)).save(tmp_path / "a.png")
    assert runs.read_photo(tmp_path / "a.png").startswith(b"\x89PNG")
    with pytest.raises(DataError, match=r"No such file.*name a photo"):
        runs.read_photo(tmp_path / "b.png")
    with pytest.raises(UserError, match="is not a file"):
        runs.read_photo(tmp_path)
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff no more")
    with pytest.raises(DataError, match=r"bad\.jpg: a damaged or truncated JPEG; name a photo"):
        runs.read_photo(tmp_path / "bad.jpg")
