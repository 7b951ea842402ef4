"""Small models for a first look, trained on the built-in scenes: `imagetext serve --sample`.

parts = sample_services(folder=cache_folder() / "serve-sample")
app = create_app(**parts, examples=sample_examples())

Each is trained once, in a process of its own, and found again the next time; one that was stopped
half-way goes on where it was.
"""

import atexit
import csv
import hashlib
import io
import random
import subprocess
import sys
import time
from pathlib import Path

from pipelines.errors import UserError
from pipelines.files import cache_folder
from pipelines.sample import VERSION, draw, known_scenes, write_sample
from pipelines.terminal import quiet_tensorflow
from serving.web.answers import Examples
from serving.web.loading import Opens, Tell
from training.config import read_yaml
from training.run import Run

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = {
    "captioner": ROOT / "configs" / "captioning" / "sample.yaml",
    "matcher": ROOT / "configs" / "itm" / "sample.yaml",
    "searcher": ROOT / "configs" / "retrieval" / "sample.yaml",
}
#: What training leaves out here: controls are for reports.
OPTIONS = {"captioner": [], "matcher": ["--report.controls=false"], "searcher": []}
#: The share of the progress bar that training takes.
TRAINING = 0.9
PHOTOS = 8
start = subprocess.Popen


def sample_services(folder: Path | None = None) -> dict[str, Opens]:
    """Arguments of `create_app` that train or load the sample's models."""

    def captioner(tell: Tell):
        run = _run("captioner", folder, tell)
        quiet_tensorflow()
        from serving.web.services import CaptioningRun

        return CaptioningRun.open(str(run), tell)

    def matcher(tell: Tell):
        run = _run("matcher", folder, tell)
        quiet_tensorflow()
        from serving.web.services import MatchingRun

        return MatchingRun.open(str(run), tell)

    def searcher(tell: Tell):
        run = _run("searcher", folder, tell)
        index = run.with_suffix(".index")
        quiet_tensorflow()
        from retrieval.index.runs import build_index
        from serving.web.services import PhotoIndex

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


def _run(name: str, folder: Path | None, tell: Tell) -> Path:
    """The trained run, which is made first if it is not there."""
    config = CONFIGS[name]
    if not config.is_file():
        raise UserError(f"{config}: is missing -- --sample works in a clone of the project")
    digest = hashlib.sha256(config.read_bytes()).hexdigest()[:8]
    folder = folder or cache_folder() / "serve-sample"
    run = Run(folder / f"{name}-{VERSION}-{digest}")
    if run.model_file.is_file():
        return run.folder
    started = (run.checkpoints / "last.npz").is_file()
    words = [str(run.folder), "--resume"] if started else _new(name, run)
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    log = run.folder.with_suffix(".log")
    with log.open("ab") as written:
        process = start(
            [sys.executable, str(ROOT / "imagetext.py"), "train", *words],
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
        )
    atexit.register(process.terminate)
    _watch(process, run, config, tell)
    atexit.unregister(process.terminate)
    if process.returncode or not run.model_file.is_file():
        raise UserError(f"training the sample's {name} failed -- {log} says why")
    return run.folder


def _new(name: str, run: Run) -> list[str]:
    """Words of `imagetext train`; a folder that holds no checkpoint yet is begun anew."""
    if run.folder.is_dir():
        run.folder.rename(run.folder.with_name(f"{run.folder.name}.{time.time_ns()}"))
    here = [f"--run.folder={run.folder.parent}", f"--run.name={run.folder.name}"]
    return [str(CONFIGS[name]), *here, *OPTIONS[name]]


def _watch(process: subprocess.Popen, run: Run, config: Path, tell: Tell) -> None:
    """Tell how far training is, by the epochs that its history has."""
    epochs = read_yaml(config)["train"]["epochs"]
    tell(0.0, "trains on the built-in sample (once, a minute or two)")
    while process.poll() is None:
        history, done = run.folder / "history.csv", 0
        if history.is_file():
            with history.open(newline="") as file:
                done = sum(1 for _ in csv.DictReader(file))
        if done:
            tell(TRAINING * done / epochs, f"trains on the built-in sample: epoch {done}/{epochs}")
        time.sleep(0.5)
