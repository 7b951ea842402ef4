"""A folder of a few captioned scenes, and runs on it that are trained in seconds."""

import csv
import random
from pathlib import Path

import keras

from captioning.config import CaptioningConfig
from captioning.data import load
from captioning.train import build, vocabulary_file
from pipelines.sample import all_scenes, draw
from training import checkpoint
from training.checkpoint import Progress
from training.config import load_config, write_config
from training.network import save_model
from training.run import Run, new_run

PHOTOS = {"train": 12, "dev": 5, "test": 4}


def write_scenes(folder: Path, photos: dict[str, int] = PHOTOS) -> Path:
    """images/ and captions.csv with three captions a scene."""
    rng = random.Random(0)
    scenes = rng.sample(all_scenes(), sum(photos.values()))
    (folder / "images").mkdir(parents=True)
    rows = [["image", "caption", "split"]]
    for split, count in photos.items():
        for number in range(count):
            scene, name = scenes.pop(), f"{split}_{number}.png"
            draw(scene, rng).save(folder / "images" / name)
            rows += [[name, caption, split] for caption in scene.captions]
    with (folder / "captions.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def tiny(folder: Path, runs: Path, **overrides) -> CaptioningConfig:
    """Own blocks on 24-pixel photos and a decoder of 16 numbers."""
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
    given = {key.replace("__", "."): value for key, value in overrides.items()}
    return load_config(CaptioningConfig, None, keys | given)


def untrained(folder: Path, runs: Path, **overrides) -> Run:
    """A run as training leaves it, in a tenth of the time: its weights are random."""
    config = tiny(folder, runs, **overrides)
    keras.utils.set_random_seed(config.train.seed)
    data = load(config)
    run = new_run(runs, config.run.name, "")
    write_config(run.config_file, config)
    model = build(config, data.vocabulary, data.photos.shape)
    for layer in model.layers:  # far from even odds, so that photos and words matter
        if layer.name in ("words", "logits"):
            layer.set_weights([4 * weight for weight in layer.get_weights()])
    data.vocabulary.write(vocabulary_file(run))
    save_model(run.model_file, model)
    history = [{"epoch": n, "loss": 3.0 / n, "val_loss": 3.2 / n} for n in (1, 2)]
    progress = Progress(epoch=2, history=history, best_epoch=1, seconds=90.0)
    model.compile("sgd", loss="mse")  # a checkpoint asks for an optimizer
    checkpoint.save(run.checkpoints / "last.npz", model, progress)
    write_history(run.folder / "history.csv", history)
    return run


def write_history(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
