"""Leaving out of a source whatever would give the answers of held-out splits away.

    kept, left_out = leave_out(extra, held_out=[*dev, *test])
    same, near = find_copies(photos, of=training_photos)

A photo that is also held out, or nearly the same as one that is, goes with all its captions; and a
held-out caption goes from wherever it stands. For a row "this caption, that photo: no-match" asks
less of a model that has seen the caption with the photo it does belong to.
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
    """The records that remain, and how many photos and captions were left out, and why.

    Each caption of a photo remains once, as first written.
    """
    held_out = list(held_out)
    secret_photos = dict.fromkeys(record.image for record in held_out)
    secret_captions = {letters(text) for record in held_out for text in record.texts}
    same, near = find_copies([record.image for record in records], secret_photos)
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
        remain = tuple(text for key, text in texts.items() if key not in secret_captions)
        left["captions that are held out"] += len(texts) - len(remain)
        if remain:
            kept.append(replace(record, texts=remain, text_lines=()))
    return kept, {why: len(images) for why, images in dropped.items()} | left


def find_copies(photos: Iterable[Path], of: Iterable[Path]) -> tuple[set[Path], set[Path]]:
    """Which photos are among others, by path or byte for byte, and which are nearly the same as one
    of them: resized, or saved again."""
    photos, others = list(photos), set(of)
    # Those others come first, and so in every pair with a photo.
    every = list(dict.fromkeys([*others, *photos]))
    digests, found, _ = fingerprints(every, {})
    contents = {digests[path] for path in others if path in digests}
    same = {path for path in photos if path in others or digests.get(path) in contents}
    near = {other for one, other, _ in near_duplicates(found) if one in others}
    return same, near & set(photos) - same


def letters(caption: str) -> str:
    """Letters and digits alone: "A dog 's ball ." and "a dog's ball" are one caption."""
    # An accent may be a letter's own or a sign behind it.
    return "".join(re.findall(r"\w+", unicodedata.normalize("NFKC", caption).casefold()))
