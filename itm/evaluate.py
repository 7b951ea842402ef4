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
from imagetext.errors import UserError
from imagetext.itm.config import CHANGEABLE, DataConfig, ITMConfig, TextConfig
from imagetext.itm.data import MatchingData, load
from imagetext.itm.leaks import EXTRA, audited_records, extra_notice, leak_free_rows
from imagetext.itm.record import describe_weights, require_same_encoders
from imagetext.itm.texts import text_encoder_identity
from imagetext.itm.train import CONTROLS, loss, metrics, notices_of_data
from imagetext.pipelines.audit import audit
from imagetext.pipelines.pixels import report_bad_photos
from imagetext.pipelines.records import Record
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
        data = None  # the other runs may use other encoders
    first = scored[0]
    for other in scored[1:]:
        if not other.predictions.same_rows(first.predictions):
            raise UserError(
                f"{other.run.folder} and {first.run.folder} have different rows, so they cannot be"
                " evaluated as an ensemble; evaluate them on the same data: --data.root PATH"
            )
    records, extra = audited_records(first.run, first.config, first.data)
    # The audit also compares stored features; a model on pixels has none.
    photos = first.data.photos
    store = photos.parts[0].store if isinstance(photos, StoredFeatures) else None
    audited = audit(records, together=("train", EXTRA) if extra else (), store=store)
    notices = notices_of_data(first.data.source)
    if split == "dev":
        notices.append(dev_notice(first.config))
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
        subsets=leak_free_rows(first.data, split, records),
        members=members,
    )


@dataclass(frozen=True)
class _Scored:
    """A run with its model and predictions on a split."""

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


def _mean(members: Sequence[MatchPredictions]) -> MatchPredictions:
    """The predictions of an ensemble: the mean probability of each row."""
    if len(members) == 1:
        return members[0]
    mean = np.mean([predictions.probability for predictions in members], axis=0)
    return dataclasses.replace(members[0], probability=mean)


def _mean_controls(scored: Sequence[_Scored]) -> dict[str, MatchPredictions]:
    """The controls that every run has, averaged like the runs."""
    names = [name for name in CONTROLS if all(name in each.controls for each in scored)]
    return {name: _mean([each.controls[name] for each in scored]) for name in names}


def _about_ensemble(folders: Sequence[Path], about: Sequence[Mapping]) -> dict:
    """The facts about an ensemble for its report; the members share data and machine."""
    first, names = about[0], short_names(folders)
    keys = ("parameters", "with frozen encoders", "trainable parameters")
    total = {key: sum(each["model"][key] for each in about) for key in keys}
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
    """P(match) of every row of a split, in the order of `data.rows`."""
    photos, captions, is_match = data.rows(split)
    batches = []
    for inputs, truth, _ in data.batches(split):
        probability = model(inputs, training=False).numpy()[..., 0]
        batches.append(probability[truth.numpy().any(axis=-1)])  # all but the padding
    return MatchPredictions(np.concatenate(batches), is_match, tuple(photos), tuple(captions))


def keras_figures(predictions: MatchPredictions) -> dict[str, float]:
    """The loss and metrics that `model.evaluate` would return, computed from the predictions."""
    probability = np.stack([predictions.probability, 1 - predictions.probability], axis=-1)
    truth = np.stack([predictions.is_match, ~predictions.is_match], axis=-1).astype(np.float32)
    probability = probability.astype(np.float32)
    figures = {"loss": float(loss()(truth, probability))}
    for metric in metrics():
        metric.update_state(truth, probability)
        figures[metric.name] = float(metric.result())
    return figures


def dev_notice(config: ITMConfig) -> str:
    """The notice that scores on dev are optimistic."""
    fitted = ", and the probabilities were calibrated on it" * config.model.calibrate
    return (
        f"The best epoch was chosen on this split{fitted}, so its scores are optimistic; use test."
    )


def frozen_parameters(config: DataConfig, text: TextConfig) -> int:
    """Number of parameters of the encoders outside the model."""
    names = [] if config.from_pixels else config.image_encoders
    sentence_encoder = TEXT_ENCODERS.get(text.encoder) if text.input == "embeddings" else None
    return sum(image_encoder(name).parameters for name in names) + (
        sentence_encoder.parameters if sentence_encoder else 0
    )


def describe_text_encoder(config: TextConfig) -> str:
    """The text encoder and where it is, for the report: "bert_base, inside the model"."""
    where = "inside the model" if config.input == "tokens" else "as embeddings"
    return f"{', '.join(text_encoder_identity(config)) or config.encoder}, {where}"


def _history(run: Run) -> list[dict[str, float]]:
    """The history of the training; of the alignment, if there was no training after it."""
    return provenance.history(run) or provenance.history(run.part("align"))


def _about(scored: _Scored, split: str, records: Mapping[str, list[Record]]) -> dict:
    """The facts about a run for its report."""
    run, config, data, model = scored.run, scored.config, scored.data, scored.model
    progress = checkpoint.read_progress(run.last_checkpoint)
    stages = {"training": progress}
    aligned = run.part("align").last_checkpoint
    if aligned.is_file():
        stages["alignment"] = checkpoint.read_progress(aligned)
    # Without training after it, the alignment chose the best epoch.
    chosen, chosen_by, rate = progress, config.train.monitor, config.train.learning_rate
    if not config.train.epochs:
        chosen, chosen_by, rate = stages["alignment"], "val_auc", config.align.learning_rate
    seconds = sum(stage.seconds for stage in stages.values())
    trained_on = [*records.get("train", ()), *records.get(EXTRA, ())]
    photos = {
        "training": len({record.image for record in records.get("train", ())}),
        "alignment": len({record.image for record in trained_on}),
    }
    processed = sum(len(stage.history) * photos[name] for name, stage in stages.items())
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
            "photos": ", ".join(config.data.image_encoders) or "a CNN on raw pixels",
            "captions": describe_text_encoder(config.text),
            "weights": describe_weights(list(data.photos.identity)) or "in the model",
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
            "images per second": round(processed / seconds, 1) if seconds else None,
        },
        "machine": provenance.machine(),
        "versions": provenance.versions(),
        "keras evaluation": scored.keras_figures,
    }
