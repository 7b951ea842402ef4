"""Score a run on a split and write its report.

report = evaluate("runs/itm-cnn-1", split="test")
print(report.summary)
"""

import math
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from imagetext.encoders.images import image_encoder
from imagetext.encoders.photos import StoredFeatures
from imagetext.encoders.texts import TEXT_ENCODERS
from imagetext.errors import DataError, UserError
from imagetext.itm.config import WHERE_DATA_LIE, DataConfig, ITMConfig, TextConfig
from imagetext.itm.data import MatchingData, load, read_rows
from imagetext.itm.record import extra_records, require_same_encoders, weights_told
from imagetext.itm.texts import reader_identity
from imagetext.itm.train import CONTROLS, SAMPLE_NOTICE, is_sample, loss, metrics
from imagetext.pipelines.audit import audit, normalised
from imagetext.pipelines.features import photo_digests
from imagetext.pipelines.pixels import naming_bad_photos
from imagetext.pipelines.records import MATCH, SPLITS, Record
from imagetext.reports.matching.report import MatchPredictions, write_report
from imagetext.reports.report import Report, report_folder
from imagetext.training import checkpoint, device, provenance
from imagetext.training.config_files import load_run_config
from imagetext.training.run import Run, open_run, trained


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
    config = load_run_config(ITMConfig, run, overrides)
    if "align.extra_captions" in (overrides or ()) and not config.align.extra_captions:
        raise UserError(
            "--align.extra_captions: must name a folder, as the run was trained with extra captions"
        )
    require_same_encoders(run, config.data)
    if data is None or split not in data.groups:
        data = load(config, (split,))
    model = keras.saving.load_model(run.model_file)
    with naming_bad_photos(data.photos):
        predictions = predict_split(model, data, split)
        controls = {
            name: predict_split(keras.saving.load_model(part.model_file), data, split)
            for name in CONTROLS
            if (part := run.part(f"controls/{name}")).model_file.is_file()
        }
        own = keras_evaluation(model, data, split)
    records, extra = audited_records(run, config, data)
    # By the features that the photos have already; a model that sees pixels has none.
    store = data.photos.parts[0].store if isinstance(data.photos, StoredFeatures) else None
    audited = audit(records, together=("train", EXTRA) if extra else (), store=store)
    notices = [SAMPLE_NOTICE] if is_sample(data.source) else []
    if split == "dev":
        notices.append(chosen_on_dev(config))
    if extra:
        notices.append(extra_notice(extra[EXTRA], audited))
    return write_report(
        report_folder(run.folder, split),
        title=f"{run.folder.name} on {split}",
        predictions=predictions,
        controls=controls,
        audit=audited,
        history=_history(run),
        about=_about(run, config, data, split, model, records) | extra | {"keras evaluation": own},
        resamples=config.report.resamples,
        notices=notices,
        subsets=without_leaks(data, split, records),
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


EXTRA = "extra captions"


def audited_records(run: Run, config: ITMConfig, data: MatchingData) -> tuple[dict, dict]:
    """What the leak audit compares: every split that can be read, one that cannot is left out; and
    the extra captions that were trained on, of which the second dict says how many they are."""
    records = {}
    for split in SPLITS:
        try:
            known = data.records.get(split)
            records[split] = known or read_rows(data.source, split, config.data, [])
        except DataError:
            continue
    told = {}
    if config.aligns and config.align.extra_captions:
        records[EXTRA], left_out = extra_records(run, config, data.source)
        told[EXTRA] = {
            "source": config.align.extra_captions,
            "photos": len(records[EXTRA]),
            "captions": sum(len(record.texts) for record in records[EXTRA]),
            "left out": left_out,
        }
    return {name: rows for name, rows in records.items() if rows}, told


def without_leaks(
    data: MatchingData, split: str, records: Mapping[str, list[Record]]
) -> dict[str, np.ndarray]:
    """Which rows of a split, bool [n], no split before it gives away: those with photos that are
    not in it, and with captions that are not called a match in train. Only what leaves rows out."""
    photos, captions, _ = data.rows(split)
    paths = list(dict.fromkeys(map(Path, photos)))
    digest = dict(zip(map(str, paths), photo_digests(paths, []), strict=True))
    remain = {}
    for earlier in SPLITS[: SPLITS.index(split)]:
        images = list({record.image for record in records.get(earlier, ())})
        known = set(photo_digests(images, []))
        remain[f"photo not in {earlier}"] = [digest[photo] not in known for photo in photos]
    if split != "train":
        matches = [record for record in records.get("train", ()) if record.label == MATCH]
        known = {normalised(text) for record in matches for text in record.texts}
        remain["caption not a match in train"] = [normalised(c) not in known for c in captions]
    return {told: np.array(kept) for told, kept in remain.items() if not all(kept)}


def chosen_on_dev(config: ITMConfig) -> str:
    """That a model's figures on dev are better than it is."""
    fitted = ", and scale and shift of its probabilities were fitted to it" * config.model.calibrate
    return f"The model's best epoch was chosen by this split{fitted}: test is the honest figure."


def extra_notice(told: Mapping, audited: Mapping) -> str:
    """That captions beyond the training rows were used, and what the audit found in them."""
    found = {"photos": 0, "near-duplicates": 0, "captions": 0}
    for pair in audited["pairs"]:
        if EXTRA in pair["splits"] and {"dev", "test"} & set(pair["splits"]):
            found["photos"] += pair["images_shared"]["count"]
            found["near-duplicates"] += pair["near_duplicate_images"]["count"]
            found["captions"] += pair["captions_shared"]["count"]
            if "alike" in audited:
                alike = f"pairs alike by {audited['alike']['encoder']}"
                found[alike] = found.get(alike, 0) + pair["alike_images"]["count"]
    shared = ", ".join(f"{count:,} {what}" for what, count in found.items())
    return (
        f"Trained with extra captions: {told['captions']:,} captions of {told['photos']:,} photos"
        f" from {told['source']}, beside the training rows. What they share with dev and test, by"
        f" the leak audit: {shared}."
    )


def frozen_parameters(config: DataConfig, text: TextConfig) -> int:
    """Of the encoders that photos and captions go through before the model sees them."""
    frozen = [] if config.from_pixels else config.image_encoders
    reads = TEXT_ENCODERS.get(text.encoder) if text.input == "embeddings" else None
    return sum(image_encoder(name).parameters for name in frozen) + (
        reads.parameters if reads else 0
    )


def reader_told(config: TextConfig) -> str:
    """Who reads the captions, and where: "bert_base, inside the model"."""
    where = "inside the model" if config.input == "tokens" else "as embeddings"
    return f"{', '.join(reader_identity(config)) or config.encoder}, {where}"


def _history(run: Run) -> list[dict[str, float]]:
    """Of the training; of the alignment, where there was nothing after it."""
    return provenance.history(run.folder) or provenance.history(run.part("align").folder)


def _about(
    run: Run,
    config: ITMConfig,
    data: MatchingData,
    split: str,
    model: keras.Model,
    records: Mapping[str, list[Record]],
) -> dict:
    progress = checkpoint.read_progress(run.checkpoints / "last.npz")
    stages = {"training": progress}
    aligned = run.part("align").checkpoints / "last.npz"
    if aligned.is_file():
        stages["alignment"] = checkpoint.read_progress(aligned)
    # What was trained by alignment alone, was chosen by it.
    chosen, chosen_by, rate = progress, config.train.monitor, config.train.learning_rate
    if not config.train.epochs:
        chosen, chosen_by, rate = stages["alignment"], "val_auc", config.align.learning_rate
    seconds = sum(stage.seconds for stage in stages.values())
    trained_on = [*records.get("train", ()), *records.get(EXTRA, ())]
    photos = {
        "training": len({record.image for record in records.get("train", ())}),
        "alignment": len({record.image for record in trained_on}),
    }
    seen = sum(len(stage.history) * photos[name] for name, stage in stages.items())
    return {
        "command": provenance.command(run),
        "configuration": str(run.config_file),
        "data": {
            "source": data.source.kind,
            "root": str(data.source.root),
            "split": split,
            "rows": data.groups[split].rows,
        },
        "left out": {
            f"rows left out of the {split} split": data.left_out[split],
            "training": provenance.left_out_of_training(run),
        },
        "model": {
            "head": config.model.head,
            "photos": ", ".join(config.data.image_encoders) or "own blocks on raw pixels",
            "captions": reader_told(config.text),
            "weights": weights_told(list(data.photos.identity)) or "in the model",
            "image size": config.data.pixels_side,
            "parameters": model.count_params(),
            "with frozen encoders": model.count_params()
            + frozen_parameters(config.data, config.text),
            "trainable parameters": sum(math.prod(v.shape) for v in model.trainable_variables),
        },
        "training": {
            "seed": config.train.seed,
            "epochs": len(progress.history),
            "alignment epochs": len(stages["alignment"].history) if aligned.is_file() else 0,
            "best epoch": chosen.best_epoch + 1,
            "chosen by": chosen_by,
            "learning rate": rate,
            "calibrated on": "dev" if config.model.calibrate else None,
            "precision": device.precision_name(config.train.precision),
            "minutes": round(seconds / 60, 2),
            "images per second": round(seen / seconds, 1) if seconds else None,
        },
        "machine": provenance.machine(),
        "versions": provenance.versions(),
    }
