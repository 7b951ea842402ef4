"""Records to photos, texts and labels as numbers, checked before training begins.

data = load(config, splits=("train", "dev"))
for inputs, truth, weight in data.batches("dev"): ...
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import tensorflow as tf

from imagetext.encoders.photos import Photos, open_photos
from imagetext.errors import Problem
from imagetext.itm.caption_embeddings import embed_missing, read_table
from imagetext.itm.config import DataConfig, ITMConfig
from imagetext.itm.pairs import make_pairs
from imagetext.itm.texts import count_tokens, open_tokenizer, text_encoder_identity
from imagetext.pipelines.batches import EMPTY, Groups, batches, group_rows, shuffle
from imagetext.pipelines.duplicates import hash_photos, near_duplicate_groups
from imagetext.pipelines.features import photo_digests
from imagetext.pipelines.held_out import leave_out
from imagetext.pipelines.records import LABELS, SPLITS, Record, Source
from imagetext.pipelines.sources import every_record, open_source, open_source_or_sample
from imagetext.pipelines.splits import Splits, data_signature


@dataclass
class MatchingData:
    """Some splits of a dataset; photos and captions are numbered across all of them.

    Args:
        config: The configuration.
        source: Where the records come from.
        records: The records of each split.
        groups: The rows of each split, grouped by photo.
        photos: All photos, by number.
        captions: All captions, by number.
        texts: A row for each caption: its embedding float32 [n, d], or its token ids int32 [n, t]
            padded with zeros.
        extra: Photos with extra captions for the alignment.
        extra_left_out: How many of the extra photos and captions were left out, by reason.
        skipped: Bad rows and files that were left out.
        left_out: How many rows were left out of each split: bad rows, and those with an unreadable
            photo or without an embedding.
    """

    config: ITMConfig
    source: Source
    records: dict[str, list[Record]]
    groups: dict[str, Groups]
    photos: Photos
    captions: list[str]
    texts: np.ndarray
    extra: list[Record] = field(default_factory=list)
    extra_left_out: dict[str, int] = field(default_factory=dict)
    skipped: list[Problem] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)

    def steps(self, split: str = "train") -> int:
        """Batches in one pass over a split."""
        return -(-len(self._groups(split)) // self.config.data.batch_size)

    def batches(
        self, split: str, seed: int | None = None, epoch: int = 0, skip: int = 0
    ) -> tf.data.Dataset:
        """One pass over a split.

        Args:
            split: The split.
            seed: Shuffle by this seed and the epoch; None for file order.
            epoch: Number of the epoch.
            skip: Batches to leave out at the start.

        Returns:
            Batches of inputs, truth and weight; see `imagetext.pipelines.batches.batches`.
        """
        groups = self._groups(split)
        size, order = self.config.data.batch_size, None
        if seed is not None:
            order = shuffle(len(groups), seed, epoch, self._longest(groups), size)
        return batches(groups, self.photos, self.texts, size, order, skip)

    def _longest(self, groups: Groups) -> np.ndarray | None:
        """Number of tokens of each group's longest text; None if texts are embeddings."""
        if self.config.text.input == "embeddings":
            return None
        length = np.append(count_tokens(self.texts), 0)  # EMPTY = -1 refers to the appended 0
        return length[groups.text].max(axis=1)

    def _groups(self, split: str) -> Groups:
        groups = self.groups[split]
        return groups if self.config.data.group_by_image else groups.ungroup()

    def rows(self, split: str) -> tuple[list[str], list[str], np.ndarray]:
        """Photo path, caption and truth (True for a match) of each row of a split, in the order of
        `batches`."""
        groups = self._groups(split)
        group, column = np.nonzero(groups.text != EMPTY)
        photos = [str(self.photos.paths[number]) for number in groups.photo[group]]
        captions = [self.captions[number] for number in groups.text[group, column]]
        return photos, captions, groups.label[group, column] == 0

    @property
    def signature(self) -> str:
        """Identifies the training data and its batches; a resumed run must have the same."""
        groups = self._groups("train")
        facts = (self.config.data.batch_size, *self.photos.shape, *self.photos.identity)
        facts += tuple(text_encoder_identity(self.config.text))
        extra = [text for record in self.extra for text in (record.image.name, *record.texts)]
        return data_signature(
            facts,
            (groups.photo, groups.text, groups.label, self.texts),
            [path.name for path in self.photos.paths] + self.captions + extra,
        )


def open_data(config: DataConfig) -> Source:
    """The source that a configuration names; the built-in sample if it names none."""
    return open_source_or_sample(config.root, config.kind, config.images)


