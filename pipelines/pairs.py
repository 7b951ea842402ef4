"""Making match / no-match rows from any captioned source.

rows = make_pairs(source.records("train"), matches=3, negatives=3, seed=0)
"""

import random
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from pipelines.audit import normalised
from pipelines.records import MATCH, NO_MATCH, Record


def make_pairs(
    records: Iterable[Record],
    matches: int = 3,
    negatives: int = 3,
    seed: int = 0,
    duplicates: Iterable[Collection[Path]] = (),
) -> Iterator[Record]:
    """Yield, for each photo, up to `matches` of its captions and as many wrong ones as asked.

    Wrong captions come from other photos of the same split, drawn evenly; never one that the photo
    itself (or a photo in the same group of `duplicates`) also has. Same seed, same rows.
    """
    records = list(records)
    twin_of = {image: number for number, group in enumerate(duplicates) for image in group}
    family = [twin_of.get(record.image, -1 - place) for place, record in enumerate(records)]
    own: dict[int, set[str]] = {}
    for member, record in zip(family, records, strict=True):
        own.setdefault(member, set()).update(map(normalised, record.texts))
    pool = [
        (member, text)
        for member, record in zip(family, records, strict=True)
        for text in record.texts
    ]
    for place, (member, record) in enumerate(zip(family, records, strict=True)):
        rng = random.Random(f"{seed} {place} {record.image.name}")
        texts = list(record.texts)
        right = texts if len(texts) <= matches else rng.sample(texts, matches)
        for text in right:
            yield _row(record, text, MATCH)
        for text in _draw_wrong(rng, pool, member, own[member], negatives):
            yield _row(record, text, NO_MATCH)


def _row(record: Record, text: str, label: str) -> Record:
    return Record(record.image, (text,), label, record.split, record.file, record.line)


def _draw_wrong(rng, pool, member: int, taken: set[str], wanted: int) -> list[str]:
    """Draw by rejection, quick as long as most captions are wrong; else try each in turn."""
    drawn: list[str] = []
    seen = set(taken)
    tries = rng.choices(pool, k=20 * wanted) if pool else []
    for other, text in [*tries, *(pool if len(pool) <= 20 * wanted else [])]:
        if len(drawn) == wanted:
            break
        if other != member and normalised(text) not in seen:
            seen.add(normalised(text))
            drawn.append(text)
    return drawn
