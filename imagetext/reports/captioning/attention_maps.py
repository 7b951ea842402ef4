"""Where a captioning model attended at each word, drawn over the photo.

attention = AttentionMaps(("a", "dog"), maps)                # float [2, 9, 9]
draw_maps("dog.jpg", attention, title="a dog").save("dog-maps.png")
"""

import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from imagetext.reports.kit.images import FAINT, GAP, INK, PAPER, draw_text, font, placeholder

#: Colours of little and of full attention; the rest of the photo is grey.
LITTLE, FULL = np.array([[255, 70, 0], [255, 220, 50]], np.float32)
OPACITY = 0.68
GREY = np.array([0.299, 0.587, 0.114], np.float32)
#: Side of a tile, size of the letters below it, and height of their line, in pixels.
TILE, LETTERS, LINE = 208, 17, 26


@dataclass(frozen=True)
class AttentionMaps:
    """The words of a caption, and the attention weights of the photo's cells at each.

    Args:
        words: The words [t].
        maps: float [t, h, w].
    """

    words: tuple[str, ...]
    maps: np.ndarray

    def __post_init__(self) -> None:
        if len(self.words) != len(self.maps):
            raise ValueError(f"{len(self.words)} words, but {len(self.maps)} maps")


def overlay_maps(photo: Image.Image, attention: AttentionMaps) -> list[Image.Image]:
    """The photo once for each word, coloured by attention."""
    return [overlay(photo, weights) for weights in attention.maps]


def overlay(photo: Image.Image, weights: np.ndarray) -> Image.Image:
    """Turn a photo grey and colour it in proportion to attention weights [h, w].

    Weights are relative to the largest, so that they show even if all are small, on dark and on
    bright photos.
    """
    cells = Image.fromarray(np.asarray(weights / max(weights.max(), 1e-9), np.float32))
    heat = np.asarray(cells.resize(photo.size, Image.Resampling.BICUBIC)).clip(0, 1)[..., None]
    pixels = np.asarray(photo, np.float32)
    grey = 60 + 0.55 * (pixels @ GREY)[..., None]
    colour = LITTLE + heat**2 * (FULL - LITTLE)
    return Image.fromarray((grey + OPACITY * heat * (colour - grey)).round().astype(np.uint8))


def fit_photo(path: str | Path, side: int = TILE) -> Image.Image:
    """A whole photo, scaled to fit a square; a grey tile with its name if it cannot be read.

    It is not cropped: the cells of a model's grid cover the whole photo.
    """
    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * side, 2 * side))
            photo = image.convert("RGB")
    except Exception:  # Pillow raises many kinds; a missing photo must not fail the report
        return placeholder(path, side)
    scale = side / max(photo.size)
    return photo.resize([max(1, round(scale * length)) for length in photo.size])


def draw_maps(
    path: str | Path, attention: AttentionMaps, title: str = "", columns: int = 6
) -> Image.Image:
    """Draw a photo, and the photo coloured by attention for each word, as one picture."""
    photo = fit_photo(path)
    tiles = [(photo, Path(path).name)]
    tiles += zip(overlay_maps(photo, attention), attention.words, strict=True)
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    width, height = photo.width + GAP, photo.height + LINE + GAP
    lines = textwrap.wrap(title, max(12, columns * width // 12))
    top = GAP + LINE * len(lines) + (GAP if lines else 0)
    page = Image.new("RGB", (GAP + columns * width, top + rows * height), PAPER)
    draw_text(page, (GAP, GAP), lines, size=20)
    for index, (tile, word) in enumerate(tiles):
        x, y = GAP + index % columns * width, top + index // columns * height
        page.paste(tile, (x, y))
        colour, below = INK if index else FAINT, (x, y + tile.height + 2)
        draw_text(page, below, [shorten(word, tile.width)], colour, LETTERS)
    return page


def shorten(word: str, width: int) -> str:
    """A word, cut with an ellipsis if it is wider than `width` pixels below a tile."""
    word = word.encode("utf-8", "replace").decode()  # a lone surrogate cannot be measured
    part, length = word, font(LETTERS).getlength
    while len(part) > 1 and length(part if part == word else f"{part}...") > width:
        part = part[:-1]
    return part if part == word else f"{part}..."