def load(
    config: ITMConfig,
    splits: Sequence[str] = SPLITS,
    captions: str | None = None,
    flips: bool = False,
) -> MatchingData:
    """Read, check and encode some splits.

    Args:
        config: The configuration.
        splits: The splits to read.
        captions: Folder with extra captions for the alignment (see `extra_captions`).
        flips: Whether features of mirrored photos are needed too.

    Returns:
        The data; with `data.skip_bad`, bad rows and files are listed in `skipped`.

    Raises:
        DataError: Lists all problems with file and line, unless `data.skip_bad` is set.
    """
    source = open_data(config.data)
    # Before the photos, which take long to read: a wrong text encoder is reported at once.
    tokenizer = open_tokenizer(config.text) if config.text.input == "tokens" else None
    table = read_table(config.text, source) if tokenizer is None else None
    rows = Splits(source)
    rows.read(splits, lambda split, problems: read_rows(source, split, config.data, problems))
    extra, extra_left_out = extra_captions(captions, source) if captions else ([], {})
    rows.open_photos(
        lambda paths, problems: open_photos(paths, config.data, problems, flips), extra
    )
    all_records = [record for records in (*rows.records.values(), extra) for record in records]
    if tokenizer is None:
        table = embed_missing(table, config, source, all_records, rows.problems)
    usable = list(dict.fromkeys(text for record in all_records for text in record.texts))
    if tokenizer is None:
        usable = [caption for caption in usable if caption in table]
    caption_number = {caption: number for number, caption in enumerate(usable)}
    rows.check(config.data.skip_bad, lambda record: record.texts[0] in caption_number)
    photo_number = {path: number for number, path in enumerate(rows.paths)}
    groups = {
        split: group_rows(
            [photo_number[record.image] for record in records],
            [caption_number[record.texts[0]] for record in records],
            [LABELS.index(record.label) for record in records],
        )
        for split, records in rows.records.items()
    }
    texts = table.lookup(usable) if tokenizer is None else tokenizer.to_ids(usable)
    extra, unusable = _select_usable(extra, rows.unreadable, caption_number)
    return MatchingData(
        config,
        source,
        rows.records,
        groups,
        rows.photos,
        captions=usable,
        texts=texts,
        extra=extra,
        extra_left_out=extra_left_out | unusable,
        skipped=rows.problems,
        left_out=rows.left_out,
    )


def extra_captions(root: str, source: Source) -> tuple[list[Record], dict[str, int]]:
    """Read extra captions, without photos and captions of the held-out splits.

    A photo that is also a training photo of the source, byte for byte, gets the path that it has
    there: with two paths it would be encoded twice, and used twice in an epoch.

    Args:
        root: Folder with captioned photos; all its splits are read.
        source: The data of the run. Whatever is in its dev and test splits is left out.

    Returns:
        The records, and how much was left out, by reason.
    """
    records, problems = every_record(captioned_source(root))
    held_out = [r for split in ("dev", "test") for r in source.records(split, [])]
    kept, left_out = leave_out(records, held_out)
    if problems:
        left_out["problems in its lists"] = len(problems)
    training = list(dict.fromkeys(record.image for record in source.records("train", [])))
    training_path = dict(zip(photo_digests(training, []), training, strict=True))
    digests = photo_digests([record.image for record in kept], [])
    kept = [
        replace(record, split="train", image=training_path.get(digest or None, record.image))
        for record, digest in zip(kept, digests, strict=True)
    ]
    return kept, left_out


def _select_usable(
    extra: Sequence[Record], unreadable: Container[str], usable: Container[str]
) -> tuple[list[Record], dict[str, int]]:
    """The usable captions of readable photos, and how many of both were left out."""
    readable = [record for record in extra if str(record.image) not in unreadable]
    kept = [replace(r, texts=tuple(text for text in r.texts if text in usable)) for r in readable]
    left_out = {
        "photos that cannot be read": len(extra) - len(readable),
        "captions without an embedding": _count_captions(readable) - _count_captions(kept),
    }
    return [r for r in kept if r.texts], {why: count for why, count in left_out.items() if count}


def _count_captions(records: Sequence[Record]) -> int:
    return sum(len(record.texts) for record in records)


def captioned_source(root: str) -> Source:
    """Open a folder for its captions, even if it also has the course's lists of labelled pairs."""
    source = open_source(root)
    return open_source(root, "flickr8k") if source.labelled else source


def read_rows(
    source: Source, split: str, config: DataConfig, problems: list[Problem]
) -> list[Record]:
    """The labelled rows of a split; if the source has no labels, they are made from its captions.

    Args:
        source: Where the records come from.
        split: The split.
        config: How many rows to make from captions.
        problems: Bad rows are added to it.
    """
    records = list(source.records(split, problems))
    if source.labelled:
        return records
    hashes, _ = hash_photos([record.image for record in records])
    duplicates = near_duplicate_groups(hashes)
    seed = SPLITS.index(split)  # The pairs are data: they do not depend on the seed of the run.
    return list(make_pairs(records, config.matches, config.negatives, seed, duplicates))
