"""The stage before the training: photos and captions that belong together learn to agree.

    align(run, config, data, model, rates, resume=False, signature="")

Both sides of the matching model, up to the vectors that its head compares, become a dual encoder:
every photo of a batch must find its own caption among all of them. What it learns from are true
pairs alone: the matches of the training rows and, where they are given, further captions.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from imagetext.errors import UserError
from imagetext.itm.config import ITMConfig
from imagetext.itm.data import MatchingData
from imagetext.itm.models import LATE_VECTORS, VECTORS
from imagetext.itm.texts import count_tokens
from imagetext.layers.contrastive import Contrastive, PairAUC, Temperature, l2_normalize
from imagetext.layers.late_interaction import LateInteraction
from imagetext.pipelines.batches import (
    append_empty,
    photo_spec,
    sort_in_windows,
    text_spec,
    trim_padding,
)
from imagetext.pipelines.captioned import captions_of_copies, choose_mirrored, may_be_mirrored
from imagetext.pipelines.feature_store import FLIPPED, PLAIN
from imagetext.pipelines.pair_batches import first_pairs, pair_batches
from imagetext.pipelines.records import MATCH, Record
from imagetext.training.checkpoint import Progress
from imagetext.training.config import TrainConfig
from imagetext.training.fit import fit
from imagetext.training.optimizer import Rates
from imagetext.training.run import Run


def align(
    run: Run,
    config: ITMConfig,
    data: MatchingData,
    model: keras.Model,
    rates: Rates,
    resume: bool,
    signature: str,
) -> Progress:
    """Train the sides of `model` in place; keeps its state in the run's folder `align`."""
    train, dev = (pairs_of(data, split) for split in ("train", "dev"))
    known = captions_of_copies(train, data.photos.paths)
    size = min(config.align.batch_size, len(train))

    may_flip = None
    if config.align.flips:
        number = {path: place for place, path in enumerate(data.photos.paths)}
        may_flip = may_be_mirrored({"train": true_records(data, "train")}, number)

    def batches(epoch: int, skip: int) -> tf.data.Dataset:
        chosen = choose(train, size, data.texts, np.random.default_rng([config.train.seed, epoch]))
        flips = None
        if may_flip is not None:
            flips = choose_mirrored(may_flip, config.train.seed, epoch)
        return alignment_batches(data, chosen, known, skip, flips)

    return fit(
        dual_encoder(model, config.align.temperature, config.model.late),
        loss=Contrastive(config.align.hardness),
        metrics=[PairAUC()],
        train=batches,
        steps=len(train) // size,
        dev=alignment_batches(
            data,
            first_pairs(dev, size),
            captions_of_copies(dev, data.photos.paths),
        ),
        config=stage_config(config),
        run=run.part("align"),
        resume=resume,
        signature=signature,
        rates=rates,
    )


def stage_config(config: ITMConfig) -> TrainConfig:
    """The training's settings, but for what the alignment has of its own."""
    return dataclasses.replace(
        config.train,
        epochs=config.align.epochs,
        learning_rate=config.align.learning_rate,
        monitor="val_auc",
    )


def dual_encoder(model: keras.Model, temperature: float, late: float = 0.0) -> keras.Model:
    """{"image" [b, ...], "texts" [b, 1, ...]} -> similarities [b, b], a photo a row."""
    photo, text = (model.get_layer(name).output for name in VECTORS.values())
    photo, text = (l2_normalize(side) for side in (photo, text[:, 0]))
    cosines = ops.matmul(photo, ops.transpose(text))
    if late:
        cells, words, mask = (model.get_layer(name).output for name in LATE_VECTORS.values())
        cells, words = l2_normalize(cells), l2_normalize(words[:, 0])
        met = LateInteraction(name="late")(cells, words, mask[:, 0])
        cosines = (1 - late) * cosines + late * met
    similarities = Temperature(temperature, name="temperature")(cosines)
    return keras.Model(model.input, similarities, name="dual_encoder")


def true_records(data: MatchingData, split: str) -> list[Record]:
    """The matches of a split; of train, the further captions too."""
    records = [record for record in data.records[split] if record.label == MATCH]
    return records + (data.extra if split == "train" else [])


def pairs_of(data: MatchingData, split: str) -> dict[int, list[int]]:
    """Photo -> its captions, by number: the matches of a split; of train, the further ones too."""
    number = {caption: place for place, caption in enumerate(data.captions)}
    photo_number = {path: place for place, path in enumerate(data.photos.paths)}
    found: dict[int, dict[int, None]] = {}
    for record in true_records(data, split):
        known = [number[text] for text in record.texts if text in number]
        found.setdefault(photo_number[record.image], {}).update(dict.fromkeys(known))
    pairs = {photo: list(captions) for photo, captions in found.items() if captions}
    if not pairs:
        raise UserError(
            f"align.epochs: the {split} split has no matches to learn from; set it to 0"
        )
    return pairs


def choose(
    pairs: Mapping[int, list[int]], size: int, texts: np.ndarray, rng: np.random.Generator
) -> list[np.ndarray]:
    """Batches int [size, 2] of photos, each with one of its captions; the odd rest is left out."""
    count = len(pairs) // size
    photos = rng.permutation(list(pairs))[: count * size]
    captions = np.array([rng.choice(pairs[photo]) for photo in photos])
    chosen = np.stack([photos, captions], axis=1)
    if texts.dtype.kind == "i":  # word pieces
        length = count_tokens(texts[captions]) + rng.random(len(photos))
        chosen = chosen[sort_in_windows(length, size)]
    return np.split(chosen, count)


def alignment_batches(
    data: MatchingData,
    chosen: Sequence[np.ndarray],
    known: Mapping[int, np.ndarray],
    skip: int = 0,
    flips: np.ndarray | None = None,
) -> tf.data.Dataset:
    """({"image", "texts" [b, 1, ...]}, truth [b, b]): 1 own, 0 another's, -1 nobody knows.

    The latter are captions that are `known` to describe the photo, though chosen for another, and
    whatever is paired with a photo that could not be read. `flips`, bool a photo, says which are
    seen mirrored.
    """
    photos, texts = data.photos, append_empty(data.texts)

    def fetch(photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if flips is None:
            return photos.fetch(photo)
        return photos.fetch(photo, np.where(flips[photo], FLIPPED, PLAIN))

    return pair_batches(
        fetch,
        lambda text: trim_padding(texts[text][:, None]),
        (photo_spec(photos), text_spec(texts, 1)),
        chosen,
        known,
        skip=skip,
    )
