"""Contrastive pretraining of both sides of a matching model, before it is trained as a classifier.

    align(run, config, data, model, rates, resume=False, signature="")

Both sides of the model, up to the vectors that its head compares, form a dual encoder: each photo
of a batch has to be matched with its caption. Only true pairs are used: the matches of the training
rows and, if configured, extra captions.
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
    """Train both sides of a model in place.

    Args:
        run: The run; the state of this stage is kept in its folder `align`.
        config: The configuration.
        data: The data, with its train and dev splits.
        model: The matching model.
        rates: Pretrained variables, each with its share of the learning rate.
        resume: Continue from the last checkpoint of the stage.
        signature: Identifies model, recipe and data; a resumed stage must have the same.

    Returns:
        The progress of the stage.
    """
    train, dev = (number_pairs(data, split) for split in ("train", "dev"))
    train_captions = captions_of_copies(train, data.photos.paths)
    size = min(config.align.batch_size, len(train))

    may_flip = None
    if config.align.flips:
        photo_number = {path: number for number, path in enumerate(data.photos.paths)}
        may_flip = may_be_mirrored({"train": matching_records(data, "train")}, photo_number)

    def batches(epoch: int, skip: int) -> tf.data.Dataset:
        seed = config.train.seed
        chosen = choose_pairs(train, size, data.texts, np.random.default_rng([seed, epoch]))
        flips = None if may_flip is None else choose_mirrored(may_flip, seed, epoch)
        return alignment_batches(data, chosen, train_captions, skip, flips)

    return fit(
        dual_encoder(model, config.align.temperature, config.model.late),
        loss=Contrastive(config.align.hardness),
        metrics=[PairAUC()],
        train=batches,
        steps=len(train) // size,
        dev=alignment_batches(
            data, first_pairs(dev, size), captions_of_copies(dev, data.photos.paths)
        ),
        config=stage_config(config),
        run=run.part("align"),
        resume=resume,
        signature=signature,
        rates=rates,
    )


def stage_config(config: ITMConfig) -> TrainConfig:
    """The `train` section, with the epochs and the learning rate of the alignment."""
    return dataclasses.replace(
        config.train,
        epochs=config.align.epochs,
        learning_rate=config.align.learning_rate,
        monitor="val_auc",
    )


def dual_encoder(model: keras.Model, temperature: float, late: float = 0.0) -> keras.Model:
    """The part of a matching model up to the compared vectors, as a dual encoder that shares its
    weights.

    Args:
        model: The matching model.
        temperature: Initial divisor of the similarities.
        late: Weight of late interaction, as in `model.late`.

    Returns:
        A model from {"image" [b, ...], "texts" [b, 1, ...]} to the similarities [b, b] of photos
        (rows) and captions (columns).
    """
    photo, text = (model.get_layer(name).output for name in VECTORS.values())
    photo, text = (l2_normalize(side) for side in (photo, text[:, 0]))
    cosines = ops.matmul(photo, ops.transpose(text))
    if late:
        cells, words, mask = (model.get_layer(name).output for name in LATE_VECTORS.values())
        cells, words = l2_normalize(cells), l2_normalize(words[:, 0])
        interaction = LateInteraction(name="late")(cells, words, mask[:, 0])
        cosines = (1 - late) * cosines + late * interaction
    similarities = Temperature(temperature, name="temperature")(cosines)
    return keras.Model(model.input, similarities, name="dual_encoder")


def matching_records(data: MatchingData, split: str) -> list[Record]:
    """The matches of a split; for train, the extra captions too."""
    records = [record for record in data.records[split] if record.label == MATCH]
    return records + (data.extra if split == "train" else [])


def number_pairs(data: MatchingData, split: str) -> dict[int, list[int]]:
    """The matching captions of each photo of a split, by number, each once."""
    caption_number = {caption: number for number, caption in enumerate(data.captions)}
    photo_number = {path: number for number, path in enumerate(data.photos.paths)}
    captions_of: dict[int, dict[int, None]] = {}
    for record in matching_records(data, split):
        numbers = [caption_number[text] for text in record.texts if text in caption_number]
        captions_of.setdefault(photo_number[record.image], {}).update(dict.fromkeys(numbers))
    pairs = {photo: list(captions) for photo, captions in captions_of.items() if captions}
    if not pairs:
        raise UserError(
            f"align.epochs: the {split} split has no matches to learn from; set it to 0"
        )
    return pairs


def choose_pairs(
    pairs: Mapping[int, list[int]], size: int, texts: np.ndarray, rng: np.random.Generator
) -> list[np.ndarray]:
    """Pair every photo with a random one of its captions, in batches.

    Args:
        pairs: The captions of each photo.
        size: Photos in a batch; those of an incomplete batch are left out.
        texts: All texts; if they are token ids, captions of similar length share a batch.
        rng: The source of randomness.

    Returns:
        Batches int [size, 2] of photo and caption numbers.
    """
    count = len(pairs) // size
    photos = rng.permutation(list(pairs))[: count * size]
    captions = np.array([rng.choice(pairs[photo]) for photo in photos])
    rows = np.stack([photos, captions], axis=1)
    if texts.dtype.kind == "i":
        length = count_tokens(texts[captions]) + rng.random(len(photos))
        rows = rows[sort_in_windows(length, size)]
    return np.split(rows, count)


def alignment_batches(
    data: MatchingData,
    batches: Sequence[np.ndarray],
    known: Mapping[int, np.ndarray],
    skip: int = 0,
    flips: np.ndarray | None = None,
) -> tf.data.Dataset:
    """Batches of pairs as the dual encoder takes them.

    Args:
        data: The data.
        batches: Photo and caption numbers, int [b, 2] each.
        known: All captions that are known to describe each photo.
        skip: Batches to leave out at the start.
        flips: Whether to mirror each photo, bool [photos]; None to mirror none.

    Returns:
        ({"image" [b, ...], "texts" [b, 1, ...]}, truth float32 [b, b]): 1 for pairs, 0 for
        mismatches, and -1 (ignored) for other captions known to describe the photo and for all
        pairs with an unreadable photo.
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
        batches,
        known,
        skip=skip,
    )
