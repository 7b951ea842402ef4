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
    """Yield up to `matches` captions of each photo, and `negatives` wrong ones, in proportion fewer
    where it has fewer captions.

    Wrong captions come from other photos of the same split, drawn evenly; never one that the photo
    itself (or a photo in the same group of `duplicates`) also has. Same seed, same rows.
    """
    records = list(records)
    twin_of = {image: number for number, group in enumerate(duplicates) for image in group}
    family = [twin_of.setdefault(record.image, -1 - place) for place, record in enumerate(records)]
    own: dict[int, set[str]] = {}
    for member, record in zip(family, records, strict=True):
        own.setdefault(member, set()).update(map(normalise, record.texts))
    pool = [(normalise(text), text) for record in records for text in record.texts]
    distinct = dict(pool)
    for place, (member, record) in enumerate(zip(family, records, strict=True)):
        rng = random.Random(f"{seed} {place} {record.image.name}")
        texts = list(record.texts)
        right = texts if len(texts) <= matches else rng.sample(texts, matches)
        for text in right:
            yield _row(record, text, MATCH)
        wanted = round(negatives * len(right) / matches)
        for text in _draw_wrong(rng, pool, distinct, own[member], wanted):
            yield _row(record, text, NO_MATCH)


def _row(record: Record, text: str, label: str) -> Record:
    return Record(record.image, (text,), label, record.split, record.file, record.line)


def _draw_wrong(rng, pool, distinct: dict[str, str], taken: set[str], wanted: int) -> list[str]:
    """Draw by rejection, quick as long as most captions are wrong; else from all that are."""
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
