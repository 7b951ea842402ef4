"""Photos with all their captions, from any source.

    source = open_captioned("flickr8k")
    splits = read_captioned(source, ["train"], str.split, open_photos, skip_bad=False)

Of labelled rows, the matches are the captions. A photo named by several rows becomes one record
with the captions of all.
"""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from imagetext.errors import Problem, UserError
from imagetext.pipelines.duplicates import hash_photos, near_duplicate_groups
from imagetext.pipelines.records import MATCH, Record, Source
from imagetext.pipelines.sources import open_source, open_source_or_sample
from imagetext.pipelines.splits import Splits

#: Words that no longer apply to a mirrored photo.
SIDES = {"left", "right"}


def open_captioned(root: str | None, kind: str = "auto", images: str | None = None) -> Source:
    """Open a data folder for its captions, even if it also has lists of labelled pairs.

    Args:
        root: The folder; None for the built-in sample.
        kind: As for `open_source`.
        images: As for `open_source`.

    Returns:
        The source of records.
    """
    source = open_source_or_sample(root, kind, images)
    if root is not None and kind == "auto" and source.labelled:
        try:
            return open_source(root, "flickr8k", images)
        except UserError:
            return source
    return source


def read_captioned(
    source: Source,
    names: Sequence[str],
    words: Callable[[str], Sequence],
    open_photos: Callable[[list[Path], list[Problem]], Any],
    skip_bad: bool,
    remedy: str = "correct or remove it",
) -> Splits:
    """Read and check splits of captioned photos.

    Args:
        source: Where the records come from.
        names: The splits.
        words: The words of a caption; a caption without words is a problem.
        open_photos: Opens photos, adding unreadable ones to a list of problems.
        skip_bad: Leave out bad rows and photos instead of raising.
        remedy: What to do about a caption without words.

    Returns:
        The splits with their photos.

    Raises:
        DataError: If there are problems, with all of them.
        UserError: If a split is empty.
    """
    splits = Splits(source)
    splits.read(
        names, lambda split, problems: read_captions(source, split, problems, words, remedy)
    )
    splits.open_photos(open_photos)
    splits.check(skip_bad)
    return splits


def read_captions(
    source: Source,
    split: str,
    problems: list[Problem],
    words: Callable[[str], Sequence],
    remedy: str = "correct or remove it",
) -> list[Record]:
    """The photos of a split, each once with all its captions.

    Args:
        source: Where the records come from.
        split: The split.
        problems: Bad rows are added to it.
        words: The words of a caption; a caption without words is a problem.
        remedy: What to do about such a caption.

    Returns:
        One record for each photo that has captions.
    """
    by_photo: dict[Path, Record] = {}
    for record in source.records(split, problems):
        if record.label not in (None, MATCH):
            continue
        kept = [text for text in record.texts if words(text)]
        for number, text in enumerate(record.texts):
            if text not in kept:
                what = f"the caption {text!r} has no word left after cleaning"
                problems.append(Problem(*record.place_of(number), what, remedy))
        earlier = by_photo.get(record.image)
        texts = tuple(dict.fromkeys((*(earlier.texts if earlier else ()), *kept)))
        by_photo[record.image] = replace(record, texts=texts, label=None, text_lines=())
    return [record for record in by_photo.values() if record.texts]


def require_captions(source: Source, split: str, run: str | Path) -> None:
    """Refuse to score a run on a split that has no captions at all."""
    if next(iter(source.records(split, [])), None) is None:
        other = "dev" if split != "dev" else "test"
        raise UserError(
            f"{source.root} ({source.kind}): no captions of the {split} split; some copies of"
            f" Flickr8k come without them; try: imagetext evaluate {run} --split {other}"
        )


def may_be_mirrored(
    records: Mapping[str, Sequence[Record]], number: Mapping[Path, int]
) -> np.ndarray:
    """Whether each photo may be mirrored because no caption of it mentions left or right.

    Args:
        records: The records of each split.
        number: The number of each photo.

    Returns:
        bool [photos].
    """
    allowed = np.ones(len(number), bool)
    for record in itertools.chain(*records.values()):
        if any(map(_mentions_side, record.texts)):
            allowed[number[record.image]] = False
    return allowed


def choose_mirrored(allowed: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Which photos to mirror in an epoch, bool [photos]: half of those allowed, at random."""
    return allowed & (np.random.default_rng([seed, epoch, 1]).random(len(allowed)) < 0.5)


def _mentions_side(text: str) -> bool:
    return bool(SIDES & set(re.findall(r"\w+", text.lower())))


def captions_of_copies(
    pairs: Mapping[int, Sequence[int]], paths: Sequence[Path]
) -> dict[int, np.ndarray]:
    """All captions that are known to describe each photo, including those of its copies.

    Args:
        pairs: The captions of each photo, by number.
        paths: The file of each photo, by number.

    Returns:
        The captions of each photo and of all near-duplicates of it, by number.
    """
    known = {photo: np.array(captions) for photo, captions in pairs.items()}
    number = {paths[photo]: photo for photo in pairs}
    hashes, _ = hash_photos(number)
    for group in near_duplicate_groups(hashes):
        copies = [number[path] for path in group]
        together = np.unique(np.concatenate([known[photo] for photo in copies]))
        known |= dict.fromkeys(copies, together)
    return known
