"""Evaluate a captioning run on a split and write its report.

report = evaluate("runs/gru_attention-1", split="dev")
print(report.summary)
"""

import dataclasses
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from keras import ops

from imagetext.captioning.config import CaptioningConfig, DecodingConfig
from imagetext.captioning.data import CaptioningData, load, open_data
from imagetext.captioning.decoding.rules import mean_log_probabilities
from imagetext.captioning.describe import attention, describe_decoding, open_model
from imagetext.captioning.predict import BATCH, Caption, CaptioningModel, best
from imagetext.encoders import weights
from imagetext.encoders.minilm import MODEL_FILE, VOCABULARY_FILE, SentenceEncoder
from imagetext.encoders.photos import describe_image_encoders
from imagetext.errors import DataError, UserError
from imagetext.metrics.captioning.scores import Judge, WordScores
from imagetext.metrics.captioning.tokens import tokenize
from imagetext.pipelines.captioned import require_captions
from imagetext.pipelines.pixels import report_bad_photos
from imagetext.pipelines.records import MATCH, Source
from imagetext.pipelines.sample import sample_notices
from imagetext.reports.captioning.attention_maps import AttentionMaps
from imagetext.reports.captioning.figures import BASELINE
from imagetext.reports.captioning.predictions import CaptionPredictions
from imagetext.reports.captioning.report import Evidence, write_report
from imagetext.reports.kit.report import Report, report_folder
from imagetext.reports.kit.tables import MODEL
from imagetext.training import checkpoint, device, provenance
from imagetext.training.ensemble import open_for_evaluation, short_names, write_members
from imagetext.training.run import Run

GREEDY = "greedy"


def evaluate(
    run: Run | str | Path,
    split: str = "dev",
    data: CaptioningData | None = None,
    overrides: Mapping | None = None,
    judge: Judge | None = None,
    to: str | Path | None = None,
) -> Report:
    """Evaluate a run, or an ensemble of runs.

    Args:
        run: The run, its folder, or the folders of several runs separated by commas. An ensemble is
            reported together with each of its runs.
        split: The split to describe.
        data: The data, if it has been loaded already.
        overrides: Configuration keys to change, by dotted name, such as `data.root` and
            `decoding.beams`.
        judge: A model that scores the captions without their references.
        to: Folder for the report of an ensemble; by default next to the first run.

    Returns:
        The report, written to the folder of the run for test and to `report-<split>` in it for
        other splits.
    """
    runs, folder = open_for_evaluation(run, split, to)
    run_name = str(run.folder if isinstance(run, Run) else run)
    folders, is_ensemble = [each.folder for each in runs], len(runs) > 1
    captioner = open_model(run_name, overrides)
    config = captioner.config
    if data is None or split not in data.groups:
        require_captions(open_data(config.data), split, run_name)
        data = load(config, (split,), captioner.vocabulary)
    numbers, references = references_of(data, split)
    names = short_names(folders)
    with report_bad_photos(data.photos):
        captions, photos_per_second = time_captions(captioner, data, numbers)
        others = {
            name: best_captions(other, data, numbers, decoding)
            for name, (other, decoding) in alternatives(captioner, names).items()
        }
        words = score_words(captioner, data, split, numbers)
    training = training_captions(data.source)
    others[BASELINE] = [most_frequent(training) or references[0][0]] * len(numbers)
    method, title = describe_decoding(config.decoding), f"{', '.join(names)} on {split}"
    if is_ensemble:
        write_members(folder, folders)
        method, title = f"{len(runs)} runs, {method}", f"ensemble of {title}"
    return write_report(
        report_folder(folder, split),
        title=title,
        predictions=CaptionPredictions(
            tuple(str(data.photos.paths[number]) for number in numbers),
            tuple(caption.text for caption in captions),
            np.array([caption.log_probability for caption in captions]),
            tuple(map(tuple, references)),
        ),
        evidence=Evidence(
            others=others,
            names={MODEL: method},
            words=words,
            training=training,
            vocabulary=len(captioner.vocabulary) - len(captioner.vocabulary.special_ids),
            encoder=sentence_encoder(),
            judge=judge,
            attention=lambda row: attention_maps(captioner, data, numbers[row], captions[row]),
        ),
        history=[] if is_ensemble else history(runs[0]),
        about=_about(runs, captioner, data, split, photos_per_second),
        notices=sample_notices(data.source),
        resamples=config.report.resamples,
        examples=config.report.gallery,
    )


