"""Records -> photos, sentence embeddings and labels, checked before anything is trained.

data = load(config, splits=("train", "dev"))
for inputs, truth, weight in data.batches("dev"): ...
"""

import hashlib
from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from imagetext.encoders.photos import Photos, open_photos
from imagetext.errors import DataError, Problem, UserError
from imagetext.files import cache_folder
from imagetext.itm.config import DataConfig, ITMConfig, TextConfig
from imagetext.itm.models import TEXT_WIDTH
from imagetext.itm.pairs import make_pairs
from imagetext.itm.texts import count_tokens, open_tokenizer, text_encoder_identity
from imagetext.pipelines.batches import EMPTY, Groups, batches, group_rows, shuffle
from imagetext.pipelines.duplicates import hash_photos, near_duplicate_groups
from imagetext.pipelines.embeddings import EmbeddingTable
from imagetext.pipelines.features import photo_digests
from imagetext.pipelines.held_out import leave_out
from imagetext.pipelines.records import LABELS, SPLITS, Record, Source
from imagetext.pipelines.sources import every_record, open_source, open_source_or_sample
from imagetext.pipelines.splits import Splits, data_signature, headline
from imagetext.terminal import show_progress

TABLE_NAMES = ("embeddings.npz", "flickr8k.cmp9137.sentence_transformers.pkl")


