"""What `imagetext serve` starts, and the mistakes it reports before anything is loaded."""

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
from imagetext.serving.app import create_app
from imagetext.serving.loading import Stopped
from imagetext.serving.sample import (
    sample_examples,
    sample_notice,
    sample_services,
    trained_run,
)
from imagetext.serving.serve import TOKEN, build, read_token, serve
from imagetext.serving.settings import ServerSettings
from imagetext.task import get_task, resolve, served_tasks
from tests.retrieval.index.toy import Toy, write_photo

from .served import Served, wait_until


def quiet(done: float, message: str) -> None:
    """Progress that nobody sees."""


def test_something_must_be_served():
    with pytest.raises(UserError, match="--sample"):
        build()


def test_a_folder_that_is_not_a_trained_run_is_reported(tmp_path):
    with pytest.raises(UserError, match="not a run"):
        build({"caption": {"run": str(tmp_path / "none")}})
    (tmp_path / "config.yaml").write_text("task: itm\n")
    with pytest.raises(UserError, match="training has not finished"):
        build({"match": {"run": str(tmp_path)}})


def test_a_run_of_another_task_is_reported(tmp_path):
    (tmp_path / "config.yaml").write_text("task: itm\n")
    (tmp_path / "model.keras").write_text("")
    with pytest.raises(UserError, match="expected a captioning run"):
        build({"caption": {"run": str(tmp_path)}})


def test_every_service_of_a_task_fits_the_app():
    roles = inspect.signature(create_app).parameters
    for role, task in served_tasks().items():
        assert role in roles
        assert "progress" in inspect.signature(resolve(task.service.open)).parameters


def test_the_error_for_an_index_whose_run_has_moved_names_the_option(tmp_path):
    photos = list_photos(write_photo(tmp_path / "photos" / "red.png", 1, "red").parent)
    build_index(Toy(), photos, tmp_path / "index", run=str(tmp_path / "gone"))
    with pytest.raises(UserError, match=r"gone\); name it with --retrieval"):
        build({"search": {"index": str(tmp_path / "index")}})


def test_an_unknown_host_is_reported(tmp_path):
    (tmp_path / "config.yaml").write_text("task: itm\n")
    (tmp_path / "model.keras").write_text("")
    with pytest.raises(UserError, match=r"--host: no\.such\.host\.invalid: no such address"):
        serve(build({"match": {"run": str(tmp_path)}}), host="no.such.host.invalid")


def test_a_port_in_use_is_reported_with_another(tmp_path):
    (tmp_path / "config.yaml").write_text("task: itm\n")
    (tmp_path / "model.keras").write_text("")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port + 1}"):
            serve(build({"match": {"run": str(tmp_path)}}), port=port)


