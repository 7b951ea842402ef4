"""Score a run on a split and write its report.

report = evaluate("runs/itm-cnn-1", split="test")
print(report.summary)
"""

import csv
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from itm.config import WHERE_DATA_LIE, ITMConfig
from itm.data import MatchingData, load, read_rows
from itm.train import CONTROLS, SAMPLE_NOTICE, is_sample, loss, metrics
from pipelines.audit import audit
from pipelines.errors import DataError, UserError
from pipelines.pixels import naming_bad_photos
from pipelines.records import SPLITS
from reports.matching import MatchPredictions, Report, write_report
from training import checkpoint, device
from training.config import load_config
from training.run import Run, open_run, trained

PACKAGES = ("tensorflow", "keras", "numpy", "imagetext")


def evaluate(
    run: Run | str | Path,
    split: str = "test",
    data: MatchingData | None = None,
    overrides: Mapping | None = None,
) -> Report:
    """Write report.json, .md and .html: of test into the run's folder, else its `report-<split>`.

    `overrides` are dotted keys of the configuration, such as another `data.root`.
    """
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r} -- one of {', '.join(SPLITS)}")
    for key in set(overrides or ()) - set(WHERE_DATA_LIE):
        known = ", ".join(WHERE_DATA_LIE)
        raise UserError(f"--{key}: is part of what was trained -- for scoring, set only {known}")
    run = trained(open_run(run.folder if isinstance(run, Run) else run))
    config = load_config(ITMConfig, run.config_file, overrides)
    if data is None or split not in data.groups:
        data = load(config.data, (split,))
    model = keras.saving.load_model(run.model_file)
    with naming_bad_photos(data.pixels):
        predictions = predict_split(model, data, split)
        controls = {
            name: predict_split(keras.saving.load_model(part.model_file), data, split)
            for name in CONTROLS
            if (part := run.part(f"controls/{name}")).model_file.is_file()
        }
        own = keras_evaluation(model, data, split)
    return write_report(
        run.folder if split == "test" else run.folder / f"report-{split}",
        title=f"{run.folder.name} on {split}",
        predictions=predictions,
        controls=controls,
        audit=audit_splits(config, data),
        history=_history(run),
        about=_about(run, config, data, split, model) | {"keras evaluation": own},
        resamples=config.report.resamples,
        notices=[SAMPLE_NOTICE] if is_sample(data.source) else [],
    )


def predict_split(model: keras.Model, data: MatchingData, split: str) -> MatchPredictions:
    """P(match) of every row of a split, in the order of the lists' photos."""
    photos, captions, is_match = data.rows(split)
    found = []
    for inputs, truth, _ in data.batches(split):
        probability = model(inputs, training=False).numpy()[..., 0]
        found.append(probability[truth.numpy().any(axis=-1)])  # all but the padding
    return MatchPredictions(np.concatenate(found), is_match, tuple(photos), tuple(captions))


def keras_evaluation(model: keras.Model, data: MatchingData, split: str) -> dict[str, float]:
    """What `model.evaluate` says, with the loss and metrics of training."""
    model.compile(loss=loss(), weighted_metrics=metrics())
    return model.evaluate(data.batches(split), verbose=0, return_dict=True)


def audit_splits(config: ITMConfig, data: MatchingData) -> dict:
    """The leak audit over every split that can be read; one that cannot is left out of it."""
    records = {}
    for split in SPLITS:
        try:
            known = data.records.get(split)
            records[split] = known or read_rows(data.source, split, config.data, [])
        except DataError:
            continue
    return audit({split: rows for split, rows in records.items() if rows})


def _history(run: Run) -> list[dict[str, float]]:
    path = run.folder / "history.csv"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def _about(run: Run, config: ITMConfig, data: MatchingData, split: str, model: keras.Model) -> dict:
    progress = checkpoint.read_progress(run.checkpoints / "last.npz")
    return {
        "command": run.command_file.read_text().strip() if run.command_file.is_file() else "",
        "configuration": str(run.config_file),
        "data": {
            "source": data.source.kind,
            "root": str(data.source.root),
            "split": split,
            "rows": data.groups[split].rows,
        },
        "left out": {
            f"rows left out of the {split} split": data.left_out[split],
            "training": _left_out_of_training(run),
        },
        "model": {
            "head": config.model.head,
            "image size": config.data.image_size,
            "parameters": model.count_params(),
        },
        "training": {
            "seed": config.train.seed,
            "epochs": len(progress.history),
            "best epoch": progress.best_epoch + 1,
            "chosen by": config.train.monitor,
            "learning rate": config.train.learning_rate,
            "precision": device.precision_name(config.train.precision),
            "minutes": round(progress.seconds / 60, 2),
        },
        "machine": f"{device.describe()}, {platform.system()}, Python {platform.python_version()}",
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _left_out_of_training(run: Run) -> dict:
    path = run.left_out_file
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