@dataclass
class MatchingData:
    """The splits asked for, as numbers into one list of photos and one of captions.

    `texts` holds a row a caption: its embedding, or its word pieces with zeros behind the last.
    """

    config: ITMConfig
    source: Source
    records: dict[str, list[Record]]
    groups: dict[str, Groups]
    photos: Photos
    captions: list[str]
    texts: np.ndarray
    #: Photos with further captions for the alignment.
    extra: list[Record] = field(default_factory=list)
    #: How much was left out of them, and why.
    extra_left_out: dict[str, int] = field(default_factory=dict)
    skipped: list[Problem] = field(default_factory=list)
    #: Rows left out of each split: bad ones, and those whose photo or embedding is missing.
    left_out: dict[str, int] = field(default_factory=dict)

    def steps(self, split: str = "train") -> int:
        return -(-len(self._groups(split)) // self.config.data.batch_size)

    def batches(
        self, split: str, seed: int | None = None, epoch: int = 0, skip: int = 0
    ) -> tf.data.Dataset:
        """One pass; shuffled by seed and epoch where a seed is given, else in file order."""
        groups = self._groups(split)
        size, order = self.config.data.batch_size, None
        if seed is not None:
            order = shuffle(len(groups), seed, epoch, self._longest(groups), size)
        return batches(groups, self.photos, self.texts, size, order, skip)

    def _longest(self, groups: Groups) -> np.ndarray | None:
        """Word pieces of each group's longest text; None where texts are vectors."""
        if self.config.text.input == "embeddings":
            return None
        length = np.append(count_tokens(self.texts), 0)  # EMPTY finds the last
        return length[groups.text].max(axis=1)

    def _groups(self, split: str) -> Groups:
        groups = self.groups[split]
        return groups if self.config.data.group_by_image else groups.ungroup()

    def rows(self, split: str) -> tuple[list[str], list[str], np.ndarray]:
        """Photo paths, captions and truth (bool: match) of a split, in the order of `batches`."""
        groups = self._groups(split)
        group, place = np.nonzero(groups.text != EMPTY)
        photos = [str(self.photos.paths[number]) for number in groups.photo[group]]
        captions = [self.captions[number] for number in groups.text[group, place]]
        return photos, captions, groups.label[group, place] == 0

    @property
    def signature(self) -> str:
        """A digest of what is trained on and in which batches: a resumed run must find the same."""
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
    """Read, pair, decode and embed; every problem found is told at once, with file and line.

    With `data.skip_bad` the bad rows and files are left out and kept in `skipped` instead.
    `captions` is a folder with more captions for the alignment (see `extra_captions`), which can
    also see mirrored photos, with `flips`.
    """
    source = open_data(config.data)
    # Before the photos are read, which takes longer than to say what is wrong with the reader.
    pieces = open_tokenizer(config.text) if config.text.input == "tokens" else None
    table = read_table(config.text, source) if pieces is None else None
    rows = Splits(source)
    rows.read(splits, lambda split, problems: read_rows(source, split, config.data, problems))
    extra, extra_left_out = extra_captions(captions, source) if captions else ([], {})
    rows.open_photos(
        lambda paths, problems: open_photos(paths, config.data, problems, flips), extra
    )
    everything = [record for records in (*rows.records.values(), extra) for record in records]
    if pieces is None:
        table = embed_missing(table, config, source, everything, rows.problems)
    known = list(dict.fromkeys(text for record in everything for text in record.texts))
    if pieces is None:
        known = [caption for caption in known if caption in table]
    number_of = {caption: number for number, caption in enumerate(known)}
    rows.check(config.data.skip_bad, lambda record: record.texts[0] in number_of)
    photo_number = {path: number for number, path in enumerate(rows.paths)}
    groups = {
        split: group_rows(
            [photo_number[record.image] for record in records],
            [number_of[record.texts[0]] for record in records],
            [LABELS.index(record.label) for record in records],
        )
        for split, records in rows.records.items()
    }
    texts = table.lookup(known) if pieces is None else pieces.to_ids(known)
    extra, unusable = _usable(extra, rows.unreadable, number_of)
    return MatchingData(
        config,
        source,
        rows.records,
        groups,
        rows.photos,
        captions=known,
        texts=texts,
        extra=extra,
        extra_left_out=extra_left_out | unusable,
        skipped=rows.problems,
        left_out=rows.left_out,
    )


def extra_captions(root: str, source: Source) -> tuple[list[Record], dict[str, int]]:
    """Captioned photos of all splits of another folder, and how much was left out of them: whatever
    is in dev and test of `source`, and rows that cannot be read.

    A photo that is a training photo of `source`, byte for byte, goes by the path it has there: with
    two paths it would be encoded twice, and seen twice an epoch.
    """
    records, problems = every_record(captioned_source(root))
    held_out = [r for split in ("dev", "test") for r in source.records(split, [])]
    kept, left_out = leave_out(records, held_out)
    if problems:
        left_out["problems in its lists"] = len(problems)
    own = list(dict.fromkeys(record.image for record in source.records("train", [])))
    own_path = dict(zip(photo_digests(own, []), own, strict=True))
    digests = photo_digests([record.image for record in kept], [])
    kept = [
        replace(record, split="train", image=own_path.get(digest or None, record.image))
        for record, digest in zip(kept, digests, strict=True)
    ]
    return kept, left_out


def _usable(
    extra: Sequence[Record], unreadable: Container[str], known: Container[str]
) -> tuple[list[Record], dict[str, int]]:
    """Further captions that are `known`, of photos that can be read, and how many are not."""
    readable = [record for record in extra if str(record.image) not in unreadable]
    kept = [replace(r, texts=tuple(text for text in r.texts if text in known)) for r in readable]
    left_out = {
        "photos that cannot be read": len(extra) - len(readable),
        "captions without an embedding": _captions(readable) - _captions(kept),
    }
    return [r for r in kept if r.texts], {why: count for why, count in left_out.items() if count}


def _captions(records: Sequence[Record]) -> int:
    return sum(len(record.texts) for record in records)


def captioned_source(root: str) -> Source:
    """A folder may hold the course's lists as well: here its captions are meant."""
    found = open_source(root)
    return open_source(root, "flickr8k") if found.labelled else found


def read_rows(
    source: Source, split: str, config: DataConfig, problems: list[Problem]
) -> list[Record]:
    """Labelled rows of a split, made from captions where the source has no labels."""
    records = list(source.records(split, problems))
    if source.labelled:
        return records
    hashes, _ = hash_photos([record.image for record in records])
    duplicates = near_duplicate_groups(hashes)
    seed = SPLITS.index(split)  # fixed: the pairs are data and do not change with the run's seed
    return list(make_pairs(records, config.matches, config.negatives, seed, duplicates))


def embed_missing(
    table: EmbeddingTable | None,
    config: ITMConfig,
    source: Source,
    records: Sequence[Record],
    problems: list[Problem],
) -> EmbeddingTable:
    """The table of the data, completed by the sentence encoder where it lacks captions.

    What had to be computed is kept in the cache. Without the encoder at hand, the captions that
    lack a vector are problems, each by file and line.
    """
    first_seen: dict[str, Record] = {}
    for record in records:
        for text in record.texts:
            first_seen.setdefault(text, record)
    missing = table.missing(first_seen) if table else list(first_seen)
    if not missing:
        return table
    try:
        computed = compute_table(missing, source, config.text)
    except UserError as error:
        for caption in missing:
            place = first_seen[caption]
            remedy = "add it to the embeddings, or make the sentence encoder available (above)"
            problems.append(
                Problem(place.file, place.line, f"no embedding for {caption!r}", remedy)
            )
        if table is None or not config.data.skip_bad:  # without a table every row would be skipped
            raise DataError(problems, f"{error}\n{headline(problems)}") from error
        return table
    return table.merge(computed) if table else computed


def read_table(config: TextConfig, source: Source) -> EmbeddingTable | None:
    """The table named in the configuration, else one lying with the data, else None."""
    if config.embeddings:
        path = Path(config.embeddings).expanduser()
        if not path.is_file():
            raise UserError(f"{path}: no such file; set text.embeddings")
    else:
        images = getattr(source, "images", source.root)
        places = dict.fromkeys([source.root, images.parent])
        found = (place / name for place in places for name in TABLE_NAMES)
        path = next((candidate for candidate in found if candidate.is_file()), None)
    if path is None:
        return None
    table = EmbeddingTable.read(path)
    if len(table) and table.width != TEXT_WIDTH:
        what = f"embeddings of {table.width} numbers instead of {TEXT_WIDTH}"
        raise DataError(
            [Problem(str(path), None, what, "compute them again: imagetext data embed")]
        )
    if table.encoder != config.encoder:
        what = f"computed by {table.encoder}, while text.encoder is {config.encoder}"
        raise DataError([Problem(str(path), None, what, f"add --text.encoder {table.encoder}")])
    return table


def compute_table(captions: Sequence[str], source: Source, config: TextConfig) -> EmbeddingTable:
    """Embed captions with the encoder, keeping them in the cache under the data's folder."""
    owner = f"{config.encoder} {source.root.absolute()}"
    cached = (
        cache_folder() / "embeddings" / f"{hashlib.sha256(owner.encode()).hexdigest()[:32]}.npz"
    )
    table = EmbeddingTable.read(cached) if cached.is_file() else None
    missing = table.missing(captions) if table else list(captions)
    if missing:
        from imagetext.encoders.sentences import sentence_encoder

        encode = sentence_encoder(config.encoder, config.weights)
        if len(missing) > 1000:
            show_progress(f"Embedding {len(missing):,} captions, once:")
        vectors = encode(missing, verbose=len(missing) > 1000)
        if vectors.shape[1] != TEXT_WIDTH:
            raise UserError(
                f"text.encoder: expected embeddings of width {TEXT_WIDTH}, but {config.encoder}"
                f" gives {vectors.shape[1]}; choose another encoder"
            )
        computed = EmbeddingTable(missing, vectors, encoder=config.encoder)
        table = table.merge(computed) if table else computed
        try:
            table.write(cached)
        except UserError as error:
            show_progress(f"The embeddings are not kept for the next run: {error}")
    return EmbeddingTable(captions, table.lookup(captions), encoder=config.encoder)
