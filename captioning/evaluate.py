"""Score a run on a split and write its report.

report = evaluate("runs/gru_attention-1", split="dev")
print(report.summary)
"""

import dataclasses
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from captioning.data import CaptioningData, load, open_data
from captioning.describe import attention, in_words
from captioning.predict import TOGETHER, Caption, Captioner
from encoders import weights
from encoders.minilm import MODEL_FILE, VOCABULARY_FILE, SentenceEncoder
from encoders.photos import seen_by
from pipelines.captioned import SAMPLE_NOTICE, refuse_held_back
from pipelines.errors import DataError, UserError
from pipelines.pixels import naming_bad_photos
from pipelines.records import MATCH, SPLITS, Source
from reports.captioning.attention_maps import Looked
from reports.captioning.metrics.tokens import tokenize
from reports.captioning.report import CaptionPredictions, Evidence, write_report
from reports.captioning.scores import Judge, WordScores
from reports.report import Report, report_folder
from reports.tables import MODEL
from training import checkpoint, device, provenance
from training.run import Run, open_run, trained

GREEDY, ONE_FOR_ALL = "greedy", "one for all"
#: A caption where none was found.
NOTHING = Caption("", -math.inf, -math.inf, np.zeros(0, np.int32))


def evaluate(
    run: Run | str | Path,
    split: str = "dev",
    data: CaptioningData | None = None,
    overrides: Mapping | None = None,
    judge: Judge | None = None,
) -> Report:
    """Write report.json, .md and .html: of test into the run's folder, else its `report-<split>`.

    `overrides` are dotted keys of the configuration, such as another `data.root`, or
    `decoding.beams`. A `judge` scores the captions without their references.
    """
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r} -- one of {', '.join(SPLITS)}")
    run = trained(open_run(run.folder if isinstance(run, Run) else run))
    captioner = Captioner.load(run, overrides)
    config = captioner.config
    if data is None or split not in data.groups:
        refuse_held_back(open_data(config.data), split, run.folder)
        data = load(config, (split,), captioner.vocabulary)
    numbers, references = references_of(data, split)
    with naming_bad_photos(data.photos):
        said, photos_per_second = timed_captions(captioner, data, numbers)
        others = {GREEDY: greedy_captions(captioner, data, numbers)}
        words = score_words(captioner.model, data, split, numbers)
    training = training_captions(data.source)
    others[ONE_FOR_ALL] = [most_frequent(training) or references[0][0]] * len(numbers)
    if config.decoding.method == "beam" and config.decoding.beams == 1:
        del others[GREEDY]
    return write_report(
        report_folder(run.folder, split),
        title=f"{run.folder.name} on {split}",
        predictions=CaptionPredictions(
            tuple(str(data.photos.paths[number]) for number in numbers),
            tuple(caption.text for caption in said),
            np.array([caption.log_probability for caption in said]),
            tuple(map(tuple, references)),
        ),
        evidence=Evidence(
            others=others,
            names={MODEL: in_words(config.decoding)},
            words=words,
            training=training,
            vocabulary=len(captioner.vocabulary) - len(set(captioner.vocabulary.silent)),
            encoder=sentence_encoder(),
            judge=judge,
            looked=lambda place: looked(captioner, data, numbers[place], said[place]),
        ),
        history=history(run),
        about=_about(run, captioner, data, split, photos_per_second),
        notices=[SAMPLE_NOTICE] if data.source.kind == "sample" else [],
        resamples=config.report.resamples,
        shown=config.report.gallery,
    )


def references_of(data: CaptioningData, split: str) -> tuple[np.ndarray, list[list[str]]]:
    """The photos of a split by number, and all that was written of each, word for word: also what
    the recipe leaves no word of, and what was written twice."""
    numbers, kept = data.photos_of(split)
    written: dict[Path, list[str]] = {}
    for record in data.source.records(split, []):
        if record.label in (None, MATCH):
            written.setdefault(record.image, []).extend(record.texts)
    paths = [data.photos.paths[number] for number in numbers]
    return numbers, [written.get(path, texts) for path, texts in zip(paths, kept, strict=True)]


def timed_captions(
    captioner: Captioner, data: CaptioningData, numbers: np.ndarray
) -> tuple[list[Caption], float]:
    """The best caption of each photo, and photos a second once the graph is there."""
    captioner.of_numbers(data, numbers[:TOGETHER])
    start = time.perf_counter()
    found = captioner.of_numbers(data, numbers)
    seconds = time.perf_counter() - start
    return [best(captions) for captions in found], len(numbers) / seconds


def greedy_captions(captioner: Captioner, data: CaptioningData, numbers: np.ndarray) -> list[str]:
    greedy = dataclasses.replace(captioner.config.decoding, method="beam", beams=1, groups=1)
    return [best(captions).text for captions in captioner.of_numbers(data, numbers, greedy)]


