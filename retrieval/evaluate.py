"""Score a run on a split and write its report.

report = evaluate("runs/best-1", split="dev")
print(report.summary)
"""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from encoders.photos import seen_by
from pipelines.captioned import SAMPLE_NOTICE, refuse_held_back
from pipelines.errors import UserError
from pipelines.pixels import naming_bad_photos
from pipelines.records import SPLITS
from reports.report import Report, report_folder
from reports.retrieval.report import Searched, write_report
from reports.tables import MODEL
from retrieval import models
from retrieval.config import RetrievalConfig
from retrieval.data import RetrievalData, load, open_data
from retrieval.predict import DualEncoder
from retrieval.towers import Towers, cosines
from retrieval.train import TOGETHER, shares_file
from training import checkpoint, device, provenance
from training.run import Run, open_run, trained

#: The similarity that an index can hold, of a model that also has words look at cells.
ALONE = "vectors alone"
#: That of a pretrained CLIP before it was tuned.
ZERO_SHOT = "zero-shot"


def evaluate(
    run: Run | str | Path,
    split: str = "dev",
    data: RetrievalData | None = None,
    overrides: Mapping | None = None,
) -> Report:
    """Write report.json, .md and .html: of test into the run's folder, else its `report-<split>`.

    `overrides` are dotted keys of the configuration, such as another `data.root`.
    """
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r} -- one of {', '.join(SPLITS)}")
    run = trained(open_run(run.folder if isinstance(run, Run) else run))
    encoder = DualEncoder.load(run, overrides)
    config = encoder.config
    if data is None or split not in data.pairs:
        refuse_held_back(open_data(config.data), split, run.folder)
        data = load(config, (split,), encoder.pieces)
    numbers, captions, owner = data.columns(split)
    start = time.perf_counter()
    with naming_bad_photos(data.photos):
        photos = encoder.of_numbers(data, numbers)
    seen = time.perf_counter()
    texts = encoder.towers.of_ids(data.ids[captions], data.pieces.pad)
    read = time.perf_counter()
    similarities = {MODEL: encoder.towers.similarities(photos, texts)}
    if encoder.towers.late:
        similarities[ALONE] = cosines(photos, texts)
    notices = [SAMPLE_NOTICE] if data.source.kind == "sample" else []
    if config.model.own_vectors:
        try:
            similarities[ZERO_SHOT] = zero_shot(config, data, encoder, numbers, captions)
        except UserError as error:
            told = str(error).splitlines()[0]
            notices.append(f"Without the figures of the pretrained CLIP: {told}")
    speeds = {
        "photos per second, from what the model is given": round(len(numbers) / (seen - start), 1),
        "captions per second": round(len(captions) / (read - seen), 1),
        "seconds to compare all": round(time.perf_counter() - read, 2),
    }
    return write_report(
        report_folder(run.folder, split),
        title=f"{run.folder.name} on {split}",
        searched=Searched(
            tuple(str(data.photos.paths[number]) for number in numbers),
            tuple(data.captions[number] for number in captions),
            owner,
        ),
        similarities=similarities,
        history=provenance.history(run.folder),
        about=_about(run, encoder, data, split, speeds),
        notices=notices,
        resamples=config.report.resamples,
        shown=config.report.gallery,
    )


def zero_shot(
    config: RetrievalConfig,
    data: RetrievalData,
    encoder: DualEncoder,
    numbers: np.ndarray,
    captions: np.ndarray,
) -> np.ndarray:
    """How alike the pretrained CLIP, before any training, finds photos and captions, [n, m]."""
    towers = Towers(models.build(config, data.photos.shape, encoder.pieces))
    photos = towers.of_images(image for image, _ in data.photo_batches(numbers, TOGETHER))
    return cosines(photos, towers.of_ids(data.ids[captions], data.pieces.pad))


def _shares(run: Run, config: RetrievalConfig) -> dict:
    """How far the weights went from the pretrained to the tuned ones, and why so far."""
    path = shares_file(run)
    if not config.model.own_vectors or not path.is_file():
        return {}
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return {
            "share of the tuned weights": told["share"],
            "mean recall on dev, zero-shot": told["zero-shot"],
            "mean recall on dev, by share": told["dev recall by share"],
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}) -- train anew") from error


def _about(run: Run, encoder: DualEncoder, data: RetrievalData, split: str, speeds: dict) -> dict:
    config, network = encoder.config, encoder.network
    progress = checkpoint.read_progress(run.checkpoints / "last.npz")
    return {
        "command": provenance.command(run),
        "configuration": str(run.config_file),
        "data": {
            "source": data.source.kind,
            "root": str(data.source.root),
            "split": split,
            "photos": len(data.pairs[split]),
        },
        "left out": {
            f"photos and captions left out of the {split} split": data.left_out.get(split, 0),
            "training": provenance.left_out_of_training(run),
        },
        "model": {
            "photos": seen_by(config.data),
            "captions": config.text.encoder,
            "vector": encoder.width,
            "late interaction": config.model.late,
            "digest": encoder.digest,
            "parameters": network.count_params(),
            "trainable parameters": sum(math.prod(v.shape) for v in network.trainable_variables),
        },
        "loss": {
            "kind": config.loss.kind,
            "batch": config.data.batch_size,
            "hardness": config.loss.hardness,
            "learned scale": encoder.scale,
            "learned bias": encoder.bias,
        },
        "speed": speeds,
        "training": {
            "seed": config.train.seed,
            "epochs": len(progress.history),
            "best epoch": progress.best_epoch + 1,
            "chosen by": config.train.monitor,
            "learning rate": config.train.learning_rate,
            "precision": device.precision_name(config.train.precision),
            "minutes": round(progress.seconds / 60, 2),
            **_shares(run, config),
        },
        "machine": provenance.machine(),
        "versions": provenance.versions(),
    }
