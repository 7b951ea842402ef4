"""Match and no-match rows from captions.

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
        negatives: Number of captions of other photos to add; proportionally fewer if the photo has
            fewer than `matches` captions. Captions that the photo or one of its duplicates also has
            are never added.
        seed: Seed of the random choices.
        duplicates: Groups of photos that show the same picture.

    Yields:
        A record with one caption and a label for each row.
    """
    records = list(records)
    group_of = {image: number for number, group in enumerate(duplicates) for image in group}
    group_numbers = [
        group_of.setdefault(record.image, -1 - index) for index, record in enumerate(records)
    ]
    captions_of: dict[int, set[str]] = {}
    for group, record in zip(group_numbers, records, strict=True):
        captions_of.setdefault(group, set()).update(map(normalise, record.texts))
    pool = [(normalise(text), text) for record in records for text in record.texts]
    distinct = dict(pool)
    for index, (group, record) in enumerate(zip(group_numbers, records, strict=True)):
        rng = random.Random(f"{seed} {index} {record.image.name}")
        texts = list(record.texts)
        positives = texts if len(texts) <= matches else rng.sample(texts, matches)
        for text in positives:
            yield _row(record, text, MATCH)
        count = round(negatives * len(positives) / matches)
        for text in _draw_negatives(rng, pool, distinct, captions_of[group], count):
            yield _row(record, text, NO_MATCH)


def _row(record: Record, text: str, label: str) -> Record:
    return Record(record.image, (text,), label, record.split, record.file, record.line)


def _draw_negatives(
    rng: random.Random,
    pool: list[tuple[str, str]],
    distinct: dict[str, str],
    excluded: set[str],
    count: int,
) -> list[str]:
    """Rejection sampling, which is fast if few captions are excluded; then from what is left."""
    drawn: dict[str, str] = {}
    for key, text in rng.choices(pool, k=20 * count) if pool else []:
        if len(drawn) == count:
            break
        if key not in excluded:
            drawn.setdefault(key, text)
    if len(drawn) < count:
        left = [key for key in distinct if key not in excluded and key not in drawn]
        for key in rng.sample(left, min(count - len(drawn), len(left))):
            drawn[key] = distinct[key]
    return list(drawn.values())