def best(captions: Sequence[Caption]) -> Caption:
    return captions[0] if captions else NOTHING


def score_words(
    model: keras.Model, data: CaptioningData, split: str, numbers: np.ndarray
) -> WordScores:
    """How well each word is foreseen from the true ones before it, summed by photo [n]."""

    @tf.function(reduce_retracing=True)
    def sums(inputs, truth, weight):
        logits = model(inputs, training=False)
        log_p = ops.log_softmax(logits)
        given = ops.squeeze(ops.take_along_axis(log_p, truth[..., None], axis=-1), -1)
        right = ops.cast(ops.equal(ops.argmax(logits, axis=-1), truth), "float32")
        each = [weight, right * weight, -given * weight]
        return ops.stack([ops.sum(values, axis=(1, 2)) for values in each])

    found = [sums(*batch).numpy() for batch in data.batches(split)]
    by_group = np.concatenate(found, axis=1).astype(np.float64)
    place = {number: place for place, number in enumerate(numbers.tolist())}
    total = np.zeros((3, len(numbers)))
    # A photo with very many captions is several groups.
    np.add.at(total, (slice(None), [place[n] for n in data.groups[split].photo.tolist()]), by_group)
    return WordScores(*total)


def training_captions(source: Source) -> list[str]:
    """Of the training split, as written; the photos are not read. None where it is not there."""
    try:
        rows = [row for row in source.records("train", []) if row.label in (None, MATCH)]
    except DataError:
        return []
    return [text for row in rows for text in row.texts]


def most_frequent(captions: Sequence[str]) -> str | None:
    counts = Counter(" ".join(tokenize(caption)) for caption in captions)
    return counts.most_common(1)[0][0] if counts else None


def sentence_encoder() -> SentenceEncoder | None:
    """MiniLM, where its weights are on this machine: nothing is downloaded for a report."""
    if not weights.at_hand(MODEL_FILE, VOCABULARY_FILE):
        return None
    try:
        return SentenceEncoder.load()
    except UserError:
        return None


def looked(
    captioner: Captioner, data: CaptioningData, number: int, caption: Caption
) -> Looked | None:
    """Where the model looked at each word of a photo's caption."""
    image, good = data.photos.fetch([number])
    return attention(captioner, image[0], caption) if good[0] else None


def history(run: Run) -> list[dict[str, float]]:
    """All epochs, those of the self-critical stage behind the others. (Its loss is of another kind,
    so it is left out.)"""
    rows = provenance.history(run.folder)
    for row in provenance.history(run.part("critic").folder):
        kept = {key: value for key, value in row.items() if key != "loss"}
        rows.append({**kept, "epoch": len(rows) + 1})
    return rows


def _about(
    run: Run, captioner: Captioner, data: CaptioningData, split: str, photos_per_second: float
) -> dict:
    config, model = captioner.config, captioner.model
    stages = {"words": checkpoint.read_progress(run.checkpoints / "last.npz")}
    critic = run.part("critic").checkpoints / "last.npz"
    if critic.is_file():
        stages["critic"] = checkpoint.read_progress(critic)
    seconds = sum(stage.seconds for stage in stages.values())
    vocabulary, critic = captioner.vocabulary, {}
    if "critic" in stages:
        # None of its epochs: what it began with was better.
        critic = {
            "self-critical epochs": len(stages["critic"].history),
            "best self-critical epoch": stages["critic"].best_epoch + 1 or "none",
        }
    return {
        "command": provenance.command(run),
        "configuration": str(run.config_file),
        "data": {
            "source": data.source.kind,
            "root": str(data.source.root),
            "split": split,
            "photos": len(data.photos_of(split)[0]),
        },
        "left out": {
            f"photos and captions left out of the {split} split": data.left_out.get(split, 0),
            "training": provenance.left_out_of_training(run),
        },
        "model": {
            "kind": config.model.kind,
            "photos": seen_by(config.data),
            "words that can be said": len(vocabulary) - len(set(vocabulary.silent)),
            "parameters": model.count_params(),
            "trainable parameters": sum(math.prod(v.shape) for v in model.trainable_variables),
        },
        "decoding": {
            **dataclasses.asdict(config.decoding),
            "photos per second": round(photos_per_second, 1),
        },
        "training": {
            "seed": config.train.seed,
            "epochs": len(stages["words"].history),
            "best epoch": stages["words"].best_epoch + 1,
            "chosen by": config.train.monitor,
            **critic,
            "learning rate": config.train.learning_rate,
            "precision": device.precision_name(config.train.precision),
            "minutes": round(seconds / 60, 2),
        },
        "machine": provenance.machine(),
        "versions": provenance.versions(),
    }
