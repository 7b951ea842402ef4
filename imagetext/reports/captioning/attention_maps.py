"""Where a captioning model looked at each word, drawn over the photo.

looked = Looked(("a", "dog"), maps)                # maps [2, 9, 9]: how much of each cell
sheet("dog.jpg", looked, title="a dog").save("dog-maps.png")
"""

import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from imagetext.reports.kit.images import FAINT, GAP, INK, PAPER, font, no_photo, write

#: What is looked at is covered by a colour from the first to the second; the rest is grey.
LITTLE, MOST = np.array([[255, 70, 0], [255, 220, 50]], np.float32)
COVER = 0.68
GREY = np.array([0.299, 0.587, 0.114], np.float32)
#: The side of a tile, the letters below it, and the height of their line.
TILE, LETTERS, LINE = 208, 17, 26


@dataclass(frozen=True)
class Looked:
    """The words of a caption, and for each the weights of the cells: float [t, h, w]."""

    words: tuple[str, ...]
    maps: np.ndarray

    def __post_init__(self) -> None:
        if len(self.words) != len(self.maps):
            raise ValueError(f"{len(self.words)} words, but {len(self.maps)} maps")


def tiles(photo: Image.Image, looked: Looked) -> list[Image.Image]:
    """The photo once a word, coloured where the model looked."""
    return [lit(photo, weights) for weights in looked.maps]


def lit(photo: Image.Image, weights: np.ndarray) -> Image.Image:
    """A photo in grey, coloured in proportion to the weights [h, w] of its cells, the largest in
    full: so it shows on dark photos and on bright ones, however small they are."""
    cells = Image.fromarray(np.asarray(weights / max(weights.max(), 1e-9), np.float32))
    heat = np.asarray(cells.resize(photo.size, Image.Resampling.BICUBIC)).clip(0, 1)[..., None]
    pixels = np.asarray(photo, np.float32)
    grey = 60 + 0.55 * (pixels @ GREY)[..., None]
    colour = LITTLE + heat**2 * (MOST - LITTLE)
    return Image.fromarray((grey + COVER * heat * (colour - grey)).round().astype(np.uint8))


def fitted(path: str | Path, side: int = TILE) -> Image.Image:
    """A photo in a square, whole: cells of a model's grid lie evenly over the whole photo. A grey
    tile with its name if it cannot be read."""
    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * side, 2 * side))
            photo = image.convert("RGB")
    except Exception:  # Pillow raises many kinds; a missing photo must not cost the report
        return no_photo(path, side)
    scale = side / max(photo.size)
    return photo.resize([max(1, round(scale * length)) for length in photo.size])


def sheet(path: str | Path, looked: Looked, title: str = "", columns: int = 6) -> Image.Image:
    """One picture: the photo, and for each word the photo coloured where the model looked."""
    photo = fitted(path)
    shown = [(photo, Path(path).name)]
    shown += zip(tiles(photo, looked), looked.words, strict=True)
    columns = min(columns, len(shown))
    rows = -(-len(shown) // columns)
    wide, high = photo.width + GAP, photo.height + LINE + GAP
    lines = textwrap.wrap(title, max(12, columns * wide // 12))
    top = GAP + LINE * len(lines) + (GAP if lines else 0)
    page = Image.new("RGB", (GAP + columns * wide, top + rows * high), PAPER)
    write(page, (GAP, GAP), lines, size=20)
    for place, (tile, word) in enumerate(shown):
        left, upper = GAP + place % columns * wide, top + place // columns * high
        page.paste(tile, (left, upper))
        ink, below = INK if place else FAINT, (left, upper + tile.height + 2)
        write(page, below, [fitting(word, tile.width)], ink, LETTERS)
    return page


def fitting(word: str, width: int) -> str:
    """A word as far as it fits below a tile of so many pixels, with dots where it is cut."""
    word = word.encode("utf-8", "replace").decode()  # a lone surrogate cannot be measured
    shown, wide = word, font(LETTERS).getlength
    while len(shown) > 1 and wide(shown if shown == word else f"{shown}...") > width:
        shown = shown[:-1]
    return shown if shown == word else f"{shown}..."
