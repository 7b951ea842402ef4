"""Small models of the built-in sample, for a first look: `imagetext serve --sample`.

    services = sample_services()
    app = create_app(**services, examples=sample_examples())

Each model is trained once, in a child process, and kept in the cache folder. Interrupted training
is resumed. If several servers start at once, one of them trains and the others wait.
"""

import contextlib
import csv
import fcntl
import functools
import hashlib
import io
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from imagetext.encoders.weight_files import WEIGHT_FILES
from imagetext.encoders.weights import locate, offline
from imagetext.errors import UserError
from imagetext.files import cache_folder
from imagetext.pipelines.embeddings import MINILM
from imagetext.pipelines.sample import VERSION, draw, sample_scenes
from imagetext.serving.loading import LazyService
from imagetext.serving.protocols import Examples
from imagetext.task import Progress, Task, resolve, served_tasks
from imagetext.terminal import quiet_tensorflow
from imagetext.training.config_files import read_yaml, shipped_configs
from imagetext.training.run import Run

#: The folder that holds the package imagetext: a checkout, or site-packages.
ROOT = Path(__file__).resolve().parents[2]
#: The share of the progress bar that training takes.
TRAINING = 0.9
PHOTOS = 8
#: `python -m imagetext`, imported from ROOT whatever the current folder is. It ends as soon as its
#: standard input is closed, which happens when the server ends, in whatever way.
PROGRAM = """
import os, runpy, sys, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
sys.path[0] = sys.argv.pop(1)
runpy.run_module("imagetext", run_name="__main__", alter_sys=True)
"""
start = subprocess.Popen


def sample_services(folder: Path | None = None) -> dict[str, LazyService]:
    """Services for `create_app`, by role; they train the sample's models if necessary."""
    return {
        role: LazyService(functools.partial(_open, task, folder))
        for role, task in served_tasks().items()
        if f"{task.name}/sample" in shipped_configs()
    }


def sample_notice() -> str:
    """What to tell the user about the sentence encoder before starting; empty if it is there."""
    file = f"{MINILM}/model.safetensors"
    if locate(file):
        return ""
    if offline():
        return (
            f"--sample: {MINILM} is not on this machine, so matching only knows the sentences of"
            " the sample"
        )
    size = f"about {WEIGHT_FILES[file].megabytes} MB"
    return f"--sample: {MINILM} will be downloaded ({size}, once) to match any sentence"


def sample_examples() -> Examples:
    """A few newly drawn scenes, none of which was trained on, with a sentence for each."""
    rng = random.Random("examples of the page")
    photos, sentences = {}, []
    for scene in rng.sample(sample_scenes(), PHOTOS):
        buffer = io.BytesIO()
        draw(scene, rng).save(buffer, "PNG")
        photos[hashlib.sha256(buffer.getvalue()).hexdigest()[:16]] = buffer.getvalue()
        sentences.append(scene.captions[0])
    return Examples(photos, tuple(sentences))


def _open(task: Task, folder: Path | None, progress: Progress) -> Any:
    """The service of a task's sample run, trained first if necessary."""
    run = trained_run(task, folder, progress)
    quiet_tensorflow()
    source: dict[str, Any] = {"run": str(run)}
    if task.service.sample_source:
        with _lock(run.with_suffix(".source.lock"), progress):
            source = resolve(task.service.sample_source)(
                run, lambda done, message: progress(TRAINING, message)
            )

    def opening(done: float, message: str) -> None:
        progress(TRAINING + (1 - TRAINING) * done, message)

    return resolve(task.service.open)(**source, progress=opening)


def trained_run(task: Task, folder: Path | None, progress: Progress) -> Path:
    """The folder of a task's sample run, trained first if necessary."""
    config = _config(task)
    digest = hashlib.sha256(config.read_bytes()).hexdigest()[:8]
    folder = folder or cache_folder() / "serve-sample"
    run = Run(folder / f"{task.name}-{VERSION}-{digest}")
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(run.folder.with_suffix(".lock"), progress) as lock:
        if not run.model_file.is_file():
            _train(task, run, lock, progress)
    return run.folder


def _config(task: Task) -> Path:
    return shipped_configs()[f"{task.name}/sample"]


@contextlib.contextmanager
def _lock(file: Path, progress: Progress) -> Iterator[BinaryIO]:
    """Hold a lock on a file, once no other process does."""
    with file.open("ab") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                progress(0.0, "waiting for another server that is training this model")
                time.sleep(0.5)
        yield lock


def _train(task: Task, run: Run, lock: BinaryIO, progress: Progress) -> None:
    """Start or resume training in a child process. The child inherits the lock, so that no other
    server starts to train while it is still running after the end of this one."""
    started = run.last_checkpoint.is_file()
    arguments = [str(run.folder), "--resume"] if started else _new_run(task, run)
    log = run.folder.with_suffix(".log")
    with log.open("ab") as output:
        process = start(
            [sys.executable, "-c", PROGRAM, str(ROOT), "train", *arguments],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[lock.fileno()],
        )
    with process:
        try:
            _watch(process, run, _config(task), progress)
        finally:
            process.terminate()
    if process.returncode or not run.model_file.is_file():
        raise UserError(f"training the {task.label} model of the sample failed; see {log}")


def _new_run(task: Task, run: Run) -> list[str]:
    """Arguments of `imagetext train`. A folder without a checkpoint is moved out of the way."""
    if run.folder.is_dir():
        run.folder.rename(run.folder.with_name(f"{run.folder.name}.{time.time_ns()}"))
    overrides = {
        "run.folder": run.folder.parent,
        "run.name": run.folder.name,
        **task.service.sample_overrides,
    }
    options = [f"--{key}={_as_yaml(value)}" for key, value in overrides.items()]
    return [str(_config(task)), *options]


def _as_yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _watch(process: subprocess.Popen, run: Run, config: Path, progress: Progress) -> None:
    """Report the progress of training, by the epochs in its history, until it ends."""
    epochs = read_yaml(config)["train"]["epochs"]
    while process.poll() is None:
        history, done = run.history_file, 0
        if history.is_file():
            with history.open(newline="") as file:
                done = sum(1 for _ in csv.DictReader(file))
        message = f"epoch {done} of {epochs}" if done else "once, a few minutes"
        progress(TRAINING * done / epochs, f"training on the built-in sample ({message})")
        time.sleep(0.5)
