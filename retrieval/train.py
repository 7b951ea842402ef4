"""Train a dual encoder: photos and captions that belong together come to lie together.

run = train(load_config(RetrievalConfig, "configs/retrieval/best.yaml"))
"""

import dataclasses
import hashlib
import json
from pathlib import Path

import keras

from imagetext.encoders.photos import seen_by
from imagetext.errors import UserError
from imagetext.files import write_text
from imagetext.metrics.retrieval.ranks import mean_recall
from imagetext.pipelines.captioned import SAMPLE_NOTICE
from imagetext.pipelines.pixels import naming_bad_photos
from imagetext.retrieval import models
from imagetext.retrieval.config import RetrievalConfig
from imagetext.retrieval.data import RetrievalData, load
from imagetext.retrieval.interpolation import settle, weights_of
from imagetext.retrieval.texts import WordTokenizer
from imagetext.retrieval.towers import PHOTOS_TOGETHER, Towers
from imagetext.retrieval.trainer import PairTrainer
from imagetext.training.checkpoint import Progress
from imagetext.training.config_files import load_run_config
from imagetext.training.fit import building, fit
from imagetext.training.lifecycle import begin, recorded, to_resume
from imagetext.training.network import save_model, standardise
from imagetext.training.run import Run, open_run

#: Photos that are searched among after each epoch.
SCORED = 1000


def train(
    config: RetrievalConfig,
    resume: bool = False,
    name: str = "retrieval",
    data: RetrievalData | None = None,
) -> Run:
    """Train `config` in its run folder, or go on with it; returns the finished run."""
    if begun := to_resume(config, resume):
        return resume_run(begun.folder, data)
    data = data or load(config)  # before a folder is made: bad data leaves no trace
    refuse_odd_parts(config, data)
    run, config = begin(config, name)
    return _train(run, config, data, resume=False)


def resume_run(folder: str | Path, data: RetrievalData | None = None) -> Run:
    """Go on with a run that was interrupted, from its own configuration."""
    run = open_run(folder)
    config = load_run_config(RetrievalConfig, run)
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
    with recorded(run, data.photos, {"photos and captions": data.left_out}):
        if not (resume and run.model_file.is_file()):
            train_network(run, config, data, resume)
    return run


def train_network(run: Run, config: RetrievalConfig, data: RetrievalData, resume: bool) -> Progress:
    """Both towers together; then the network is saved, and beside it what it learned of how sure a
    similarity is."""
    with building(config.train):
        network = models.build(config, data.photos.shape, data.pieces)
        trainer = PairTrainer(network, config)
    count = f"{network.count_params():,} parameters, {data.steps():,} steps an epoch"
    print(f"{seen_by(config.data)} and {config.text.encoder}: {count}")
    standardise(network, data.photos, list(data.pairs["train"]))
    if isinstance(data.pieces, WordTokenizer):
        data.pieces.write(run.words_file)
    watched, own = config.train.monitor == "val_recall", config.model.own_vectors
    recall = DevRecall(network, config, data) if watched or own else None
    start, zero_shot = (weights_of(trainer), recall()) if own else ([], None)
    if own:
        print(f"zero-shot, before training: mean recall on dev {zero_shot:.3f}", flush=True)
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
            scored={"val_recall": recall} if watched else {},
        )
    if own:
        scores = settle(trainer, start, config.model.tuned_shares, recall)
        share = next(iter(scores))
        told = {"zero-shot": zero_shot, "share": share, "dev recall by share": scores}
        write_text(run.tuned_shares_file, json.dumps(told))
        print(f"tuned, at a share of {share:g}: mean recall on dev {scores[share]:.3f}", flush=True)
    write_text(run.temperature_file, json.dumps(trainer.learned))
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
        batches = self.data.photo_batches(self.photos, PHOTOS_TOGETHER)
        photos = self.towers.encode_images(image for image, _ in batches)
        texts = self.towers.encode_ids(self.data.ids[self.captions], self.data.pieces.pad)
        similarities = self.towers.similarities(photos, texts)
        return mean_recall(similarities, self.owner, self.captions.tolist())


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
