"""Records to photos and captions as numbers, checked before training begins.

data = load(RetrievalConfig(data=DataConfig(root="flickr8k")), splits=("train", "dev"))
for inputs, truth in data.batches("train", seed=0, epoch=0): ...
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from imagetext.encoders.photos import Photos, open_photos
from imagetext.encoders.tokenizer import Tokenizer
from imagetext.errors import Problem, UserError
from imagetext.pipelines.batches import photo_spec, sort_in_windows, trim_padding
from imagetext.pipelines.captioned import (
    captions_of_copies,
    choose_mirrored,
    may_be_mirrored,
    open_captioned,
    read_captioned,
)
from imagetext.pipelines.feature_store import FLIPPED, PLAIN
from imagetext.pipelines.pair_batches import first_pairs, pair_batches
from imagetext.pipelines.records import Record, Source
from imagetext.pipelines.splits import data_signature
from imagetext.retrieval.config import SCRATCH, DataConfig, RetrievalConfig
from imagetext.retrieval.texts import build_word_tokenizer, open_tokenizer

#: Photo -> its captions, by number.
Pairs = Mapping[int, Sequence[int]]


@dataclass
class RetrievalData:
    """Some splits of a dataset; photos and captions are numbered across all of them.

    Args:
        config: The `data` section of the configuration.
        source: Where the records come from.
        records: The records of each split.
        pairs: For each split, the captions of each photo, by number.
        known: For each split and photo, all captions known to describe it or a copy of it.
        photos: All photos, by number.
        captions: All captions, by number.
        tokenizer: The tokenizer.
        ids: Token ids of the captions, int32 [n, longest], padded with `tokenizer.pad`.
        may_flip: Whether each photo may be mirrored, bool [photos].
        same: Truth of a known caption that is not the pair's own: -1 (ignored) or 1 (a match).
        skipped: Bad rows and files that were left out.
        left_out: Number of photos left out of each split, and of captions without a word.
    """

    config: DataConfig
    source: Source
    records: dict[str, list[Record]]
    pairs: dict[str, dict[int, list[int]]]
    known: dict[str, dict[int, np.ndarray]]
    photos: Photos
    captions: list[str]
    tokenizer: Tokenizer
    ids: np.ndarray
    may_flip: np.ndarray
    same: int = -1
    skipped: list[Problem] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def batch_size(self) -> int:
        """Photos in a training batch: as configured, or all of them if there are fewer."""
        return min(self.config.batch_size, len(self.pairs["train"]))

    def steps(self) -> int:
        """Training batches in an epoch."""
        rounds = self.config.captions_per_epoch
        return len(self.pairs["train"]) // self.batch_size * rounds

    def batches(
        self, split: str, seed: int | None = None, epoch: int = 0, skip: int = 0
    ) -> tf.data.Dataset:
        """One pass over a split.

        Args:
            split: The split.
            seed: Shuffle by this seed and the epoch, and drop the incomplete last batch; None for
                file order, each photo with its first caption.
            epoch: Number of the epoch.
            skip: Batches to leave out at the start.

        Returns:
            ({"image" [b, ...], "texts" int32 [b, t]}, truth float32 [b, b]). Photo i and caption i
            are a pair, with truth 1; captions of other photos have 0, those known to describe the
            photo as well have `same`, and all pairs with an unreadable photo have -1.
        """
        pairs, known = self.pairs[split], self.known[split]
        if seed is None:
            batches = first_pairs(pairs, self.config.batch_size)
        else:
            lengths = (self.ids != self.tokenizer.pad).sum(axis=1)
            rounds = self.config.captions_per_epoch
            batches = choose_batches(pairs, self.batch_size, rounds, lengths, seed, epoch)
        flips = self._flips(seed, epoch)
        return pair_batches(
            lambda photo: self._fetch(photo, flips),
            lambda text: trim_padding(self.ids[text]),
            (photo_spec(self.photos), tf.TensorSpec([None, None], tf.int32)),
            batches,
            known,
            self.same,
            skip,
        )

    def columns(self, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The photos of a split by number [n], all their captions by number [m], and the index of
        each caption's photo among the former, int [m]."""
        pairs = self.pairs[split]
        counts = [len(captions) for captions in pairs.values()]
        captions = np.array(list(itertools.chain(*pairs.values())), np.int64)
        return np.array(list(pairs), np.int64), captions, np.repeat(np.arange(len(counts)), counts)

    @property
    def signature(self) -> str:
        """Identifies the training data and its batches; a resumed run must have the same."""
        config = self.config
        facts: tuple[object, ...] = (
            config.batch_size,
            config.captions_per_epoch,
            config.flips,
            self.same,
        )
        facts += (*self.photos.shape, *self.photos.identity)
        arrays = (*self.columns("train"), *self.known["train"].values(), self.ids)
        return data_signature(facts, arrays, (path.name for path in self.photos.paths))

    def _flips(self, seed: int | None, epoch: int) -> np.ndarray:
        """Whether each photo is mirrored in this epoch."""
        if seed is None or not self.config.flips:
            return np.zeros(len(self.may_flip), bool)
        return choose_mirrored(self.may_flip, seed, epoch)

    def _fetch(self, numbers: np.ndarray, flips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        flipped = flips[numbers]
        if not flipped.any():
            return self.photos.fetch(numbers)
        if not self.config.from_pixels:
            return self.photos.fetch(numbers, np.where(flipped, FLIPPED, PLAIN))
        image, good = self.photos.fetch(numbers)
        return np.where(flipped[:, None, None, None], image[:, :, ::-1], image), good


def choose_batches(
    pairs: Pairs, size: int, rounds: int, lengths: np.ndarray, seed: int, epoch: int
) -> list[np.ndarray]:
    """Pair photos with captions and group them into batches.

    Every round contains each photo once, with another of its captions as long as there are any.
    Captions of similar length share a batch, so that little of it is padding; some dozens of
    batches at a time are shuffled.

    Args:
        pairs: The captions of each photo.
        size: Photos in a batch; what remains at the end of a round is left out.
        rounds: Passes over the photos.
        lengths: Length of every caption, int [n].
        seed: With `epoch`, decides the order.
        epoch: Number of the epoch.

    Returns:
        Batches int [size, 2] of photo and caption numbers.
    """
    rng = np.random.default_rng([seed, epoch])
    orders = {photo: rng.permutation(captions) for photo, captions in pairs.items()}
    count, batches = len(pairs) // size, []
    for number in range(rounds):
        photos = rng.permutation(list(pairs))[: count * size]
        captions = np.array([orders[p][number % len(orders[p])] for p in photos.tolist()])
        rows = np.stack([photos, captions], axis=1)
        length = lengths[captions] + rng.random(len(photos))
        rows = rows[sort_in_windows(length, size)]
        parts = np.split(rows, count)
        batches += [parts[index] for index in rng.permutation(count)]
    return batches


def load(
    config: RetrievalConfig,
    splits: Sequence[str] = ("train", "dev"),
    tokenizer: Tokenizer | None = None,
) -> RetrievalData:
    """Read, check and encode some splits.

    Args:
        config: The configuration.
        splits: The splits to read.
        tokenizer: The tokenizer; by default that of the text encoder, or one made from the training
            captions.

    Returns:
        The data; with `data.skip_bad`, bad rows and files are listed in `skipped`.

    Raises:
        DataError: Lists all problems with file and line, unless `data.skip_bad` is set.
    """
    source = open_data(config.data)
    flips = config.data.flips and not config.data.from_pixels
    read = read_captioned(
        source,
        splits,
        words=re.compile(r"\w").findall,
        open_photos=lambda paths, problems: open_photos(paths, config.data, problems, flips),
        skip_bad=config.data.skip_bad,
    )
    records, paths = read.records, read.paths
    if "train" in records and len(records["train"]) < 2:
        raise UserError("the train split has only one photo; retrieval needs at least two")
    captions = list(
        dict.fromkeys(text for rows in records.values() for row in rows for text in row.texts)
    )
    if tokenizer is None and config.text.encoder == SCRATCH:
        training_captions = (text for row in records["train"] for text in row.texts)
        tokenizer = build_word_tokenizer(training_captions, config.text)
    tokenizer = tokenizer or open_tokenizer(config.reader)
    caption_number = {caption: number for number, caption in enumerate(captions)}
    photo_number = {path: number for number, path in enumerate(paths)}
    pairs = {
        split: {
            photo_number[row.image]: [caption_number[text] for text in row.texts] for row in rows
        }
        for split, rows in records.items()
    }
    trained_on = [split for split in records if "train" in records]
    return RetrievalData(
        config=config.data,
        source=source,
        records=records,
        pairs=pairs,
        known={split: captions_of_copies(pairs[split], paths) for split in trained_on},
        photos=read.photos,
        captions=captions,
        tokenizer=tokenizer,
        ids=tokenizer.to_ids(captions),
        may_flip=may_be_mirrored(records, photo_number),
        same=1 if config.loss.same == "matches" else -1,
        skipped=read.problems,
        left_out=read.left_out,
    )


def open_data(config: DataConfig) -> Source:
    """The source that a configuration names; the built-in sample if it names none."""
    return open_captioned(config.root, config.kind, config.images)
