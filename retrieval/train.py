"""Train a dual encoder: photos and captions that belong together come to lie together.

run = train(load_config(RetrievalConfig, "configs/retrieval/best.yaml"))
"""

import dataclasses
import hashlib
import json
import shlex
import sys
from pathlib import Path

import keras
import numpy as np

from pipelines.errors import UserError
from pipelines.files import write_text
from pipelines.pixels import naming_bad_photos
from reports.retrieval.ranks import mean_recall
from retrieval import models
from retrieval.config import RetrievalConfig
from retrieval.data import RetrievalData, load
from retrieval.texts import Words
from retrieval.towers import Towers
from retrieval.trainer import PairTrainer
from training.checkpoint import Progress
from training.config import load_config, write_config
from training.fit import building, fit
from training.network import STANDARDISE, save_model
from training.run import Run, new_run, open_run

SAMPLE_NOTICE = """\
This is the built-in SAMPLE: synthetic scenes of coloured shapes, no photographs. Its figures show
that everything works and say nothing about real photos. For real data: --data.root PATH."""
#: Photos that are searched among after each epoch.
SCORED = 1000
#: Photos that go through the tower at once where nothing is trained.
TOGETHER = 64


def train(
    config: RetrievalConfig,
    resume: bool = False,
    name: str = "retrieval",
    data: RetrievalData | None = None,
) -> Run:
    """Train `config` in its run folder, or go on with it; returns the finished run."""
    if resume and not config.run.name:
        raise UserError("--resume: which run? -- imagetext train runs/NAME --resume")
    if resume:
        run = Run(Path(config.run.folder) / config.run.name)
        if run.config_file.is_file():
            return resume_run(run.folder, data)
    data = data or load(config)  # before a folder is made: bad data leaves no trace
    refuse_odd_parts(config, data)
    run = new_run(config.run.folder, config.run.name, name)
    config = dataclasses.replace(
        config,
        data=config.data.absolute(),
        text=config.text.absolute(),
        run=dataclasses.replace(config.run, name=run.folder.name),
    )
    write_config(run.config_file, config)
    write_text(run.command_file, shlex.join(["python", *sys.argv]) + "\n")
    return _train(run, config, data, resume=False)


def resume_run(folder: str | Path, data: RetrievalData | None = None) -> Run:
    """Go on with a run that was interrupted, from its own configuration."""
    run = open_run(folder)
    config = load_config(RetrievalConfig, run.config_file)
    return _train(run, config, data or load(config), resume=True)


def refuse_odd_parts(config: RetrievalConfig, data: RetrievalData) -> None:
    """Where photos are fewer than a batch, the batch they make may not fall into equal parts."""
    size, part = data.batch_size, config.loss.micro_batch
    if part and size % part:
        raise UserError(
            f"loss.micro_batch: {part} does not divide {size}, a batch of all training photos"
            " -- set data.batch_size to a multiple of it that there are photos for"
        )


def _train(run: Run, config: RetrievalConfig, data: RetrievalData, resume: bool) -> Run:
    if data.source.kind == "sample":
        print(SAMPLE_NOTICE)
    try:
        if not (resume and run.model_file.is_file()):
            train_network(run, config, data, resume)
    except KeyboardInterrupt:
        print(f"\nInterrupted. It goes on with: imagetext train {run.folder} --resume")
        raise
    unread = len(getattr(data.photos, "failures", ()))
    told = {"photos and captions": data.left_out, "photos that turned bad while training": unread}
    write_text(run.left_out_file, json.dumps(told))
    return run


def train_network(run: Run, config: RetrievalConfig, data: RetrievalData, resume: bool) -> Progress:
    """Both towers together; then the network is saved, and beside it what it learned of how sure a
    similarity is."""
    with building(config.train):
        network = models.build(config, data.photos.shape, data.pieces)
        trainer = PairTrainer(network, config)
    count = f"{network.count_params():,} parameters"
    print(f"{seen_by(config)} and {config.text.encoder}: {count}, {data.steps():,} steps an epoch")
    standardise(network, data)
    if isinstance(data.pieces, Words):
        data.pieces.write(words_file(run))
    watched = config.train.monitor == "val_recall"
    with naming_bad_photos(data.photos):
        progress = fit(
            trainer,
            loss=trainer.pair_loss,
            metrics=[],
            train=lambda epoch, skip: data.batches("train", config.train.seed, epoch, skip),
            steps=data.steps(),
            dev=data.batches("dev"),
            config=config.train,
            folder=run.checkpoints,
            resume=resume,
            signature=signature(config, data),
            rates=models.pretrained(network, config.model),
            scored={"val_recall": DevRecall(network, config, data)} if watched else {},
        )
    write_text(temperature_file(run), json.dumps(trainer.learned))
    save_model(run.model_file, network)
    return progress


class DevRecall:
    """The mean of R@1, 5 and 10 in both directions among photos of dev and all their captions."""

    def __init__(self, network: keras.Model, config: RetrievalConfig, data: RetrievalData):
        self.towers = Towers(network, config.model.late)
        self.data = data
        photos, captions, owner = data.columns("dev")
        self.photos = photos[:SCORED]
        self.captions, self.owner = captions[owner < SCORED], owner[owner < SCORED]

    def __call__(self) -> float:
        batches = self.data.photo_batches(self.photos, TOGETHER)
        photos = self.towers.of_images(image for image, _ in batches)
        texts = self.towers.of_ids(self.data.ids[self.captions], self.data.pieces.pad)
        return mean_recall(self.towers.similarities(photos, texts), self.owner)


def standardise(network: keras.Model, data: RetrievalData, most: int = 512) -> None:
    """Let the layers that bring features to mean 0 and variance 1, one an encoder, measure what
    comes to them from at most so many training photos."""
    chosen = [layer for layer in network.layers if layer.name.startswith(STANDARDISE)]
    if not chosen:
        return
    numbers = np.array(sorted(data.pairs["train"]))
    numbers = numbers[:: max(1, len(numbers) // most)]
    for layer in chosen:
        seen, found = keras.Model(network.input["image"], layer.input), []
        for part in np.array_split(numbers, max(1, len(numbers) // 32)):
            image, good = data.photos.fetch(part)
            found.append(np.asarray(seen(image[good], training=False)))
        layer.adapt(np.concatenate(found))


def signature(config: RetrievalConfig, data: RetrievalData) -> str:
    """Names everything that decides the weights: model, training recipe and data."""
    recipe = {
        part: dataclasses.asdict(getattr(config, part))
        for part in ("text", "model", "loss", "train")
    }
    recipe["train"].pop("checkpoint_seconds")
    recipe["text"].pop("weights")  # where they lie decides nothing
    recipe["data"] = config.data.fine_tune
    told = json.dumps(recipe, sort_keys=True) + data.signature
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def seen_by(config: RetrievalConfig) -> str:
    """Who sees the photos, in words."""
    encoders = ", ".join(config.data.image_encoders)
    if not encoders:
        return "own blocks on raw pixels"
    how = "fine-tuned" if config.data.fine_tune else "frozen"
    return f"{encoders}, {config.data.image_output}, {how}"


def words_file(run: Run) -> Path:
    return run.folder / "words.json"


def temperature_file(run: Run) -> Path:
    return run.folder / "temperature.json"
