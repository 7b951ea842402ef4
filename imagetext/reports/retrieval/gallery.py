"""Searches shown with what they found: photos for a sentence, sentences for a photo.

sections = choose(searched, ranks, similarities, shown=12)
Path("gallery.png").write_bytes(gallery(sections))
"""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from imagetext.metrics.retrieval.ranks import Ranks
from imagetext.reports.kit.images import (
    FAINT,
    GAP,
    INK,
    PAPER,
    stacked,
    thumbnail,
    write,
)
from imagetext.reports.retrieval.searched import Searched

#: What is shown of each search.
TOP = 5
#: Sides of photos in the picture; its width; letters a line.
PHOTO, FOUND, WIDTH, LETTERS = 130, 130, 1000, 96
RIGHT, WRONG = "#1f8a4c", "#c4541f"


@dataclass(frozen=True)
class SearchExample:
    """A photo or a caption that was found, how similar it is, and whether it is right."""

    what: str
    similarity: float
    right: bool


@dataclass(frozen=True)
class Example:
    """A search: `photo` and `caption` belong together, and one of them was asked; `place` is where
    the other stands among all."""

    photo: str
    caption: str
    by_text: bool
    place: int
    found: tuple[SearchExample, ...]


@dataclass(frozen=True)
class Section:
    """Examples under one heading."""

    title: str
    examples: tuple[Example, ...]


def choose(searched: Searched, ranks: Ranks, similarities: np.ndarray, shown: int) -> list[Section]:
    """About `shown` searches, by text and by photo: of those that found the right one at once or
    among the first ten some by chance, and those where it stands last; each photo once a section.
    """
    each = -(-shown // 6) if shown else 0
    rng = np.random.default_rng(0)
    sections = []
    for by_text, places in ((True, ranks.photo_ranks), (False, ranks.caption_ranks)):
        side = "Photos for a sentence" if by_text else "Sentences for a photo"
        numbers = rng.permutation(len(places))
        late = numbers[np.argsort(-places[numbers], kind="stable")]
        kinds = {
            "found at once": numbers[places[numbers] == 1],
            "found late": numbers[(places[numbers] > 1) & (places[numbers] <= 10)],
            "the last ones": late[places[late] > 10],
        }
        for title, chosen in kinds.items():
            examples, seen = [], set()
            for number in chosen.tolist():
                photo = int(searched.owner[number]) if by_text else number
                if len(examples) < each and photo not in seen:
                    seen.add(photo)
                    place = int(places[number])
                    examples.append(_example(searched, similarities, number, by_text, place))
            sections.append(Section(f"{side}: {title}", tuple(examples)))
    return sections


def _example(
    searched: Searched, similarities: np.ndarray, number: int, by_text: bool, place: int
) -> Example:
    photos, captions, owner = searched.photo, searched.caption, searched.owner
    scores = similarities[:, number] if by_text else similarities[number]
    best = np.argsort(-scores, kind="stable")[:TOP].tolist()
    if by_text:
        right = int(owner[number])
        found = [
            SearchExample(photos[n], float(scores[n]), searched.is_right(n, number)) for n in best
        ]
        return Example(photos[right], captions[number], True, place, tuple(found))
    found = [
        SearchExample(captions[n], float(scores[n]), searched.is_right(number, n)) for n in best
    ]
    own = int(np.flatnonzero(owner == number)[0])
    return Example(photos[number], captions[own], False, place, tuple(found))


def gallery(sections: Sequence[Section]) -> bytes | None:
    """All sections as one PNG; None if there is nothing to show."""
    pieces = list(_pieces(sections))
    return stacked(pieces, WIDTH)


def _pieces(sections: Sequence[Section]) -> Iterator[Image.Image]:
    for section in sections:
        if section.examples:
            heading = Image.new("RGB", (WIDTH, 44), PAPER)
            write(heading, (GAP, 12), [section.title], size=18)
            yield heading
            yield from map(_row, section.examples)


def _row(example: Example) -> Image.Image:
    """By text: the sentence, and below it the photos found. By photo: it, and beside it the
    sentences."""
    told = f"the right one stands at {example.place:,}"
    lines = textwrap.wrap(example.caption, LETTERS, max_lines=2, placeholder=" ...")
    if not example.by_text:
        piece = Image.new("RGB", (WIDTH, PHOTO + 2 * GAP), PAPER)
        piece.paste(thumbnail(example.photo, PHOTO), (GAP, GAP))
        left = PHOTO + 3 * GAP
        write(piece, (left, GAP), [told], FAINT, 12)
        for line, found in enumerate(example.found):
            text = textwrap.shorten(found.what, LETTERS, placeholder=" ...")
            ink = RIGHT if found.right else INK
            write(
                piece, (left, GAP + 22 * (line + 1)), [f"{found.similarity:.2f}  {text}"], ink, 12
            )
        return piece
    top = GAP + 22 * len(lines) + 22
    piece = Image.new("RGB", (WIDTH, top + FOUND + 3 * GAP + 12), PAPER)
    write(piece, (GAP, 4), lines, INK, 16)
    write(piece, (GAP, 4 + 22 * len(lines)), [told], FAINT, 12)
    for place, found in enumerate(example.found):
        left = GAP + place * (FOUND + 2 * GAP)
        piece.paste(thumbnail(found.what, FOUND), (left, top))
        if found.right:
            box = (left - 3, top - 3, left + FOUND + 2, top + FOUND + 2)
            ImageDraw.Draw(piece).rectangle(box, outline=RIGHT, width=3)
        ink = RIGHT if found.right else FAINT
        write(piece, (left, top + FOUND + 5), [f"{found.similarity:.2f}"], ink, 12)
    return piece
