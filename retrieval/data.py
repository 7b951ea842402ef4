"""Records -> photos and captions that belong together, as numbers, checked before any training.

data = load(RetrievalConfig(data=DataConfig(root="flickr8k")), splits=("train", "dev"))
for inputs, truth in data.batches("train", seed=0, epoch=0): ...
"""

import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from imagetext.encoders.photos import Photos, open_photos
from imagetext.encoders.pieces import Pieces
from imagetext.errors import Problem, UserError
from imagetext.pipelines.batches import SORTED_BATCHES, made, trimmed
from imagetext.pipelines.captioned import (
    known_captions,
    may_be_mirrored,
    mirrored,
    open_captioned,
    read_captioned,
)
from imagetext.pipelines.feature_store import FLIPPED, PLAIN
from imagetext.pipelines.records import Record, Source
from imagetext.retrieval.config import SCRATCH, DataConfig, RetrievalConfig
from imagetext.retrieval.texts import build_word_tokenizer, open_tokenizer

#: Photo -> its captions, by number.
Pairs = Mapping[int, Sequence[int]]


@dataclass
class RetrievalData:
    """The splits asked for, as numbers into one list of photos and one of captions."""

    config: DataConfig
    source: Source
    records: dict[str, list[Record]]
    pairs: dict[str, dict[int, list[int]]]
    #: Of each photo, by number, all that is known to describe it or a copy of it.
    known: dict[str, dict[int, np.ndarray]]
    photos: Photos
    captions: list[str]
    pieces: Pieces
    #: int32 [n, longest], `pieces.pad` behind the last.
    ids: np.ndarray
    #: Whether a photo may be mirrored: bool, a photo.
    may_flip: np.ndarray
    #: Truth of further captions of a photo: -1, nobody knows, or 1, they match.
    same: int = -1
    skipped: list[Problem] = field(default_factory=list)
    #: Photos left out of each split, and captions without a word.
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def batch_size(self) -> int:
        """Of training: as asked for, or all photos where there are fewer."""
        return min(self.config.batch_size, len(self.pairs["train"]))

    def steps(self) -> int:
        return len(self.pairs["train"]) // self.batch_size * self.config.captions_per_epoch

    def batches(
        self, split: str, seed: int | None = None, epoch: int = 0, skip: int = 0
    ) -> tf.data.Dataset:
        """One pass as ({"image" [b, ...], "texts" int32 [b, t]}, truth float32 [b, b]).

        Row i and column i of the truth are a photo and a caption of its own, which is 1; 0 is
        another's caption. Of captions that are known to describe the photo, too, it is `same`, and
        of whatever is paired with a photo that could not be read, -1: nobody knows.

        With a seed, in an order of seed and epoch alone, and the odd rest is left out; else in file
        order, each photo with its first caption.
        """
        pairs, known = self.pairs[split], self.known[split]
        if seed is None:
            fixed = np.array([(photo, own[0]) for photo, own in pairs.items()])
            chosen = np.array_split(fixed, -(-len(fixed) // self.config.batch_size))
        else:
            lengths = (self.ids != self.pieces.pad).sum(axis=1)
            rounds = self.config.captions_per_epoch
            chosen = choose(pairs, self.batch_size, rounds, lengths, seed, epoch)
        flips = self._flips(seed, epoch)

        def make(number):
            photo, text = chosen[number].T
            image, good = self._fetch(photo, flips)
            truth = truth_of(photo, text, known, self.same)
            truth[~good], truth[:, ~good] = -1, -1
            return image, trimmed(self.ids[text]), truth

        specs = [
            self.image_spec,
            tf.TensorSpec([None, None], tf.int32),
            tf.TensorSpec([None, None], tf.float32),
        ]
        data = made(make, specs, len(chosen), skip)
        return data.map(lambda image, texts, truth: ({"image": image, "texts": texts}, truth))

    def photo_batches(self, numbers: np.ndarray, size: int) -> tf.data.Dataset:
        """Photos by number [n], in that order: image [b, ...] and whether each is good, [b]."""
        chosen = np.array_split(numbers, -(-len(numbers) // size))
        specs = [self.image_spec, tf.TensorSpec([None], tf.bool)]
        return made(lambda number: self.photos.fetch(chosen[number]), specs, len(chosen))

    def columns(self, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The photos of a split by number [n]; all their captions by number [m], and the place of
        the photo of each in the former, int [m]."""
        pairs = self.pairs[split]
        own = [len(captions) for captions in pairs.values()]
        captions = np.array(list(itertools.chain(*pairs.values())), np.int64)
        return np.array(list(pairs), np.int64), captions, np.repeat(np.arange(len(own)), own)

    @property
    def image_spec(self) -> tf.TensorSpec:
        return tf.TensorSpec([None, *self.photos.shape], self.photos.dtype)

    @property
    def signature(self) -> str:
        """A digest of what is trained on and in which batches: a resumed run must find the same."""
        told = (
            self.config.batch_size,
            self.config.captions_per_epoch,
            self.config.flips,
            self.same,
        )
        told += (*self.photos.shape, *self.photos.identity)
        digest = hashlib.sha256(" ".join(map(str, told)).encode())
        for array in (*self.columns("train"), *self.known["train"].values(), self.ids):
            digest.update(np.ascontiguousarray(array).tobytes())
        for path in self.photos.paths:
            digest.update(path.name.encode(errors="surrogateescape"))
        return digest.hexdigest()[:16]

    def _flips(self, seed: int | None, epoch: int) -> np.ndarray:
        """Whether each photo is mirrored this epoch."""
        if seed is None or not self.config.flips:
            return np.zeros(len(self.may_flip), bool)
        return mirrored(self.may_flip, seed, epoch)

    def _fetch(self, numbers: np.ndarray, flips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        flipped = flips[numbers]
        if not flipped.any():
            return self.photos.fetch(numbers)
        if not self.config.from_pixels:
            return self.photos.fetch(numbers, np.where(flipped, FLIPPED, PLAIN))
        image, good = self.photos.fetch(numbers)
        return np.where(flipped[:, None, None, None], image[:, :, ::-1], image), good


def choose(
    pairs: Pairs, size: int, rounds: int, lengths: np.ndarray, seed: int, epoch: int
) -> list[np.ndarray]:
    """Batches int [size, 2] of photos, each with one of its captions; every round has each photo
    once, with captions it has not had while there are such. The odd rest is left out.

    Captions of a batch are of like length [n], so that little of it is padding; the batches of
    some dozens are dealt in any order.
    """
    rng = np.random.default_rng([seed, epoch])
    orders = {photo: rng.permutation(own) for photo, own in pairs.items()}
    count, batches = len(pairs) // size, []
    for number in range(rounds):
        photos = rng.permutation(list(pairs))[: count * size]
        captions = np.array([orders[p][number % len(orders[p])] for p in photos.tolist()])
        chosen = np.stack([photos, captions], axis=1)
        length = lengths[captions] + rng.random(len(photos))
        chosen = chosen[np.lexsort([length, np.arange(len(photos)) // (SORTED_BATCHES * size)])]
        dealt = np.split(chosen, count)
        batches += [dealt[place] for place in rng.permutation(count)]
    return batches


def truth_of(
    photo: np.ndarray, text: np.ndarray, known: Mapping[int, np.ndarray], same: int
) -> np.ndarray:
    """Photos [b] and a caption of each [b] -> float32 [b, b]: 1 its own, 0 another's, `same` what
    is known to describe it as well."""
    truth = np.stack([np.isin(text, known[one]) for one in photo.tolist()]) * np.float32(same)
    np.fill_diagonal(truth, 1)
    return truth


def load(
    config: RetrievalConfig,
    splits: Sequence[str] = ("train", "dev"),
    pieces: Pieces | None = None,
) -> RetrievalData:
    """Read, check and encode; every problem found is told at once, with file and line.

    Without `pieces` they are those of the encoder, or words made from the captions of train. With
    `data.skip_bad` the bad rows and files are left out and kept in `skipped` instead.
    """
    source = open_data(config.data)
    flips = config.data.flips and not config.data.from_pixels
    read = read_captioned(
        source,
        splits,
        words=re.compile(r"\w").findall,
        see=lambda paths, problems: open_photos(paths, config.data, problems, flips),
        skip_bad=config.data.skip_bad,
    )
    records, paths = read.records, read.paths
    if "train" in records and len(records["train"]) < 2:
        raise UserError("the train split has one photo: there is nothing to tell it from")
    captions = list(
        dict.fromkeys(text for rows in records.values() for row in rows for text in row.texts)
    )
    if pieces is None and config.text.encoder == SCRATCH:
        pieces = build_word_tokenizer(
            (t for row in records["train"] for t in row.texts), config.text
        )
    pieces = pieces or open_tokenizer(config.reader)
    number = {caption: place for place, caption in enumerate(captions)}
    photo_number = {path: place for place, path in enumerate(paths)}
    pairs = {
        split: {photo_number[row.image]: [number[text] for text in row.texts] for row in rows}
        for split, rows in records.items()
    }
    trained_on = [split for split in records if "train" in records]
    return RetrievalData(
        config.data,
        source,
        records,
        pairs,
        {split: known_captions(pairs[split], paths) for split in trained_on},
        read.photos,
        captions,
        pieces,
        pieces.padded(captions),
        may_be_mirrored(records, photo_number),
        1 if config.loss.same == "matches" else -1,
        read.problems,
        read.left_out,
    )


def open_data(config: DataConfig) -> Source:
    """The source a configuration names; the built-in sample where it names none."""
    return open_captioned(config.root, config.kind, config.images)
