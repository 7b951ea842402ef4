"""Records to photos and captions as numbers, checked before training begins.

data = load(CaptioningConfig(data=DataConfig(root="flickr8k")), splits=("train", "dev"))
for inputs, targets, weight in data.batches("dev"): ...
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from imagetext.captioning.augment import augment
from imagetext.captioning.config import CaptioningConfig, DataConfig
from imagetext.captioning.vocabulary import Vocabulary, make_vocabulary, split_words
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

EMPTY_REMEDY = "correct or remove it, or change text.alphabetic or text.punctuation"


@dataclass(frozen=True)
class CaptionGroups:
    """A split as groups, each a photo with up to k captions.

    Args:
        photo: The photo of each group, int [g].
        caption: Its captions, int [g, k], rows of `CaptioningData.tokens` or EMPTY.
    """

    photo: np.ndarray
    caption: np.ndarray

    def __len__(self) -> int:
        return len(self.photo)


@dataclass
class CaptioningData:
    """Some splits of a dataset; photos and captions are numbered across all of them.

    Args:
        config: The `data` section of the configuration.
        source: Where the records come from.
        records: The records of each split.
        groups: The photos and captions of each split, by number.
        photos: All photos, by number.
        captions: All captions, by number.
        vocabulary: The vocabulary.
        tokens: Token ids of the captions, int32 [n + 1, t]; the last row is zeros, for EMPTY.
        may_flip: Whether each photo may be mirrored, bool [photos].
        skipped: Bad rows and files that were left out.
        left_out: Number of photos left out of each split, and of captions without a word.
    """

    config: DataConfig
    source: Source
    records: dict[str, list[Record]]
    groups: dict[str, CaptionGroups]
    photos: Photos
    captions: list[str]
    vocabulary: Vocabulary
    tokens: np.ndarray
    may_flip: np.ndarray
    skipped: list[Problem] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)

    def steps(self, split: str = "train") -> int:
        """Number of batches of a pass."""
        return -(-len(self.groups[split]) // self.config.batch_size)

    def batches(
        self, split: str, seed: int | None = None, epoch: int = 0, skip: int = 0
    ) -> tf.data.Dataset:
        """One pass over a split.

        Args:
            split: The split.
            seed: Decides, together with the epoch, the order of the photos and how they are
                changed; None for file order and unchanged photos.
            epoch: The epoch.
            skip: Number of batches to leave out at the start.

        Returns:
            Batches ({"image", "texts"}, targets, weight): image [b, ...]; texts int32 [b, k, t],
            start and the words; targets int32 [b, k, t], the words and the end; weight float32
            [b, k, t], 0 for padding and for photos that could not be read.
        """
        groups, size = self.groups[split], self.config.batch_size
        batches = self._batch_groups(groups, size, seed, epoch)
        flips = self.choose_flips(groups.photo, seed, epoch)

        def make(index):
            group = batches[index]
            image, is_good = self.fetch(groups.photo[group], flips[group])
            if self.config.augment and seed is not None:
                may_flip = self.may_flip[groups.photo[group]]
                image = augment(image, may_flip, (seed, epoch, int(index)))
            texts, targets = self.inputs_and_targets(groups.caption[group])
            weight = ((targets != 0) & is_good[:, None, None]).astype(np.float32)
            return image, texts, targets, weight

        width = groups.caption.shape[1]
        ids = tf.TensorSpec([None, width, None], tf.int32)
        data = generate_batches(
            make,
            [self.image_spec, ids, ids, tf.TensorSpec([None, width, None], tf.float32)],
            len(batches),
            skip,
        )
        return data.map(
            lambda image, texts, targets, weight: (
                {"image": image, "texts": texts},
                targets,
                weight,
            )
        )

    def inputs_and_targets(self, captions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Captions by number, int [..., k] -> inputs and targets, int32 [..., k, t] each."""
        words = self.tokens[captions]
        count = np.where(captions == EMPTY, -1, (words != 0).sum(-1))
        # A truncated caption has one more target word than input words, and no end.
        length = np.minimum(count, self.vocabulary.config.longest) + 1
        positions = np.arange(max(1, length.max()))
        padded = np.concatenate(
            [words, np.zeros_like(words[..., :1], shape=(*words.shape[:-1], 1))], -1
        )[..., : len(positions)]
        targets = np.where(positions == count[..., None], self.vocabulary.end, padded)
        texts = np.roll(padded, 1, axis=-1)
        texts[..., 0] = np.where(length > 0, self.vocabulary.start, 0)
        texts = np.where(positions < length[..., None], texts, 0)
        return texts.astype(np.int32), targets.astype(np.int32)

    def photos_of(self, split: str) -> tuple[np.ndarray, list[list[str]]]:
        """The distinct photos of a split, by number, and all captions of each, as written."""
        captions_of: dict[int, list[str]] = {}
        for photo, captions in zip(*self._columns(split), strict=True):
            texts = [self.captions[number] for number in captions if number >= 0]
            captions_of.setdefault(int(photo), []).extend(texts)
        return np.array(list(captions_of), np.int64), list(captions_of.values())

    def _columns(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        return self.groups[split].photo, self.groups[split].caption

    @property
    def image_spec(self) -> tf.TensorSpec:
        return photo_spec(self.photos)

    @property
    def signature(self) -> str:
        """A digest of the training data and its batches, which must not change when resuming."""
        facts = (self.config.batch_size, *self.photos.shape, *self.photos.identity)
        arrays = (*self._columns("train"), self.tokens, self.may_flip)
        names = (self.vocabulary.digest, *(path.name for path in self.photos.paths))
        return data_signature(facts, arrays, names)

    def _batch_groups(
        self, groups: CaptionGroups, size: int, seed: int | None, epoch: int
    ) -> list[np.ndarray]:
        """The numbers of the groups in each batch, shuffled if there is a seed."""
        order = np.arange(len(groups))
        if seed is not None:
            longest = (self.tokens[groups.caption] != 0).sum(-1).max(-1)
            order = shuffle(len(groups), seed, epoch, longest, size)
        return np.array_split(order, range(size, len(order), size))

    def choose_flips(self, photos: np.ndarray, seed: int | None, epoch: int) -> np.ndarray:
        """Choose which of these photos are mirrored in this epoch, bool [n]."""
        if seed is None or not self.config.flips:
            return np.zeros(len(photos), bool)
        return choose_mirrored(self.may_flip[photos], seed, epoch)

    def fetch(self, numbers: np.ndarray, flips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Photos by number, mirrored where `flips` is true, and whether each could be read."""
        if not self.config.flips:
            return self.photos.fetch(numbers)
        return self.photos.fetch(numbers, np.where(flips, FLIPPED, PLAIN))


def open_data(config: DataConfig) -> Source:
    """The source that a configuration names; the built-in sample if it names none."""
    return open_captioned(config.root, config.kind, config.images)


def load(
    config: CaptioningConfig,
    splits: Sequence[str] = ("train", "dev"),
    vocabulary: Vocabulary | None = None,
) -> CaptioningData:
    """Read, check and encode some splits.

    Args:
        config: The configuration.
        splits: The splits.
        vocabulary: The vocabulary; made from the training captions by default.

    Raises:
        DataError: With all problems found, each with file and line. With `data.skip_bad` bad rows
            and files are left out instead.
    """
    source, flips = open_data(config.data), config.data.flips and "train" in splits
    results = read_captioned(
        source,
        splits,
        words=lambda text: split_words(text, config.text),
        open_photos=lambda paths, problems: open_photos(paths, config.data, problems, flips),
        skip_bad=config.data.skip_bad,
        remedy=EMPTY_REMEDY,
    )
    records = results.records
    texts = [text for rows in records.values() for record in rows for text in record.texts]
    if vocabulary is None:
        training = [text for record in records["train"] for text in record.texts]
        vocabulary = make_vocabulary(training, config.text)
    captions = list(dict.fromkeys(texts))
    tokens = vocabulary.encode(captions)
    caption_number = {caption: number for number, caption in enumerate(captions)}
    photo_number = {path: number for number, path in enumerate(results.paths)}
    size = config.data.max_captions
    return CaptioningData(
        config.data,
        source,
        records,
        {
            split: group_captions(rows, photo_number, caption_number, size)
            for split, rows in records.items()
        },
        results.photos,
        captions,
        vocabulary,
        np.concatenate([tokens, np.zeros((1, tokens.shape[1]), np.int32)]),
        may_be_mirrored(records, photo_number),
        results.problems,
        results.left_out,
    )


def group_captions(
    records: Sequence[Record], photos: dict, captions: dict, size: int
) -> CaptionGroups:
    """Make groups of up to `size` captions; a photo with more captions becomes several groups.

    Args:
        records: The photos with their captions.
        photos: The number of each path.
        captions: The number of each caption.
        size: Largest number of captions in a group.
    """
    chunks = [
        (photos[record.image], [captions[text] for text in record.texts[start:][:size]])
        for record in records
        for start in range(0, len(record.texts), size)
    ]
    width = max(len(chunk) for _, chunk in chunks)
    caption = np.full((len(chunks), width), EMPTY, np.int32)
    for row, (_, chunk) in zip(caption, chunks, strict=True):
        row[: len(chunk)] = chunk
    return CaptionGroups(np.array([photo for photo, _ in chunks], np.int32), caption)
