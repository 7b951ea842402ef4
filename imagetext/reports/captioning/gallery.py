"""Captions shown beside their photos: the best, the middle and the worst by CIDEr-D.

sections = choose(predictions, cider, shown=12, looked=lambda number: None)
Path("gallery.png").write_bytes(gallery(sections))
"""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from imagetext.reports.captioning.attention_maps import (
    LETTERS,
    LINE,
    Looked,
    fitted,
    fitting,
    tiles,
)
from imagetext.reports.captioning.predictions import CaptionPredictions
from imagetext.reports.kit.images import FAINT, GAP, INK, PAPER, stacked, write

#: Sides of photo and of the tiles of words in the picture; its width.
PHOTO, WORD, WIDTH = 260, 156, 1180
WARM = "#c4541f"


@dataclass(frozen=True)
class Example:
    """A photo with what is said of it; `looked` where the model can be asked."""

    photo: str
    caption: str
    references: tuple[str, ...]
    cider: float
    log_probability: float
    looked: Looked | None = None


@dataclass(frozen=True)
class Section:
    """Examples under one heading."""

    title: str
    examples: tuple[Example, ...]


def choose(
    predictions: CaptionPredictions,
    cider: np.ndarray,
    shown: int,
    looked: Callable[[int], Looked | None],
) -> list[Section]:
    """About `shown` photos in three equal parts; `looked` is asked for those alone, by number."""
    each = max(1, shown // 3) if shown else 0
    best, middle, worst = np.array_split(np.argsort(-cider, kind="stable"), 3)
    start = max(0, (len(middle) - each) // 2)
    kinds = {
        "Best by CIDEr-D": best[:each],
        "In the middle": middle[start : start + each],
        "Worst": worst[::-1][:each],
    }
    return [
        Section(title, tuple(_example(predictions, cider, int(n), looked) for n in numbers))
        for title, numbers in kinds.items()
    ]


def _example(predictions, cider, number, looked) -> Example:
    return Example(
        predictions.photo[number],
        predictions.caption[number],
        predictions.references[number],
        float(cider[number]),
        float(predictions.log_probability[number]),
        looked(number),
    )


def gallery(sections: Sequence[Section]) -> bytes | None:
    """All sections as one PNG; None if there is nothing to show."""
    pieces = []
    for section in sections:
        if section.examples:
            pieces.append(_heading(section.title))
            pieces += map(_row, section.examples)
    return stacked(pieces, WIDTH)


def _heading(title: str) -> Image.Image:
    piece = Image.new("RGB", (WIDTH, 56), PAPER)
    write(piece, (GAP, 16), [title], size=24)
    return piece


def _row(example: Example) -> Image.Image:
    """The photo to the left, caption and references to the right of it; below, over the whole
    width, where the model looked."""
    photo, left = fitted(example.photo, PHOTO), PHOTO + 3 * GAP
    wide = WIDTH - left - GAP
    caption = textwrap.wrap(example.caption, wide // 12) or ["(nothing)"]
    told = [f"CIDEr-D {100 * example.cider:.1f}"]
    told += [textwrap.shorten(t, wide // 8, placeholder=" ...") for t in example.references]
    words, small = example.looked.words if example.looked else (), fitted(example.photo, WORD)
    columns = (WIDTH - GAP) // (WORD + GAP)
    rows, high = -(-len(words) // columns), small.height + LINE + GAP
    below = max(photo.height, 28 * len(caption) + 22 * len(told)) + 2 * GAP
    piece = Image.new("RGB", (WIDTH, below + rows * high + 2 * GAP), PAPER)
    piece.paste(photo, (GAP, 4))
    write(piece, (left, 0), caption, INK, 22)
    write(piece, (left, 28 * len(caption) + 4), told[:1], WARM, 16)
    write(piece, (left, 28 * len(caption) + 26), told[1:], FAINT, 16)
    lit = tiles(small, example.looked) if words else []
    for place, (tile, word) in enumerate(zip(lit, words, strict=True)):
        across, down = GAP + place % columns * (WORD + GAP), below + place // columns * high
        piece.paste(tile, (across, down))
        write(piece, (across, down + tile.height + 2), [fitting(word, WORD)], INK, LETTERS)
    return piece
