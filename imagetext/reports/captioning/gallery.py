"""Captions beside their photos: the best, the middle and the worst by CIDEr-D.

sections = choose_examples(predictions, cider, count=12, attention=lambda number: None)
Path("gallery.png").write_bytes(draw_gallery(sections))
"""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from imagetext.reports.captioning.attention_maps import (
    LETTERS,
    LINE,
    AttentionMaps,
    fit_photo,
    overlay_maps,
    shorten,
)
from imagetext.reports.captioning.predictions import CaptionPredictions
from imagetext.reports.kit.gallery import Section, draw_sections
from imagetext.reports.kit.images import FAINT, GAP, INK, PAPER, draw_text

#: Sides of a photo and of the tile of a word, and the width of the picture, in pixels.
PHOTO, WORD, WIDTH = 260, 156, 1180
WARM = "#c4541f"
#: Takes the index of a photo; None if the model has no attention, or the photo cannot be read.
Attention = Callable[[int], AttentionMaps | None]


@dataclass(frozen=True)
class CaptionExample:
    """A photo in the gallery, with its captions."""

    photo: str
    caption: str
    references: tuple[str, ...]
    cider: float
    log_probability: float
    attention: AttentionMaps | None = None


def choose_examples(
    predictions: CaptionPredictions, cider: np.ndarray, count: int, attention: Attention
) -> list[Section[CaptionExample]]:
    """Choose the best, the middle and the worst captions.

    Args:
        predictions: Captions and references.
        cider: CIDEr-D of each photo, float [n].
        count: About how many photos to choose in total.
        attention: Called only for the photos that are chosen.
    """
    each = max(1, count // 3) if count else 0
    best, middle, worst = np.array_split(np.argsort(-cider, kind="stable"), 3)
    start = max(0, (len(middle) - each) // 2)
    kinds = {
        "Best by CIDEr-D": best[:each],
        "Middle": middle[start : start + each],
        "Worst": worst[::-1][:each],
    }
    return [
        Section(
            title,
            tuple(
                CaptionExample(
                    predictions.photo[index],
                    predictions.caption[index],
                    predictions.references[index],
                    float(cider[index]),
                    float(predictions.log_probability[index]),
                    attention(index),
                )
                for index in indices.tolist()
            ),
        )
        for title, indices in kinds.items()
    ]


def draw_gallery(sections: Sequence[Section[CaptionExample]]) -> bytes | None:
    """Draw all sections as one PNG; None if there are no examples."""
    return draw_sections(sections, _draw_example, WIDTH, heading_size=24)


def _draw_example(example: CaptionExample) -> Image.Image:
    """The photo with caption and references to its right; below, a tile for each word."""
    photo, left = fit_photo(example.photo, PHOTO), PHOTO + 3 * GAP
    width = WIDTH - left - GAP
    caption = textwrap.wrap(example.caption, width // 12) or ["(empty)"]
    lines = [f"CIDEr-D {100 * example.cider:.1f}"]
    lines += [textwrap.shorten(t, width // 8, placeholder=" ...") for t in example.references]
    small = fit_photo(example.photo, WORD)
    words = example.attention.words if example.attention else ()
    tiles = overlay_maps(small, example.attention) if example.attention else []
    columns = (WIDTH - GAP) // (WORD + GAP)
    rows, height = -(-len(words) // columns), small.height + LINE + GAP
    below = max(photo.height, 28 * len(caption) + 22 * len(lines)) + 2 * GAP
    piece = Image.new("RGB", (WIDTH, below + rows * height + 2 * GAP), PAPER)
    piece.paste(photo, (GAP, 4))
    draw_text(piece, (left, 0), caption, INK, 22)
    draw_text(piece, (left, 28 * len(caption) + 4), lines[:1], WARM, 16)
    draw_text(piece, (left, 28 * len(caption) + 26), lines[1:], FAINT, 16)
    for index, (tile, word) in enumerate(zip(tiles, words, strict=True)):
        x, y = GAP + index % columns * (WORD + GAP), below + index // columns * height
        piece.paste(tile, (x, y))
        draw_text(piece, (x, y + tile.height + 2), [shorten(word, WORD)], INK, LETTERS)
    return piece
