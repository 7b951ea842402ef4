"""Train two towers so that photos and their captions get similar vectors.

run = train(load_config(RetrievalConfig, "retrieval/best", {"data.root": "flickr8k"}))
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import keras

from imagetext.encoders.photos import describe_image_encoders
from imagetext.errors import UserError
from imagetext.files import write_text
from imagetext.metrics.retrieval.ranks import mean_recall
from imagetext.pipelines.batches import photo_batches
from imagetext.pipelines.pixels import report_bad_photos
from imagetext.pipelines.sample import sample_notices
from imagetext.retrieval import models
from imagetext.retrieval.config import RetrievalConfig
from imagetext.retrieval.data import RetrievalData, load
from imagetext.retrieval.interpolation import choose_share, copy_weights
from imagetext.retrieval.texts import WordTokenizer
from imagetext.retrieval.towers import PHOTOS_PER_BATCH, Towers
from imagetext.retrieval.trainer import PairTrainer
from imagetext.terminal import show_progress
from imagetext.training.checkpoint import Progress
from imagetext.training.fit import fit, model_scope
from imagetext.training.lifecycle import (
    record_training,
    reopen_run,
    run_signature,
    run_to_resume,
    start_run,
)
from imagetext.training.network import save_model, standardise
from imagetext.training.run import Run

#: Photos of dev that recall is measured on after each epoch.
SCORED = 1000


def train(
    config: RetrievalConfig,
    resume: bool = False,
    name: str = "retrieval",
    data: RetrievalData | None = None,
) -> Run:
    """Train a retrieval model.

    Args:
        config: The configuration.
        resume: Continue the run that `config.run.name` names, if it exists.
        name: Name of the run's folder where the configuration has none; a number is added.
        data: The data, if it has been loaded already.

    Returns:
        The finished run.

    Examples:
        >>> train(load_config(RetrievalConfig, "retrieval/sample")).folder
        PosixPath('runs/retrieval-1')
    """
    if interrupted := run_to_resume(config, resume):
        return resume_run(interrupted.folder, data)
    data = data or load(config)  # before the folder is made: bad data leaves no trace
    require_equal_parts(config, data)
    run, config = start_run(config, name)
    return _train(run, config, data, resume=False)


def resume_run(folder: str | Path, data: RetrievalData | None = None) -> Run:
    """Continue an interrupted run with its own configuration."""
    run, config = reopen_run(folder, RetrievalConfig)
    return _train(run, config, data or load(config), resume=True)


def require_equal_parts(config: RetrievalConfig, data: RetrievalData) -> None:
    """Refuse a micro batch that does not divide the batch; with fewer photos than
    `data.batch_size`, the batch is all of them."""
    size, part = data.batch_size, config.loss.micro_batch
    if part and size % part:
        raise UserError(
            f"loss.micro_batch: {part} does not divide the batch, which is all {size} training"
            f" photos; set data.batch_size to a multiple of {part} that is not larger"
        )


def _train(run: Run, config: RetrievalConfig, data: RetrievalData, resume: bool) -> Run:
    for notice in sample_notices(data.source):
        show_progress(notice)
    with record_training(run, data.photos, {"photos and captions": data.left_out}):
        if not (resume and run.model_file.is_file()):
            train_network(run, config, data, resume)
    return run


def train_network(run: Run, config: RetrievalConfig, data: RetrievalData, resume: bool) -> Progress:
    """Train both towers; save the network, and the learned temperature beside it."""
    with model_scope(config.train):
        network = models.build(config, data.photos.shape, data.tokenizer)
        trainer = PairTrainer(network, config)
    count = f"{network.count_params():,} parameters, {data.steps():,} steps an epoch"
    show_progress(f"{describe_image_encoders(config.data)} and {config.text.encoder}: {count}")
    standardise(network, data.photos, list(data.pairs["train"]))
    if isinstance(data.tokenizer, WordTokenizer):
        data.tokenizer.write(run.words_file)
    watched, is_clip = config.train.monitor == "val_recall", config.model.own_vectors
    recall = DevRecall(network, config, data)
    start, zero_shot = (copy_weights(trainer), recall()) if is_clip else ([], None)
    if is_clip:
        show_progress(f"zero-shot, before training: mean recall on dev {zero_shot:.3f}")
    with report_bad_photos(data.photos):
        progress = fit(
            trainer,
            loss=trainer.pair_loss,
            metrics=[],
            train=lambda epoch, skip: data.batches("train", config.train.seed, epoch, skip),
            steps=data.steps(),
            dev=data.batches("dev"),
            config=config.train,
            run=run,
            resume=resume,
            signature=signature(config, data),
            rates=models.pretrained_rates(network, config.model),
            scored={"val_recall": recall} if watched else {},
        )
    if is_clip:
        scores = choose_share(trainer, start, config.model.tuned_shares, recall)
        share = next(iter(scores))
        result = {"zero-shot": zero_shot, "share": share, "dev recall by share": scores}
        write_text(run.tuned_shares_file, json.dumps(result))
        show_progress(f"tuned, with a share of {share:g}: mean recall on dev {scores[share]:.3f}")
    write_text(run.temperature_file, json.dumps(trainer.learned))
    save_model(run.model_file, network)
    return progress


class DevRecall:
    """The mean of recall@1, @5 and @10 in both directions, on photos of dev with their captions."""

    def __init__(self, network: keras.Model, config: RetrievalConfig, data: RetrievalData):
        self.towers = Towers(network, config.model.late)
        self.data = data
        photos, captions, owner = data.columns("dev")
        self.photos = photos[:SCORED]
        self.captions, self.owner = captions[owner < SCORED], owner[owner < SCORED]

    def __call__(self) -> float:
        batches = photo_batches(self.data.photos, self.photos, PHOTOS_PER_BATCH)
        photos = self.towers.encode_images(image for image, _ in batches)
        texts = self.towers.encode_ids(self.data.ids[self.captions], self.data.tokenizer.pad)
        similarities = self.towers.similarities(photos, texts)
        return mean_recall(similarities, self.owner, self.captions.tolist())


def signature(config: RetrievalConfig, data: RetrievalData) -> str:
    """Identifies everything that decides the weights: model, training recipe and data."""
    recipe: dict[str, Any] = {
        part: dataclasses.asdict(getattr(config, part))
        for part in ("text", "model", "loss", "train")
    }
    recipe["train"].pop("checkpoint_seconds")
    recipe["text"].pop("weights")  # their path decides nothing
    recipe["data"] = config.data.fine_tune
    return run_signature(recipe, data.signature)
