"""Match and no-match rows made from captions.

rows = make_pairs(source.records("train"), matches=3, negatives=3, seed=0)
"""

import random
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from imagetext.pipelines.audit import normalise
from imagetext.pipelines.records import MATCH, NO_MATCH, Record


def make_pairs(
    records: Iterable[Record],
    matches: int = 3,
    negatives: int = 3,
    seed: int = 0,
    duplicates: Iterable[Collection[Path]] = (),
) -> Iterator[Record]:
    """Make labelled rows from captioned photos. The same seed makes the same rows.

    Args:
        records: Photos with captions, of one split.
        matches: Number of captions of each photo to use.
        negatives: Number of captions of other photos to add; fewer, in proportion, if the photo has
            fewer than `matches` captions. They are never captions that the photo or one of its
            duplicates also has.
        seed: Seed of the random choices.
        duplicates: Groups of photos that show the same picture.

    Yields:
        A record with one caption and a label for each row.
    """
    records = list(records)
    group_of = {image: number for number, group in enumerate(duplicates) for image in group}
    group_numbers = [
        group_of.setdefault(record.image, -1 - place) for place, record in enumerate(records)
    ]
    captions_of: dict[int, set[str]] = {}
    for member, record in zip(group_numbers, records, strict=True):
        captions_of.setdefault(member, set()).update(map(normalise, record.texts))
    pool = [(normalise(text), text) for record in records for text in record.texts]
    distinct = dict(pool)
    for place, (member, record) in enumerate(zip(group_numbers, records, strict=True)):
        rng = random.Random(f"{seed} {place} {record.image.name}")
        texts = list(record.texts)
        right = texts if len(texts) <= matches else rng.sample(texts, matches)
        for text in right:
            yield _row(record, text, MATCH)
        wanted = round(negatives * len(right) / matches)
        for text in _draw_wrong(rng, pool, distinct, captions_of[member], wanted):
            yield _row(record, text, NO_MATCH)


def _row(record: Record, text: str, label: str) -> Record:
    return Record(record.image, (text,), label, record.split, record.file, record.line)


def _draw_wrong(rng, pool, distinct: dict[str, str], taken: set[str], wanted: int) -> list[str]:
    """Draw by rejection, which is fast if most captions are wrong; then from all that are left."""
    drawn: dict[str, str] = {}
    for key, text in rng.choices(pool, k=20 * wanted) if pool else []:
        if len(drawn) == wanted:
            break
        if key not in taken:
            drawn.setdefault(key, text)
    if len(drawn) < wanted:
        left = [key for key in distinct if key not in taken and key not in drawn]
        for key in rng.sample(left, min(wanted - len(drawn), len(left))):
            drawn[key] = distinct[key]
    return list(drawn.values())
