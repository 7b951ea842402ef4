"""Small models for a first look, trained on the built-in scenes: `imagetext serve --sample`.

parts = sample_services(folder=cache_folder() / "serve-sample")
app = create_app(**parts, examples=sample_examples())

Each is trained once, in a process of its own, and found again the next time; one that was stopped
half-way goes on where it was. Of several servers one trains, and the others wait for it.
"""

import contextlib
import csv
import fcntl
import hashlib
import io
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from imagetext.encoders.weight_files import KNOWN
from imagetext.encoders.weights import located, offline
from imagetext.errors import UserError
from imagetext.files import cache_folder
from imagetext.pipelines.embeddings import MINILM
from imagetext.pipelines.sample import VERSION, draw, known_scenes, write_sample
from imagetext.serving.answers import Examples
from imagetext.serving.loading import Opens, Tell
from imagetext.terminal import quiet_tensorflow
from imagetext.training.config_files import read_yaml, shipped_configs
from imagetext.training.run import Run

#: The folder that holds the package imagetext: a checkout, or site-packages.
ROOT = Path(__file__).resolve().parents[2]
#: The configurations of the sample, by their shipped names.
CONFIGS = {
    "captioner": "captioning/sample",
    "matcher": "itm/sample",
    "searcher": "retrieval/sample",
}
#: What training leaves out here: controls are for reports.
OPTIONS = {"captioner": [], "matcher": ["--report.controls=false"], "searcher": []}
#: The share of the progress bar that training takes.
TRAINING = 0.9
PHOTOS = 8
#: A training ends with the server that began it, however that ended: only the server holds the
#: other end of its standard input.
LEASH = """
import os, runpy, sys, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
sys.path[0] = sys.argv.pop(1)
runpy.run_module("imagetext", run_name="__main__", alter_sys=True)
"""
start = subprocess.Popen


def sample_services(folder: Path | None = None) -> dict[str, Opens]:
    """Arguments of `create_app` that train or load the sample's models."""

    def captioner(tell: Tell):
        run = _run("captioner", folder, tell)
        quiet_tensorflow()
        from imagetext.serving.services import CaptioningRun

        return CaptioningRun.open(str(run), tell)

    def matcher(tell: Tell):
        run = _run("matcher", folder, tell)
        quiet_tensorflow()
        from imagetext.serving.services import MatchingRun

        return MatchingRun.open(str(run), tell)

    def searcher(tell: Tell):
        run = _run("searcher", folder, tell)
        index = run.with_suffix(".index")
        quiet_tensorflow()
        from imagetext.retrieval.index.runs import build_index
        from imagetext.serving.services import PhotoIndex

        with _alone(index.with_suffix(".index.lock"), tell):
            if not (index / "index.json").is_file():
                tell(TRAINING, "looks at the sample's scenes")
                scenes = write_sample(cache_folder() / f"sample-{VERSION}")
                build_index(run, scenes, index)
        return PhotoIndex.open(str(index), str(run), tell)

    return {
        "captioner": Opens(captioner),
        "matcher": Opens(matcher),
        "searcher": Opens(searcher),
    }


def needs() -> str:
    """What the first look takes, in words; empty where all of it is there."""
    file = f"{MINILM}/model.safetensors"
    if located(file):
        return ""
    size = f"about {KNOWN[file].megabytes} MB"
    if offline():
        return f"--sample: matching knows its own sentences only, as {MINILM} is not at hand"
    return f"--sample: also fetches {MINILM} ({size}, once), by which free sentences are matched"


def sample_examples() -> Examples:
    """A few scenes that training has not seen drawn like this, and sentences of theirs."""
    rng = random.Random("examples of the page")
    photos, sentences = {}, []
    for scene in rng.sample(known_scenes(), PHOTOS):
        written = io.BytesIO()
        draw(scene, rng).save(written, "PNG")
        photos[hashlib.sha256(written.getvalue()).hexdigest()[:16]] = written.getvalue()
        sentences.append(scene.captions[0])
    return Examples(photos, tuple(sentences))


def _config(name: str) -> Path:
    return shipped_configs()[CONFIGS[name]]


def _run(name: str, folder: Path | None, tell: Tell) -> Path:
    """The trained run, which is made first if it is not there."""
    config = _config(name)
    digest = hashlib.sha256(config.read_bytes()).hexdigest()[:8]
    folder = folder or cache_folder() / "serve-sample"
    run = Run(folder / f"{name}-{VERSION}-{digest}")
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(run.folder.with_suffix(".lock"), tell) as lock:
        if not run.model_file.is_file():
            _train(name, run, lock, tell)
    return run.folder


@contextlib.contextmanager
def _alone(file: Path, tell: Tell) -> Iterator[BinaryIO]:
    """Wait until no other process is in here."""
    with file.open("ab") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                tell(0.0, "waits for another server, which trains it")
                time.sleep(0.5)
        yield lock


def _train(name: str, run: Run, lock: BinaryIO, tell: Tell) -> None:
    """Begin, or go on with, a training in a process that holds the lock too: should this one end
    before it, nobody else begins meanwhile."""
    started = (run.checkpoints / "last.npz").is_file()
    words = [str(run.folder), "--resume"] if started else _new(name, run)
    log = run.folder.with_suffix(".log")
    with log.open("ab") as written:
        process = start(
            [sys.executable, "-c", LEASH, str(ROOT), "train", *words],
            stdin=subprocess.PIPE,
            stdout=written,
            stderr=subprocess.STDOUT,
            pass_fds=[lock.fileno()],
        )
    with process:
        try:
            _watch(process, run, _config(name), tell)
        finally:
            process.terminate()
    if process.returncode or not run.model_file.is_file():
        raise UserError(f"training the sample's {name} failed -- {log} says why")


def _new(name: str, run: Run) -> list[str]:
    """Words of `imagetext train`; a folder that holds no checkpoint yet is begun anew."""
    if run.folder.is_dir():
        run.folder.rename(run.folder.with_name(f"{run.folder.name}.{time.time_ns()}"))
    here = [f"--run.folder={run.folder.parent}", f"--run.name={run.folder.name}"]
    return [str(_config(name)), *here, *OPTIONS[name]]


def _watch(process: subprocess.Popen, run: Run, config: Path, tell: Tell) -> None:
    """Tell how far training is, by the epochs that its history has."""
    epochs = read_yaml(config)["train"]["epochs"]
    told = (0.0, "trains on the built-in sample (once, some minutes)")
    while process.poll() is None:
        history, done = run.folder / "history.csv", 0
        if history.is_file():
            with history.open(newline="") as file:
                done = sum(1 for _ in csv.DictReader(file))
        if done:
            told = TRAINING * done / epochs, f"trains on the built-in sample: epoch {done}/{epochs}"
        tell(*told)
        time.sleep(0.5)
