"""Photos with their captions, whichever way a source holds them.

    source = open_captioned("flickr8k")
    records = captioned(source, "train", problems, words=str.split)

Who trains on captions reads them here: matches stand for captions where rows are labelled, and a
photo that several rows name is one record with the captions of all.
"""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from imagetext.errors import DataError, Problem, UserError
from imagetext.files import cache_folder
from imagetext.pipelines.duplicates import hash_photos, near_duplicate_groups
from imagetext.pipelines.records import MATCH, Record, Source
from imagetext.pipelines.sample import VERSION, write_sample
from imagetext.pipelines.sources import open_source

SAMPLE_NOTICE = """\
This is the built-in SAMPLE: synthetic scenes of coloured shapes, no photographs. Its figures show
that everything works and say nothing about real photos. For real data: --data.root PATH."""

#: What a mirrored photo does not show.
SIDES = {"left", "right"}


@dataclass(frozen=True)
class ReadCaptioned:
    """Splits that were read and checked: their records by split, all photos once, in `paths` and as
    `photos`; the problems, and how many photos and captions of each split were left out."""

    records: dict[str, list[Record]]
    paths: list[Path]
    photos: Any
    problems: list[Problem]
    left_out: dict[str, int]


def open_captioned(root: str | None, kind: str = "auto", images: str | None = None) -> Source:
    """The source in a folder, by its captions where it holds lists of pairs as well; the built-in
    sample where no folder is named."""
    if root is None:
        return open_source(write_sample(cache_folder() / f"sample-{VERSION}"), "sample")
    source = open_source(root, kind, images)
    if kind == "auto" and source.labelled:
        try:  # a folder may hold the captions beside the lists of pairs
            return open_source(root, "flickr8k", images)
        except UserError:
            return source
    return source


def captioned(
    source: Source,
    split: str,
    problems: list[Problem],
    words: Callable[[str], Sequence],
    remedy: str = "mend or remove it",
) -> list[Record]:
    """The photos of a split with their captions: the matches, where rows are labelled. A caption
    without `words` is a problem."""
    by_photo: dict = {}
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


def read_captioned(
    source: Source,
    splits: Sequence[str],
    words: Callable[[str], Sequence],
    see: Callable[[list[Path], list[Problem]], Any],
    skip_bad: bool,
    remedy: str = "mend or remove it",
) -> ReadCaptioned:
    """Read and check splits; `words` and `remedy` as of `captioned`. `see` opens the photos and
    notes those that cannot be read.

    All problems are told at once, or with `skip_bad` left out; a split of nothing is refused.
    """
    problems: list[Problem] = []
    records, left_out, photos = {}, {}, None
    for split in splits:
        before = len(problems)
        records[split] = captioned(source, split, problems, words, remedy)
        left_out[split] = len(problems) - before
    paths = list(dict.fromkeys(record.image for rows in records.values() for record in rows))
    if paths:
        photos = see(paths, problems)
    if problems and not skip_bad:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''} in the data"
        raise DataError(problems, f"{count} (--data.skip_bad true leaves them out)")
    unreadable = {problem.file for problem in problems if problem.line is None}
    for split, rows in records.items():
        kept = [record for record in rows if str(record.image) not in unreadable]
        left_out[split] += len(rows) - len(kept)
        if not kept:
            raise UserError(f"the {split} split has no captions; {_empty_remedy(source, split)}")
        records[split] = kept
    return ReadCaptioned(records, paths, photos, problems, left_out)


def may_be_mirrored(
    records: Mapping[str, Sequence[Record]], number: Mapping[Path, int]
) -> np.ndarray:
    """Of each photo, by number, whether no caption of it tells left from right: bool [photos]."""
    found = np.ones(len(number), bool)
    for record in itertools.chain(*records.values()):
        if any(map(tells_sides, record.texts)):
            found[number[record.image]] = False
    return found


def mirrored(may_be: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Which photos are seen mirrored this epoch, a coin for each that may be: bool, as given."""
    return may_be & (np.random.default_rng([seed, epoch, 1]).random(len(may_be)) < 0.5)


def tells_sides(text: str) -> bool:
    """Whether it says where left or right is, which a mirrored photo would belie."""
    return bool(SIDES & set(re.findall(r"\w+", text.lower())))


def _empty_remedy(source: Source, split: str) -> str:
    if split == "test" and source.kind == "Flickr8k":
        return f"some copies of {source.root} hold the test captions back: use --split dev"
    return f"check the {split} rows of {source.root} ({source.kind})"


def refuse_held_back(source: Source, split: str, run: str | Path) -> None:
    """One clear message to who scores a run on a split that has no captions at all."""
    if next(iter(source.records(split, [])), None) is None:
        other = "dev" if split != "dev" else "test"
        raise UserError(
            f"{source.root} ({source.kind}): no captions of the {split} split; some copies of"
            f" Flickr8k come without them; try: imagetext evaluate {run} --split {other}"
        )


def known_captions(
    pairs: Mapping[int, Sequence[int]], paths: Sequence[Path]
) -> dict[int, np.ndarray]:
    """Photo -> all that is known to describe it, by number: also what describes its copies, the
    same bytes or saved again, under other names."""
    known = {photo: np.array(captions) for photo, captions in pairs.items()}
    number = {paths[photo]: photo for photo in pairs}
    hashes, _ = hash_photos(number)
    for group in near_duplicate_groups(hashes):
        copies = [number[path] for path in group]
        together = np.unique(np.concatenate([known[photo] for photo in copies]))
        known |= dict.fromkeys(copies, together)
    return known
