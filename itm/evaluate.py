"""Score a run on a split and write its report.

report = evaluate("runs/itm-cnn-1", split="test")
print(report.summary)
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from imagetext.encoders.photos import StoredFeatures
from imagetext.encoders.registry import TEXT_ENCODERS, image_encoder
from imagetext.errors import DataError, UserError
from imagetext.itm.config import CHANGEABLE, DataConfig, ITMConfig, TextConfig
from imagetext.itm.data import MatchingData, load, read_rows
from imagetext.itm.record import extra_records, require_same_encoders, weights_told
from imagetext.itm.texts import text_encoder_identity
from imagetext.itm.train import CONTROLS, SAMPLE_NOTICE, is_sample, loss, metrics
from imagetext.pipelines.audit import audit, normalise
from imagetext.pipelines.features import photo_digests
from imagetext.pipelines.pixels import report_bad_photos
from imagetext.pipelines.records import MATCH, SPLITS, Record
from imagetext.reports.kit.report import Report, report_folder
from imagetext.reports.matching.predictions import MatchPredictions
from imagetext.reports.matching.report import write_report
from imagetext.training import checkpoint, device, provenance
from imagetext.training.config_files import load_run_config
from imagetext.training.ensemble import open_for_evaluation, short_names, write_members
from imagetext.training.run import Run


def evaluate(
    run: Run | str | Path,
    split: str = "test",
    data: MatchingData | None = None,
    overrides: Mapping | None = None,
    to: str | Path | None = None,
    predictions: MatchPredictions | None = None,
) -> Report:
    """Score a run on a split, and write report.json, report.md and report.html.

    The report on test goes into the run's folder, others into its `report-<split>`. Several runs,
    separated by commas, are scored as an ensemble (the mean of their probabilities), in a folder of
    its own.

    Args:
        run: The folder of a trained run, or several.
        split: "train", "dev" or "test".
        data: The data, if it has been loaded already.
        overrides: Configuration keys by dotted name, such as another `data.root`.
        to: Folder for the report of an ensemble.
        predictions: The model's predictions on the split, if they have been made already.

    Returns:
        The report.
    """
    runs, folder = open_for_evaluation(run, split, to)
    folders, together = [each.folder for each in runs], len(runs) > 1
    scored = []
    for each in runs:
        scored.append(_score(each, split, data, overrides, predictions))
        data = None  # the other runs may read it with other encoders
    first = scored[0]
    for other in scored[1:]:
        if not other.predictions.same_rows(first.predictions):
            raise UserError(
                f"{other.run.folder} and {first.run.folder} were trained on different data, so"
                " they cannot be scored together; evaluate them on the same data (--data.root)"
            )
    records, extra = audited_records(first.run, first.config, first.data)
    # Photos are compared by their stored features too; a model on pixels has none.
    photos = first.data.photos
    store = photos.parts[0].store if isinstance(photos, StoredFeatures) else None
    audited = audit(records, together=("train", EXTRA) if extra else (), store=store)
    notices = [SAMPLE_NOTICE] if is_sample(first.data.source) else []
    if split == "dev":
        notices.append(chosen_on_dev(first.config))
    if extra:
        notices.append(extra_notice(extra[EXTRA], audited))
    title = f"{', '.join(short_names(folders))} on {split}"
    about = [_about(each, split, records) for each in scored]
    members: dict[str, MatchPredictions] = {}
    if together:
        write_members(folder, folders)
        title = f"ensemble of {title}"
        alone = [f"{name} alone" for name in short_names(folders)]
        members = {n: each.predictions for n, each in zip(alone, scored, strict=True)}
    return write_report(
        report_folder(folder, split),
        title=title,
        predictions=_mean([each.predictions for each in scored]),
        controls=_mean_controls(scored),
        audit=audited,
        history=[] if together else _history(first.run),
        about=(_about_ensemble(folders, about) if together else about[0]) | extra,
        resamples=first.config.report.resamples,
        notices=notices,
        subsets=without_leaks(first.data, split, records),
        members=members,
    )


@dataclass(frozen=True)
class _Scored:
    """A run with its model and what that says about a split."""

    run: Run
    config: ITMConfig
    data: MatchingData
    model: keras.Model
    predictions: MatchPredictions
    controls: dict[str, MatchPredictions]
    keras_figures: dict[str, float]


def _score(
    run: Run,
    split: str,
    data: MatchingData | None,
    overrides: Mapping | None,
    predictions: MatchPredictions | None,
) -> _Scored:
    config = load_run_config(ITMConfig, run, overrides, CHANGEABLE)
    if "align.extra_captions" in (overrides or ()) and not config.align.extra_captions:
        raise UserError(
            "--align.extra_captions: must name a folder, as the run was trained with extra captions"
        )
    require_same_encoders(run, config.data)
    if data is None or split not in data.groups:
        data = load(config, (split,))
    model = keras.saving.load_model(run.model_file)
    with report_bad_photos(data.photos):
        if predictions is None:
            predictions = predict_split(model, data, split)
        controls = {
            name: predict_split(keras.saving.load_model(part.model_file), data, split)
            for name in CONTROLS
            if (part := run.part(f"controls/{name}")).model_file.is_file()
        }
    figures = keras_figures(predictions)
    return _Scored(run, config, data, model, predictions, controls, figures)


def _mean(each: Sequence[MatchPredictions]) -> MatchPredictions:
    """The predictions of an ensemble: the mean probability of each row."""
    if len(each) == 1:
        return each[0]
    mean = np.mean([predictions.probability for predictions in each], axis=0)
    return dataclasses.replace(each[0], probability=mean)


def _mean_controls(scored: Sequence[_Scored]) -> dict[str, MatchPredictions]:
    """The controls that every run has, averaged like the runs."""
    names = [name for name in CONTROLS if all(name in each.controls for each in scored)]
    return {name: _mean([each.controls[name] for each in scored]) for name in names}


def _about_ensemble(folders: Sequence[Path], about: Sequence[Mapping]) -> dict:
    """What the report of an ensemble says about its members, which share data and machine."""
    first, names = about[0], short_names(folders)
    numbers = ("parameters", "with frozen encoders", "trainable parameters")
    total = {key: sum(each["model"][key] for each in about) for key in numbers}
    trainings = {name: each["training"] for name, each in zip(names, about, strict=True)}
    minutes = round(sum(each["training"]["minutes"] for each in about), 2)
    return {
        "ensemble of": [str(folder) for folder in folders],
        "data": first["data"],
        "left out": {key: value for key, value in first["left out"].items() if key != "training"},
        "model": first["model"] | total,
        "training": {"minutes": minutes, **trainings},
        "machine": first["machine"],
        "versions": first["versions"],
    }


def predict_split(model: keras.Model, data: MatchingData, split: str) -> MatchPredictions:
    """P(match) of every row of a split, in the order of the lists' photos."""
    photos, captions, is_match = data.rows(split)
    found = []
    for inputs, truth, _ in data.batches(split):
        probability = model(inputs, training=False).numpy()[..., 0]
        found.append(probability[truth.numpy().any(axis=-1)])  # all but the padding
    return MatchPredictions(np.concatenate(found), is_match, tuple(photos), tuple(captions))


