"""What `imagetext serve` starts with, and the mistakes it tells before anything is loaded."""

import inspect
import io
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from imagetext.errors import UserError
from imagetext.files import cache_folder
from imagetext.pipelines.sample import PIXELS, VERSION
from imagetext.retrieval.index.build import build as build_index
from imagetext.retrieval.index.listing import list_photos
from imagetext.serving import sample
from imagetext.serving.loading import Stopped
from imagetext.serving.sample import sample_examples, sample_services
from imagetext.serving.serve import TOKEN, build, serve, token_given
from imagetext.serving.settings import Settings
from tests.retrieval.index.toy import Toy, write_photo


def test_something_must_be_given():
    with pytest.raises(UserError, match="--sample"):
        build()


def test_what_is_no_run_is_told_at_once(tmp_path):
    with pytest.raises(UserError, match="not a run"):
        build(caption=str(tmp_path / "none"))
    (tmp_path / "config.yaml").write_text("task: itm\n")
    with pytest.raises(UserError, match="not trained"):
        build(match=str(tmp_path))


def test_an_index_whose_run_has_moved_is_told_at_once_with_the_option_for_it(tmp_path):
    photos = list_photos(write_photo(tmp_path / "photos" / "red.png", 1, "red").parent)
    build_index(Toy(), photos, tmp_path / "index", run=str(tmp_path / "gone"))
    with pytest.raises(UserError, match=r"gone, which is not there -- .* --retrieval"):
        build(index=str(tmp_path / "index"))


def test_an_address_that_there_is_not_is_told(tmp_path):
    (tmp_path / "config.yaml").write_text("task: itm\n")
    (tmp_path / "model.keras").write_text("")
    with pytest.raises(UserError, match=r"--host: no\.such\.host\.invalid -- no such address"):
        serve(build(match=str(tmp_path)), host="no.such.host.invalid")


def test_a_port_that_is_taken_is_told_with_another(tmp_path):
    (tmp_path / "config.yaml").write_text("task: itm\n")
    (tmp_path / "model.keras").write_text("")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port + 1}"):
            serve(build(match=str(tmp_path)), port=port)


