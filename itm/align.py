"""The stage before the training: photos and captions that belong together learn to agree.

    align(run, config, data, model)

Both sides of the matching model, up to the vectors that its head compares, become a dual encoder:
every photo of a batch must find its own caption among all of them. What it learns from are true
pairs alone: the matches of the training rows and, where they are given, further captions.
"""

import dataclasses
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from itm.config import ITMConfig
from itm.data import MatchingData
from itm.models import VECTORS
from pipelines.batches import made, text_spec, trimmed, with_empty
from pipelines.records import MATCH
from training.checkpoint import Progress
from training.config import TrainConfig
from training.contrastive import Contrastive, PairAUC, Temperature
from training.fit import fit
from training.run import Run

#: Captions of a batch are of like length: sorted within so many batches, so little is padding.
SORTED_BATCHES = 8


def align(
    run: Run, config: ITMConfig, data: MatchingData, model: keras.Model, rates, resume: bool
) -> Progress:
    """Train the sides of `model` in place; keeps its state in the run's folder `align`."""
    both = dual_encoder(model, config.align.temperature)
    train, dev = (pairs_of(data, split) for split in ("train", "dev"))
    size = min(config.align.batch_size, len(train))

    def batches(epoch: int, skip: int) -> tf.data.Dataset:
        chosen = choose(train, size, data.texts, np.random.default_rng([config.train.seed, epoch]))
        return pair_batches(data, chosen, skip)

    fixed = [np.array([(photo, texts[0]) for photo, texts in dev.items()])]
    fixed = np.array_split(fixed[0], max(1, -(-len(fixed[0]) // size)))
    progress = fit(
        both,
        loss=Contrastive(),
        metrics=[PairAUC()],
        train=batches,
        steps=len(train) // size,
        dev=pair_batches(data, fixed),
        config=stage_config(config),
        folder=run.part("align").checkpoints,
        resume=resume,
        signature=f"align {data.signature} {dataclasses.asdict(config.align)}",
        rates=rates,
    )
    return progress


def stage_config(config: ITMConfig) -> TrainConfig:
    """The training's settings, but for what the alignment has of its own."""
    return dataclasses.replace(
        config.train,
        epochs=config.align.epochs,
        learning_rate=config.align.learning_rate,
        monitor="val_auc",
    )


def dual_encoder(model: keras.Model, temperature: float) -> keras.Model:
    """{"image", "texts" [b, 1, ...]} -> similarities [b, b], photos down, captions across."""
    photo, text = (model.get_layer(name).output for name in VECTORS.values())
    photo, text = (unit(side) for side in (photo, text[:, 0]))
    cosines = ops.matmul(photo, ops.transpose(text))
    similarities = Temperature(temperature, name="temperature")(cosines)
    return keras.Model(model.input, similarities, name="dual_encoder")


def unit(x):
    x = ops.cast(x, "float32")
    return x / ops.sqrt(ops.sum(x * x, axis=-1, keepdims=True) + 1e-6)


def pairs_of(data: MatchingData, split: str) -> dict[int, list[int]]:
    """Photo -> its captions, by number: the matches of a split; of train, the further ones too."""
    number = {caption: place for place, caption in enumerate(data.captions)}
    photo_number = {path: place for place, path in enumerate(data.photos.paths)}
    records = [record for record in data.records[split] if record.label == MATCH]
    found: dict[int, dict[int, None]] = {}
    for record in records + (data.extra if split == "train" else []):
        known = [number[text] for text in record.texts if text in number]
        found.setdefault(photo_number[record.image], {}).update(dict.fromkeys(known))
    return {photo: list(captions) for photo, captions in found.items() if captions}


def choose(
    pairs: Mapping[int, list[int]], size: int, texts: np.ndarray, rng: np.random.Generator
) -> list[np.ndarray]:
    """Batches int [size, 2] of photos, each with one of its captions; the odd rest is left out."""
    photos = rng.permutation(list(pairs))
    captions = np.array([rng.choice(pairs[photo]) for photo in photos])
    order = np.arange(len(photos))
    if texts.dtype.kind == "i":
        length = (texts[captions] != 0).sum(axis=1) + rng.random(len(photos))
        order = np.concatenate(
            [
                chunk[np.argsort(length[chunk])]
                for chunk in np.split(
                    order, range(SORTED_BATCHES * size, len(order), SORTED_BATCHES * size)
                )
            ]
        )
    chosen = np.stack([photos, captions], axis=1)[order]
    return [chosen[start : start + size] for start in range(0, len(chosen) - size + 1, size)]


def pair_batches(data: MatchingData, chosen: list[np.ndarray], skip: int = 0) -> tf.data.Dataset:
    """({"image", "texts" [b, 1, ...]}, truth [b, b]): 1 own, 0 another's, -1 nobody knows."""
    known = with_empty(data.texts)

    def make(number):
        photo, text = chosen[number].T
        image, good = data.photos.fetch(photo)
        same = (photo[:, None] == photo) | (text[:, None] == text)
        truth = np.where(same, -1.0, 0.0)
        np.fill_diagonal(truth, 1.0)
        truth[~good], truth[:, ~good] = -1.0, -1.0
        return image, trimmed(known[text][:, None]), truth.astype(np.float32)

    photos = data.photos
    specs = [
        tf.TensorSpec([None, *photos.shape], photos.dtype),
        text_spec(known, 1),
        tf.TensorSpec([None, None], tf.float32),
    ]
    batches = made(make, specs, len(chosen), skip)
    return batches.map(lambda image, text, truth: ({"image": image, "texts": text}, truth))