def test_the_token_may_come_from_the_environment(monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    assert read_token(None) is None
    monkeypatch.setenv(TOKEN, "hidden")
    assert read_token(None) == "hidden" and read_token("shown") == "shown"
    with pytest.raises(UserError, match="--token"):
        read_token("two words")


def test_the_defaults_are_for_this_machine_alone():
    assert inspect.signature(serve).parameters["host"].default == "127.0.0.1"
    assert ServerSettings().hosts == () and ServerSettings().token is None


def test_examples_are_scenes_with_sentences():
    examples = sample_examples()
    assert len(examples.photos) == len(examples.sentences) == sample.PHOTOS
    for data in examples.photos.values():
        assert Image.open(io.BytesIO(data)).size == (PIXELS, PIXELS)
    assert examples == sample_examples()


def test_a_trained_sample_is_reused(tmp_path, monkeypatch):
    def forbidden(*args, **options):
        raise AssertionError("trains")

    monkeypatch.setattr(sample, "start", forbidden)
    with pytest.raises(AssertionError):
        trained_run(get_task("itm"), tmp_path, quiet)
    (log,) = tmp_path.glob("itm-*.log")
    run = log.with_suffix("")
    assert run.name.startswith(f"itm-{VERSION}-")
    run.mkdir()
    (run / "model.keras").write_text("")
    assert trained_run(get_task("itm"), tmp_path, quiet) == run


def trainer(script: str):
    """A replacement for the training process; `script` can use `run`, its folder, and `words`."""

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


def test_the_progress_of_training_is_reported(tmp_path, monkeypatch):
    reports = []
    monkeypatch.setattr(sample, "start", trainer(TRAINS))
    run = trained_run(get_task("itm"), tmp_path, lambda *report: reports.append(report))
    assert (run / "model.keras").is_file()
    assert reports[0][0] == 0
    done, message = reports[-1]
    assert done == pytest.approx(0.9 * 11 / 22) and "epoch 11 of 22" in message


def test_interrupted_training_is_resumed_or_started_again(tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "start", trainer("sys.exit(3)"))
    with pytest.raises(UserError, match=r"see .*\.log"):
        trained_run(get_task("itm"), tmp_path, quiet)
    run = next(tmp_path.glob("itm-*.log")).with_suffix("")
    (run / "checkpoints").mkdir(parents=True)
    monkeypatch.setattr(sample, "start", trainer("(run / 'model.keras').write_text(str(words))"))
    (run / "checkpoints" / "last.npz").write_text("")
    trained_run(get_task("itm"), tmp_path, quiet)
    assert "--resume" in (run / "model.keras").read_text()
    (run / "model.keras").unlink()
    (run / "checkpoints" / "last.npz").unlink()
    new = "run.mkdir(); (run / 'model.keras').write_text(str(words))"
    monkeypatch.setattr(sample, "start", trainer(new))
    trained_run(get_task("itm"), tmp_path, quiet)
    assert "--resume" not in (run / "model.keras").read_text()


def test_one_of_two_servers_trains_and_the_other_waits(tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "start", trainer(TRAINS))
    messages = []

    def serve_sample():
        return trained_run(
            get_task("itm"), tmp_path, lambda done, message: messages.append(message)
        )

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(serve_sample), pool.submit(serve_sample)
        assert first.result(60) == second.result(60)
    assert any("waiting for another" in message for message in messages)


def test_a_server_that_is_stopped_ends_its_training(tmp_path, monkeypatch):
    processes = []

    def stop(done, message):
        raise Stopped

    def start(*args, **options):
        processes.append(trainer("time.sleep(600)")(*args, **options))
        return processes[-1]

    monkeypatch.setattr(sample, "start", start)
    with pytest.raises(Stopped):
        trained_run(get_task("itm"), tmp_path, stop)
    assert processes[0].returncode is not None


SERVER = """
import sys, time
from pathlib import Path
from imagetext.serving import sample
from imagetext.task import get_task, resolve, served_tasks
sample.ROOT = Path(sys.argv[1])
sample.trained_run(get_task("itm"), Path(sys.argv[1]), lambda done, message: None)
"""
#: A replacement for the package, which writes its process id and never ends.
ENDLESS = """
import os, pathlib, sys, time
pathlib.Path(__file__).with_name("pid").write_text(str(os.getpid()) + " " + sys.argv[1])
time.sleep(600)
"""


def test_training_ends_with_its_server_even_if_that_is_killed(tmp_path):
    (tmp_path / "imagetext.py").write_text(ENDLESS)
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(sample.__file__).parents[2])},
    )
    try:
        wait_until(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text())
        process, verb = (tmp_path / "pid").read_text().split()
        assert verb == "train"
    finally:
        server.kill()
        server.wait()
    wait_until(lambda: not Path(f"/proc/{process}").exists())


def test_a_download_is_announced(monkeypatch):
    monkeypatch.setattr(sample, "locate", lambda name: None)
    monkeypatch.setattr(sample, "offline", lambda: False)
    assert "downloaded" in sample_notice() and " MB" in sample_notice()
    monkeypatch.setattr(sample, "offline", lambda: True)
    assert "only knows the sentences" in sample_notice()
    monkeypatch.setattr(sample, "locate", Path)
    assert sample_notice() == ""


@pytest.mark.slow
def test_the_sample_is_trained_and_served():
    """Takes minutes of training."""
    import httpx2 as httpx

    services, examples = sample_services(cache_folder() / "serve-sample"), sample_examples()
    with Served(**services, examples=examples) as served:
        while not (ready := httpx.get(f"{served.url}/readyz").json())["ready"]:
            assert all(part["state"] != "failed" for part in ready["parts"]), ready
            time.sleep(1)
        id, sentence = next(iter(examples.photos)), examples.sentences[0]
        body = {"photo_id": id, "maps": True}
        best = httpx.post(f"{served.url}/v1/caption", json=body, timeout=60).json()["captions"][0]
        assert set(best["text"].split()) & {"circle", "square", "star"}
        assert best["words"][0]["map"]
        body = {"photo_id": id, "text": sentence, "regions": True}
        answer = httpx.post(f"{served.url}/v1/match", json=body, timeout=60).json()
        assert answer["probability"] > 0.5 and answer["regions"]["rows"] == 8