def references_of(data: CaptioningData, split: str) -> tuple[np.ndarray, list[list[str]]]:
    """The numbers of the photos of a split, and all reference captions of each, unprocessed.

    Includes duplicates, and captions that have no word left after processing.
    """
    numbers, processed = data.photos_of(split)
    written: dict[Path, list[str]] = {}
    for record in data.source.records(split, []):
        if record.label in (None, MATCH):
            written.setdefault(record.image, []).extend(record.texts)
    paths = [data.photos.paths[number] for number in numbers]
    return numbers, [written.get(path, texts) for path, texts in zip(paths, processed, strict=True)]


def time_captions(
    captioner: CaptioningModel, data: CaptioningData, numbers: np.ndarray
) -> tuple[list[Caption], float]:
    """The best caption of each photo, and photos per second."""
    captioner.predict_numbers(data, numbers[:BATCH])  # builds the graph
    start = time.perf_counter()
    captions = captioner.predict_numbers(data, numbers)
    seconds = time.perf_counter() - start
    return list(map(best, captions)), len(numbers) / seconds


def alternatives(
    captioner: CaptioningModel, names: Sequence[str]
) -> dict[str, tuple[CaptioningModel, DecodingConfig]]:
    """Models and decodings to compare with: greedy search, and each run of an ensemble alone.

    Args:
        captioner: The model.
        names: The names of its runs.
    """
    decoding, results = captioner.config.decoding, {}
    greedy = dataclasses.replace(decoding, method="beam", beams=1, groups=1)
    if decoding.method != "beam" or decoding.beams > 1:
        results[GREEDY] = captioner, greedy
    if len(captioner.members) > 1:
        for name, member in zip(names, captioner.members, strict=True):
            results[f"{name} alone"] = member, decoding
    return results


def best_captions(
    captioner: CaptioningModel, data: CaptioningData, numbers: np.ndarray, decoding: DecodingConfig
) -> list[str]:
    """The text of the best caption of each photo."""
    return [best(captions).text for captions in captioner.predict_numbers(data, numbers, decoding)]


def score_words(
    captioner: CaptioningModel, data: CaptioningData, split: str, numbers: np.ndarray
) -> WordScores:
    """How well each word is predicted from the true words before it, summed by photo [n]."""

    @tf.function(reduce_retracing=True)
    def sum_words(inputs, targets, weight):
        logits = [member.model(inputs, training=False) for member in captioner.members]
        log_p = mean_log_probabilities(logits)
        target_log_p = ops.squeeze(ops.take_along_axis(log_p, targets[..., None], axis=-1), -1)
        correct = ops.cast(ops.equal(ops.argmax(log_p, axis=-1), targets), "float32")
        values = [weight, correct * weight, -target_log_p * weight]
        return ops.stack([ops.sum(each, axis=(1, 2)) for each in values])

    sums = [sum_words(*batch).numpy() for batch in data.batches(split)]
    by_group = np.concatenate(sums, axis=1).astype(np.float64)
    row = {number: row for row, number in enumerate(numbers.tolist())}
    total = np.zeros((3, len(numbers)))
    # A photo with more than `data.max_captions` captions forms several groups.
    np.add.at(total, (slice(None), [row[n] for n in data.groups[split].photo.tolist()]), by_group)
    return WordScores(*total)


def training_captions(source: Source) -> list[str]:
    """The unprocessed captions of the training split; none if the split does not exist.

    Photos are not read.
    """
    try:
        rows = [row for row in source.records("train", []) if row.label in (None, MATCH)]
    except DataError:
        return []
    return [text for row in rows for text in row.texts]


