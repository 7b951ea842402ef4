"""Captioning runs on a few scenes, trained in seconds."""

from pathlib import Path

import keras

from imagetext.captioning.config import CaptioningConfig
from imagetext.captioning.data import load
from imagetext.captioning.train import build
from imagetext.training.config_files import load_config, write_config
from imagetext.training.network import save_model
from imagetext.training.run import Run, new_run
from tests.scenes import look_trained


def tiny(folder: Path, runs: Path, **overrides) -> CaptioningConfig:
    """A small CNN on 24-pixel photos, and a decoder of width 16."""
    keys = {
        "data.root": str(folder),
        "data.image_encoders": [],
        "data.image_size": 24,
        "data.batch_size": 6,
        "text.minimum_count": 1,
        "text.longest": 10,
        "model.filters": [4, 4],
        "model.width": 16,
        "model.dropout": 0.0,
        "model.input_dropout": 0.0,
        "loss.label_smoothing": 0.0,
        "train.epochs": 2,
        "train.learning_rate": 0.01,
        "decoding.beams": 3,
        "report.resamples": 30,
        "report.gallery": 3,
        "run.folder": str(runs),
        "run.name": "tiny",
    }
    keys |= {key.replace("__", "."): value for key, value in overrides.items()}
    return load_config(CaptioningConfig, None, keys)


def untrained(folder: Path, runs: Path, **overrides) -> Run:
    """A run like after training, with random weights, in a tenth of the time."""
    config = tiny(folder, runs, **overrides)
    keras.utils.set_random_seed(config.train.seed)
    data = load(config)
    run = new_run(runs, config.run.name, "")
    write_config(run.config_file, config)
    model = build(config, data.vocabulary, data.photos.shape)
    for layer in model.layers:  # large weights, so that photos and words matter
        if layer.name in ("words", "logits"):
            layer.set_weights([4 * weight for weight in layer.get_weights()])
    data.vocabulary.write(run.vocabulary_file)
    save_model(run.model_file, model)
    look_trained(run, model)
    return run
