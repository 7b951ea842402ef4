"""Records -> photos and their captions as numbers, checked before anything is trained.

data = load(CaptioningConfig(data=DataConfig(root="flickr8k")), splits=("train", "dev"))
for inputs, truth, weight in data.batches("dev"): ...
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from imagetext.captioning.augment import augment
from imagetext.captioning.config import CaptioningConfig, DataConfig
from imagetext.captioning.vocabulary import Vocabulary, clean, make_vocabulary
from imagetext.encoders.photos import Photos, open_photos
from imagetext.errors import Problem
from imagetext.pipelines.batches import EMPTY, generate_batches, photo_spec, shuffle
from imagetext.pipelines.captioned import (
    choose_mirrored,
    may_be_mirrored,
    open_captioned,
    read_captioned,
)
from imagetext.pipelines.feature_store import FLIPPED, PLAIN
from imagetext.pipelines.records import Record, Source
from imagetext.pipelines.splits import data_signature

EMPTY_REMEDY = "mend or remove it, or change the recipe (text.alphabetic, ...)"


@dataclass(frozen=True)
class Captioned:
    """A split as numbers: photo int [g]; caption int [g, k], rows of `tokens` or EMPTY."""

    photo: np.ndarray
    caption: np.ndarray

    def __len__(self) -> int:
        return len(self.photo)


@dataclass
class CaptioningData:
    """The splits asked for, as numbers into one list of photos and one of captions."""

    config: DataConfig
    source: Source
    records: dict[str, list[Record]]
    groups: dict[str, Captioned]
    photos: Photos
    captions: list[str]
    vocabulary: Vocabulary
    #: int32 [n, t] as the vocabulary encodes, and a row of zeros at the end, for EMPTY.
    tokens: np.ndarray
    #: Whether a photo may be mirrored: bool, a photo.
    may_flip: np.ndarray
    skipped: list[Problem] = field(default_factory=list)
    #: Photos left out of each split, and captions of which the recipe leaves nothing.
    left_out: dict[str, int] = field(default_factory=dict)

    def steps(self, split: str = "train") -> int:
        return -(-len(self.groups[split]) // self.config.batch_size)

    def batches(
        self, split: str, seed: int | None = None, epoch: int = 0, skip: int = 0
    ) -> tf.data.Dataset:
        """One pass as ({"image", "texts"}, truth, weight), in an order of seed and epoch alone.

        image [b, ...]; texts and truth int32 [b, k, t]: what is read, `start` and the words, and
        what must be answered, the words and `end`; weight float32 [b, k, t], 0 for padding.
        """
        groups, size = self.groups[split], self.config.batch_size
        chosen = self._order(groups, size, seed, epoch)
        flips = self.flips(groups.photo, seed, epoch)

        def gather(number):
            group = chosen[number]
            image, good = self.fetch(groups.photo[group], flips[group])
            if self.config.augment and seed is not None:
                may_flip = self.may_flip[groups.photo[group]]
                image = augment(image, may_flip, (seed, epoch, int(number)))
            texts, truth = self.framed(groups.caption[group])
            weight = ((truth != 0) & good[:, None, None]).astype(np.float32)
            return image, texts, truth, weight

        width = groups.caption.shape[1]
        ids = tf.TensorSpec([None, width, None], tf.int32)
        data = generate_batches(
            gather,
            [self.image_spec, ids, ids, tf.TensorSpec([None, width, None], tf.float32)],
            len(chosen),
            skip,
        )
        return data.map(
            lambda image, texts, truth, weight: ({"image": image, "texts": texts}, truth, weight)
        )

    def framed(self, captions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Captions int [..., k] -> what is read and what must be answered, int32 [..., k, t]."""
        words = self.tokens[captions]
        count = np.where(captions == EMPTY, -1, (words != 0).sum(-1))
        # A caption that was cut has a word more than is read, and no end.
        length = np.minimum(count, self.vocabulary.config.longest) + 1
        places = np.arange(max(1, length.max()))
        padded = np.concatenate(
            [words, np.zeros_like(words[..., :1], shape=(*words.shape[:-1], 1))], -1
        )[..., : len(places)]
        truth = np.where(places == count[..., None], self.vocabulary.end, padded)
        texts = np.roll(padded, 1, axis=-1)
        texts[..., 0] = np.where(length > 0, self.vocabulary.start, 0)
        texts = np.where(places < length[..., None], texts, 0)
        return texts.astype(np.int32), truth.astype(np.int32)

    def photos_of(self, split: str) -> tuple[np.ndarray, list[list[str]]]:
        """The photos of a split by number, each once, and all the captions of each, as written."""
        found: dict[int, list[str]] = {}
        for photo, captions in zip(*self._columns(split), strict=True):
            found.setdefault(int(photo), []).extend(self.captions[n] for n in captions if n >= 0)
        return np.array(list(found), np.int64), list(found.values())

    def _columns(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        return self.groups[split].photo, self.groups[split].caption

    @property
    def image_spec(self) -> tf.TensorSpec:
        return photo_spec(self.photos)

    @property
    def signature(self) -> str:
        """A digest of what is trained on and in which batches: a resumed run must find the same."""
        facts = (self.config.batch_size, *self.photos.shape, *self.photos.identity)
        arrays = (*self._columns("train"), self.tokens, self.may_flip)
        names = (self.vocabulary.digest, *(path.name for path in self.photos.paths))
        return data_signature(facts, arrays, names)

    def _order(
        self, groups: Captioned, size: int, seed: int | None, epoch: int
    ) -> list[np.ndarray]:
        """Numbers of groups, a batch an array; shuffled by seed and epoch, else in file order."""
        order = np.arange(len(groups))
        if seed is not None:
            longest = (self.tokens[groups.caption] != 0).sum(-1).max(-1)
            order = shuffle(len(groups), seed, epoch, longest, size)
        return np.array_split(order, range(size, len(order), size))

    def flips(self, photos: np.ndarray, seed: int | None, epoch: int) -> np.ndarray:
        """Whether each of these photos is mirrored this epoch."""
        if seed is None or not self.config.flips:
            return np.zeros(len(photos), bool)
        return choose_mirrored(self.may_flip[photos], seed, epoch)

    def fetch(self, numbers: np.ndarray, flips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Photos by number, those mirrored that `flips` says, and whether each is good."""
        if not self.config.flips:
            return self.photos.fetch(numbers)
        return self.photos.fetch(numbers, np.where(flips, FLIPPED, PLAIN))


def open_data(config: DataConfig) -> Source:
    """The source a configuration names; the built-in sample where it names none."""
    return open_captioned(config.root, config.kind, config.images)


def load(
    config: CaptioningConfig,
    splits: Sequence[str] = ("train", "dev"),
    vocabulary: Vocabulary | None = None,
) -> CaptioningData:
    """Read, clean, count and encode; every problem found is told at once, with file and line.

    Without a `vocabulary` it is made from the captions of train. With `data.skip_bad` the bad rows
    and files are left out and kept in `skipped` instead.
    """
    source, flips = open_data(config.data), config.data.flips and "train" in splits
    read = read_captioned(
        source,
        splits,
        words=lambda text: clean(text, config.text),
        open_photos=lambda paths, problems: open_photos(paths, config.data, problems, flips),
        skip_bad=config.data.skip_bad,
        remedy=EMPTY_REMEDY,
    )
    records, paths = read.records, read.paths
    texts = [text for rows in records.values() for record in rows for text in record.texts]
    if vocabulary is None:
        training = [text for record in records["train"] for text in record.texts]
        vocabulary = make_vocabulary(training, config.text)
    known = list(dict.fromkeys(texts))
    tokens = vocabulary.encode(known)
    number = {caption: place for place, caption in enumerate(known)}
    photo_number = {path: place for place, path in enumerate(paths)}
    return CaptioningData(
        config.data,
        source,
        records,
        {
            split: grouped(rows, photo_number, number, config.data.max_captions)
            for split, rows in records.items()
        },
        read.photos,
        known,
        vocabulary,
        np.concatenate([tokens, np.zeros((1, tokens.shape[1]), np.int32)]),
        may_be_mirrored(records, photo_number),
        read.problems,
        read.left_out,
    )


def grouped(records: Sequence[Record], photos: dict, captions: dict, widest: int) -> Captioned:
    """A group a photo; photos with more than `widest` captions become several."""
    chunks = [
        (photos[record.image], [captions[text] for text in record.texts[start:][:widest]])
        for record in records
        for start in range(0, len(record.texts), widest)
    ]
    found = np.full((len(chunks), max(len(chunk) for _, chunk in chunks)), EMPTY, np.int32)
    for row, (_, chunk) in zip(found, chunks, strict=True):
        row[: len(chunk)] = chunk
    return Captioned(np.array([photo for photo, _ in chunks], np.int32), found)
