"""Evaluated runs, as training and evaluation leave them."""

import json
from pathlib import Path

import numpy as np
import yaml

from imagetext.reports.captioning.predictions import CaptionPredictions
from imagetext.reports.captioning.report import Evidence, write_report
from imagetext.reports.comparison.pages import table_rows
from imagetext.reports.kit.report import report_folder
from imagetext.reports.matching.predictions import MatchPredictions, write_predictions
from imagetext.reports.matching.report import report_values

ROWS = 90


def make_predictions(seed: int, signal: float = 2, rows: int = ROWS, root: str = "/data"):
    """Other answers each seed, to the same questions."""
    truth = np.random.default_rng(99).random(rows) < 0.3
    logit = signal * (truth - 0.5) + np.random.default_rng(seed).normal(0, 1, rows)
    photos = tuple(f"{root}/{row // 3}.jpg" for row in range(rows))
    captions = tuple(f"caption {row}, so" for row in range(rows))
    return MatchPredictions(1 / (1 + np.exp(-logit)), truth, photos, captions)


def make_run(
    folder: Path,
    predictions: MatchPredictions | None,
    *,
    seed: int = 0,
    head: str = "cnn",
    split: str = "test",
    keep: bool = True,
    resamples: int = 20,
    about: dict | None = None,
    task: str = "itm",
) -> dict | None:
    """A run's folder, as training and evaluating leave it; returns the report's values."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "task": task,
        "data": {"root": "/data"},
        "model": {"head": head, "hidden": [8]},
        "train": {"epochs": 3, "seed": seed},
        "run": {"name": folder.name, "folder": str(folder.parent)},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "model.keras").touch()
    if predictions is None:
        return None
    about = about or {"model": {"parameters": 1000}, "training": {"minutes": 2.0 + seed}}
    values = report_values(
        title=folder.name,
        predictions=predictions,
        controls={},
        audit=None,
        history=[],
        about=about | {"data": {"split": split}},
        resamples=resamples,
    )
    kept = report_folder(folder, split)
    kept.mkdir(exist_ok=True)
    (kept / "report.json").write_text(json.dumps(values))
    if keep:
        write_predictions(kept, predictions)
    return values


def make_captioning_run(folder: Path, seed: int, said: list[str], photos: int = 6, **model) -> dict:
    """A run with a report of dev, as training and evaluating leave it; returns its values."""
    config = {"task": "captioning", "model": model, "train": {"seed": seed}}
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "model.keras").touch()
    names = tuple(f"{folder}/{number}.jpg" for number in range(photos))
    references = tuple((f"a dog runs to house {n}", f"dog number {n} runs") for n in range(photos))
    return write_report(
        report_folder(folder, "dev"),
        title=folder.name,
        predictions=CaptionPredictions(names, tuple(said), np.zeros(photos), references),
        evidence=Evidence(others={"one for all": ["a dog runs"] * photos}),
        history=[],
        about={
            "data": {"split": "dev"},
            "model": {"parameters": 500},
            "training": {"minutes": 1.0 + seed},
            "decoding": {"photos per second": 30.0},
        },
        resamples=9,
        examples=0,
    ).values


def score(values: dict, name: str) -> float:
    return values["scores"]["model"][name]["value"]


def cells(comparison) -> dict[str, dict[str, str]]:
    heading, *rows = table_rows(comparison.values)
    return {row[0]: dict(zip(heading, row, strict=True)) for row in rows}


def contents(folder: Path) -> list[Path]:
    """What a shell makes of folder/*."""
    return sorted(folder.iterdir())


def shuffle(predictions: MatchPredictions) -> MatchPredictions:
    order = np.random.default_rng(1).permutation(len(predictions.is_match))
    return MatchPredictions(
        predictions.probability[order],
        predictions.is_match[order],
        tuple(predictions.image[row] for row in order),
        tuple(predictions.caption[row] for row in order),
    )
