"""Photos with their captions, whichever way a source holds them.

    source = open_captioned("flickr8k")
    records = captioned(source, "train", problems, words=str.split)

Who trains on captions reads them here: matches stand for captions where rows are labelled, and a
photo that several rows name is one record with the captions of all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipelines.duplicates import hash_photos, near_duplicate_groups
from pipelines.errors import Problem, UserError
from pipelines.files import cache_folder
from pipelines.records import MATCH, Record, Source
from pipelines.sample import VERSION, write_sample
from pipelines.sources import open_source

SAMPLE_NOTICE = """\
This is the built-in SAMPLE: synthetic scenes of coloured shapes, no photographs. Its figures show
that everything works and say nothing about real photos. For real data: --data.root PATH."""


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
        for text in record.texts:
            if text not in kept:
                what = f"the caption {text!r} has no word left after cleaning"
                problems.append(Problem(record.file, record.line, what, remedy))
        earlier = by_photo.get(record.image)
        texts = (*(earlier.texts if earlier else ()), *kept)
        by_photo[record.image] = replace(record, texts=tuple(dict.fromkeys(texts)), label=None)
    return [record for record in by_photo.values() if record.texts]


def refuse_held_back(source: Source, split: str, run: Path) -> None:
    """One clear message to who scores a run on a split that has no captions at all."""
    if next(iter(source.records(split, [])), None) is None:
        other = "dev" if split != "dev" else "test"
        raise UserError(
            f"{source.root} ({source.kind}): no captions of the {split} split; some copies of"
            f" Flickr8k hold them back -- imagetext evaluate {run} --split {other}"
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