def keras_figures(predictions: MatchPredictions) -> dict[str, float]:
    """What `model.evaluate` would say: the loss and metrics of training, from the predictions."""
    probability = np.stack([predictions.probability, 1 - predictions.probability], axis=-1)
    truth = np.stack([predictions.is_match, ~predictions.is_match], axis=-1).astype(np.float32)
    probability = probability.astype(np.float32)
    figures = {"loss": float(loss()(truth, probability))}
    for metric in metrics():
        metric.update_state(truth, probability)
        figures[metric.name] = float(metric.result())
    return figures


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
        known = {normalise(text) for record in matches for text in record.texts}
        remain["caption not a match in train"] = [normalise(c) not in known for c in captions]
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
    return f"{', '.join(text_encoder_identity(config)) or config.encoder}, {where}"


def _history(run: Run) -> list[dict[str, float]]:
    """Of the training; of the alignment, where there was nothing after it."""
    return provenance.history(run) or provenance.history(run.part("align"))


def _about(scored: _Scored, split: str, records: Mapping[str, list[Record]]) -> dict:
    run, config, data, model = scored.run, scored.config, scored.data, scored.model
    progress = checkpoint.read_progress(run.last_checkpoint)
    stages = {"training": progress}
    aligned = run.part("align").last_checkpoint
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
        "keras evaluation": scored.keras_figures,
    }
