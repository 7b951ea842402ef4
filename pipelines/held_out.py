"""Leave out photos and captions that occur in held-out splits, to prevent leaks.

    kept, left_out = leave_out(extra, held_out=[*dev, *test])
    same, near = find_copies(photos, of=training_photos)

A photo that is held out, or nearly the same as a held-out photo, is removed with all its captions.
A held-out caption is removed from every photo: a no-match row is easier for a model that has been
trained on the caption with the photo that it describes.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from imagetext.pipelines.duplicates import fingerprints, near_duplicates
from imagetext.pipelines.records import Record


def leave_out(
    records: Sequence[Record], held_out: Iterable[Record]
) -> tuple[list[Record], dict[str, int]]:
    """Remove held-out photos and captions.

    Args:
        records: Photos with captions.
        held_out: The records of the held-out splits.

    Returns:
        The remaining records, in which each caption of a photo occurs once, and the numbers of
        photos and captions that were left out, by reason.
    """
    held_out = list(held_out)
    held_out_photos = dict.fromkeys(record.image for record in held_out)
    held_out_captions = {letters(text) for record in held_out for text in record.texts}
    same, near = find_copies([record.image for record in records], held_out_photos)
    kept: list[Record] = []
    dropped: dict = {}
    left = {"captions that are held out": 0}
    for record in records:
        if record.image in same or record.image in near:
            why = "photos that are held out" if record.image in same else "near-duplicates of them"
            dropped.setdefault(why, set()).add(record.image)
            continue
        texts: dict[str, str] = {}
        for text in record.texts:
            texts.setdefault(letters(text), text)
        remain = tuple(text for key, text in texts.items() if key not in held_out_captions)
        left["captions that are held out"] += len(texts) - len(remain)
        if remain:
            kept.append(replace(record, texts=remain, text_lines=()))
    return kept, {why: len(images) for why, images in dropped.items()} | left


def find_copies(photos: Iterable[Path], of: Iterable[Path]) -> tuple[set[Path], set[Path]]:
    """Find photos that are copies of others.

    Args:
        photos: The photos to check.
        of: The photos to compare them with.

    Returns:
        The photos that are among the others, by path or byte for byte, and those that are
        near-duplicates of them (resized, or saved again).
    """
    photos, others = list(photos), set(of)
    # The others come first, so that they are first in every pair.
    every = list(dict.fromkeys([*others, *photos]))
    digests, hashes, _ = fingerprints(every, {})
    contents = {digests[path] for path in others if path in digests}
    same = {path for path in photos if path in others or digests.get(path) in contents}
    near = {other for one, other, _ in near_duplicates(hashes) if one in others}
    return same, near & set(photos) - same


def letters(caption: str) -> str:
    """Only letters and digits: "A dog 's ball ." and "a dog's ball" are the same caption."""
    # An accented letter may be encoded as one character or as two.
    return "".join(re.findall(r"\w+", unicodedata.normalize("NFKC", caption).casefold()))
