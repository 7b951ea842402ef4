"""A folder of a few captioned scenes, and what a finished training leaves beside its model.

write_scenes(tmp_path / "data")                     # images/ and captions.csv
look_trained(run, model)
"""

import csv
import random
from pathlib import Path

import keras

from imagetext.pipelines.sample import all_scenes, draw
from imagetext.training import checkpoint
from imagetext.training.checkpoint import Progress
from imagetext.training.run import Run

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


def look_trained(run: Run, model: keras.Model) -> None:
    """History and checkpoint of two epochs that never were."""
    history = [{"epoch": n, "loss": 3.0 / n, "val_loss": 3.2 / n} for n in (1, 2)]
    progress = Progress(epoch=2, history=history, best_epoch=1, seconds=90.0)
    model.compile("sgd", loss="mse")  # a checkpoint asks for an optimizer
    checkpoint.save(run.last_checkpoint, model, progress)
    write_history(run.history_file, history)


def write_old_export(folder: Path) -> None:
    """What an earlier export leaves, as far as file names go."""
    (folder / "saved_model").mkdir(parents=True)
    for name in ("model.keras", "README.txt"):
        (folder / name).write_text("from before")


def write_history(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