def most_frequent(captions: Sequence[str]) -> str | None:
    """The most frequent caption, tokenized."""
    counts = Counter(" ".join(tokenize(caption)) for caption in captions)
    return counts.most_common(1)[0][0] if counts else None


def sentence_encoder() -> SentenceEncoder | None:
    """MiniLM if its weights are on this machine; nothing is downloaded for a report."""
    if not weights.is_available(MODEL_FILE, VOCABULARY_FILE):
        return None
    try:
        return SentenceEncoder.load()
    except UserError:
        return None


def attention_maps(
    captioner: CaptioningModel, data: CaptioningData, number: int, caption: Caption
) -> AttentionMaps | None:
    """The attention at each word of a photo's caption; None if the photo cannot be read."""
    image, is_good = data.photos.fetch([number])
    return attention(captioner, image[0], caption) if is_good[0] else None


def history(run: Run) -> list[dict]:
    """The epochs of both stages. The loss of the self-critical stage is left out: it cannot be
    compared with that of the first stage."""
    rows = provenance.history(run)
    for row in provenance.history(run.part("critic")):
        values = {key: value for key, value in row.items() if key != "loss"}
        rows.append({**values, "epoch": len(rows) + 1, "stage": "self-critical"})
    return rows


def _about(
    runs: Sequence[Run],
    captioner: CaptioningModel,
    data: CaptioningData,
    split: str,
    photos_per_second: float,
) -> dict:
    config, members, vocabulary = captioner.config, captioner.members, captioner.vocabulary
    trainings = [_training(run, member.config) for run, member in zip(runs, members, strict=True)]
    origin = {"command": provenance.command(runs[0]), "configuration": str(runs[0].config_file)}
    left_out = {f"photos and captions left out of the {split} split": data.left_out.get(split, 0)}
    if len(runs) == 1:
        training = trainings[0]
        left_out["training"] = provenance.left_out_of_training(runs[0])
    else:
        names = short_names([run.folder for run in runs])
        origin = {"ensemble of": [str(run.folder) for run in runs]}
        minutes = sum(each["minutes"] for each in trainings)
        training = {"minutes": round(minutes, 2), **dict(zip(names, trainings, strict=True))}
    variables = [v for member in members for v in member.model.trainable_variables]
    return {
        **origin,
        "data": {
            "source": data.source.kind,
            "root": str(data.source.root),
            "split": split,
            "photos": len(data.photos_of(split)[0]),
        },
        "left out": left_out,
        "model": {
            "kind": ", ".join(dict.fromkeys(member.config.model.kind for member in members)),
            "photos": describe_image_encoders(config.data),
            "words that can be said": len(vocabulary) - len(vocabulary.special_ids),
            "parameters": sum(member.model.count_params() for member in members),
            "trainable parameters": sum(math.prod(v.shape) for v in variables),
        },
        "decoding": {
            **dataclasses.asdict(config.decoding),
            "photos per second": round(photos_per_second, 1),
        },
        "training": training,
        "machine": provenance.machine(),
        "versions": provenance.versions(),
    }


def _training(run: Run, config: CaptioningConfig) -> dict:
    stages = {"words": checkpoint.read_progress(run.last_checkpoint)}
    last = run.part("critic").last_checkpoint
    critic = {}
    if last.is_file():
        stages["critic"] = checkpoint.read_progress(last)
        # "none" if no epoch was better than the weights that the stage started with.
        critic = {
            "self-critical epochs": len(stages["critic"].history),
            "best self-critical epoch": stages["critic"].best_epoch + 1 or "none",
        }
    seconds = sum(stage.seconds for stage in stages.values())
    return {
        "seed": config.train.seed,
        "epochs": len(stages["words"].history),
        "best epoch": stages["words"].best_epoch + 1,
        "chosen by": config.train.monitor,
        **critic,
        "learning rate": config.train.learning_rate,
        "precision": device.precision_name(config.train.precision),
        "minutes": round(seconds / 60, 2),
    }