def test_the_token_may_come_from_the_environment(monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    assert token_given(None) is None
    monkeypatch.setenv(TOKEN, "hidden")
    assert token_given(None) == "hidden" and token_given("shown") == "shown"
    with pytest.raises(UserError, match="--token"):
        token_given("two words")


def test_settings_are_for_this_machine_alone():
    assert inspect.signature(serve).parameters["host"].default == "127.0.0.1"
    assert Settings().hosts == () and Settings().token is None


def test_examples_are_scenes_with_their_sentences():
    found = sample_examples()
    assert len(found.photos) == len(found.sentences) == sample.PHOTOS
    for data in found.photos.values():
        assert Image.open(io.BytesIO(data)).size == (PIXELS, PIXELS)
    assert found == sample_examples()


def test_a_trained_sample_is_found_again(tmp_path, monkeypatch):
    def forbidden(*args, **options):
        raise AssertionError("trains")

    monkeypatch.setattr(sample, "start", forbidden)
    with pytest.raises(AssertionError):
        sample._run("matcher", tmp_path, lambda done, told: None)
    (log,) = tmp_path.glob("matcher-*.log")
    run = log.with_suffix("")
    assert run.name.startswith(f"matcher-{VERSION}-")
    run.mkdir()
    (run / "model.keras").write_text("")
    assert sample._run("matcher", tmp_path, lambda done, told: None) == run


def trainer(script: str):
    """A process in place of the training's: `script` knows `run`, its folder."""

    def start(words, **options):
        name = next((w for w in words if w.startswith("--run.name=")), None)
        if name is None:
            run = words[words.index("train") + 1]
        else:
            folder = next(w for w in words if w.startswith("--run.folder="))
            run = str(Path(folder.partition("=")[2]) / name.partition("=")[2])
        head = f"import pathlib, sys, time; run = pathlib.Path({run!r})\nwords = {words!r}\n"
        return subprocess.Popen([sys.executable, "-c", head + script], **options)

    return start


TRAINS = """
(run / "checkpoints").mkdir(parents=True)
(run / "history.csv").write_text("epoch,loss\\n" + "".join(f"{n},1\\n" for n in range(11)))
time.sleep(1.5)
(run / "model.keras").write_text("")
"""


def test_training_tells_how_far_it_is(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(sample, "start", trainer(TRAINS))
    run = sample._run("matcher", tmp_path, lambda done, words: told.append((done, words)))
    assert (run / "model.keras").is_file()
    assert told[0][0] == 0
    done, words = told[-1]
    assert done == pytest.approx(0.9 * 11 / 22) and "epoch 11/22" in words


def test_training_that_was_stopped_goes_on_or_begins_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "start", trainer("sys.exit(3)"))
    with pytest.raises(UserError, match=r"\.log says why"):
        sample._run("matcher", tmp_path, lambda done, told: None)
    run = next(tmp_path.glob("matcher-*.log")).with_suffix("")
    (run / "checkpoints").mkdir(parents=True)
    monkeypatch.setattr(sample, "start", trainer("(run / 'model.keras').write_text(str(words))"))
    (run / "checkpoints" / "last.npz").write_text("")
    sample._run("matcher", tmp_path, lambda done, told: None)
    assert "--resume" in (run / "model.keras").read_text()
    (run / "model.keras").unlink()
    (run / "checkpoints" / "last.npz").unlink()
    anew = "run.mkdir(); (run / 'model.keras').write_text(str(words))"
    monkeypatch.setattr(sample, "start", trainer(anew))
    sample._run("matcher", tmp_path, lambda done, told: None)
    assert "--resume" not in (run / "model.keras").read_text()


def test_of_two_servers_one_trains_and_the_other_waits(tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "start", trainer(TRAINS))
    told = []

    def other():
        return sample._run("matcher", tmp_path, lambda done, words: told.append(words))

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(other), pool.submit(other)
        assert first.result(60) == second.result(60)
    assert any("waits for another" in words for words in told)


def test_a_server_that_is_closed_ends_the_training_it_began(tmp_path, monkeypatch):
    begun = []

    def tell(done, told):
        raise Stopped

    def start(*given, **options):
        begun.append(trainer("time.sleep(600)")(*given, **options))
        return begun[-1]

    monkeypatch.setattr(sample, "start", start)
    with pytest.raises(Stopped):
        sample._run("matcher", tmp_path, tell)
    assert begun[0].returncode is not None


SERVER = """
import sys, time
from pathlib import Path
from imagetext.serving import sample
from imagetext.serving.loading import Stopped
sample.ROOT = Path(sys.argv[1])
sample._run("matcher", Path(sys.argv[1]), lambda done, told: None)
"""
#: In place of the package: it says who it is, and never ends.
ENDLESS = """
import os, pathlib, sys, time
pathlib.Path(__file__).with_name("pid").write_text(str(os.getpid()) + " " + sys.argv[1])
time.sleep(600)
"""


def test_a_training_ends_with_its_server_even_if_that_is_killed(tmp_path):
    (tmp_path / "imagetext.py").write_text(ENDLESS)
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(sample.__file__).parents[2])},
    )
    try:
        _until(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text())
        process, verb = (tmp_path / "pid").read_text().split()
        assert verb == "train"
    finally:
        server.kill()
        server.wait()
    _until(lambda: not Path(f"/proc/{process}").exists())


def _until(true) -> None:
    for _ in range(1200):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("never came true")


def test_what_is_still_to_be_fetched_is_said(monkeypatch):
    monkeypatch.setattr(sample, "located", lambda name: None)
    monkeypatch.setattr(sample, "offline", lambda: False)
    assert "fetches" in sample.needs() and " MB" in sample.needs()
    monkeypatch.setattr(sample, "offline", lambda: True)
    assert "own sentences only" in sample.needs()
    monkeypatch.setattr(sample, "located", Path)
    assert sample.needs() == ""


@pytest.mark.slow
def test_the_sample_is_trained_and_served():
    """All of it, from nothing: minutes of training."""
    import httpx2 as httpx

    from .served import Served

    given, examples = sample_services(cache_folder() / "serve-sample"), sample_examples()
    with Served(**given, examples=examples) as served:
        while not (ready := httpx.get(f"{served.url}/readyz").json())["ready"]:
            assert all(part["state"] != "failed" for part in ready["parts"]), ready
            time.sleep(1)
        id, sentence = next(iter(examples.photos)), examples.sentences[0]
        asked = {"photo_id": id, "maps": True}
        best = httpx.post(f"{served.url}/v1/caption", json=asked, timeout=60).json()["captions"][0]
        assert set(best["text"].split()) & {"circle", "square", "star"}
        assert best["words"][0]["map"]
        asked = {"photo_id": id, "text": sentence, "regions": True}
        found = httpx.post(f"{served.url}/v1/match", json=asked, timeout=60).json()
        assert found["probability"] > 0.5 and found["regions"]["rows"] == 8
