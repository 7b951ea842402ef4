"""Retrieval runs on a few scenes, trained in seconds."""

import json
from pathlib import Path

import keras

from imagetext.retrieval import models
from imagetext.retrieval.config import RetrievalConfig
from imagetext.retrieval.data import load
from imagetext.retrieval.texts import WordTokenizer
from imagetext.retrieval.train import standardise
from imagetext.retrieval.trainer import PairTrainer
from imagetext.training.config_files import load_config, write_config
from imagetext.training.network import save_model
from imagetext.training.run import Run, new_run
from tests.scenes import look_trained


def tiny(folder: Path, runs: Path, **overrides) -> RetrievalConfig:
    """Conv blocks on 24-pixel photos and a transformer of width 16."""
    keys = {
        "data.root": str(folder),
        "data.image_encoders": [],
        "data.image_size": 24,
        "data.batch_size": 6,
        "data.captions_per_epoch": 2,
        "text.encoder": "scratch",
        "text.minimum_count": 1,
        "text.longest": 12,
        "text.width": 16,
        "text.layers": 1,
        "text.heads": 2,
        "model.filters": [8, 8],
        "model.width": 16,
        "model.late_width": 8,
        "model.dropout": 0.0,
        "model.input_dropout": 0.0,
        "train.epochs": 2,
        "train.learning_rate": 0.005,
        "report.resamples": 30,
        "report.gallery": 6,
        "run.folder": str(runs),
        "run.name": "tiny",
    }
    given = {key.replace("__", "."): value for key, value in overrides.items()}
    return load_config(RetrievalConfig, None, keys | given)


def untrained(folder: Path, runs: Path, **overrides) -> Run:
    """A run as training leaves it, but with random weights, in a tenth of the time."""
    config = tiny(folder, runs, **overrides)
    keras.utils.set_random_seed(config.train.seed)
    data = load(config)
    run = new_run(runs, config.run.name, "")
    write_config(run.config_file, config)
    network = models.build(config, data.photos.shape, data.tokenizer)
    standardise(network, data.photos, list(data.pairs["train"]))
    trainer = PairTrainer(network, config)
    if isinstance(data.tokenizer, WordTokenizer):
        data.tokenizer.write(run.words_file)
    run.temperature_file.write_text(json.dumps(trainer.learned))
    save_model(run.model_file, network)
    look_trained(run, network)
    return run
