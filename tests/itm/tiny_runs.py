"""Matching runs on the tiny course folder, trained in seconds or not at all."""

import keras

from imagetext.itm import models, record
from imagetext.itm.config import ITMConfig
from imagetext.itm.train import load_for_training
from imagetext.training.config_files import load_config, write_config
from imagetext.training.network import save_model, standardise
from imagetext.training.run import Run, new_run
from tests.scenes import look_trained


def tiny(folder, runs, **overrides) -> ITMConfig:
    """A small CNN on 16-pixel photos."""
    keys = {
        "data.root": str(folder),
        "data.image_size": 16,
        "data.batch_size": 2,
        "model.filters": [4, 4, 4],
        "model.projection": 8,
        "model.hidden": [8],
        "train.epochs": 2,
        "run.folder": str(runs),
        "run.name": "tiny",
        "report.resamples": 50,
    }
    return load_config(
        ITMConfig, None, keys | {k.replace("__", "."): v for k, v in overrides.items()}
    )


def untrained(folder, runs, **overrides) -> Run:
    """A run as training leaves it, but with random weights and no controls, in a tenth of the
    time."""
    config = tiny(folder, runs, **overrides)
    keras.utils.set_random_seed(config.train.seed)
    data = load_for_training(config)
    run = new_run(runs, config.run.name, "")
    write_config(run.config_file, config)
    record.write(run, data)
    model = models.build(config.model, config.data, config.text)
    standardise(model, data.photos, data.groups["train"].photo)
    save_model(run.model_file, model)
    look_trained(run, model)
    return run
