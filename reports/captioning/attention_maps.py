"""Where a captioning model looked at each word, drawn over the photo.

looked = Looked(("a", "dog"), maps)                # maps [2, 9, 9]: how much of each cell
sheet("dog.jpg", looked, title="a dog").save("dog-maps.png")
"""

import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from reports.gallery import FAINT, GAP, INK, PAPER, no_photo, write

#: What is looked at glows in this colour; the rest is dim and grey.
WARM = np.array([255, 150, 40], np.float32)
GREY = np.array([0.299, 0.587, 0.114], np.float32)
TILE, LINE = 168, 20


@dataclass(frozen=True)
class Looked:
    """The words of a caption, and for each the weights of the cells: float [t, h, w]."""

    words: tuple[str, ...]
    maps: np.ndarray

    def __post_init__(self) -> None:
        if len(self.words) != len(self.maps):
            raise ValueError(f"{len(self.words)} words, but {len(self.maps)} maps")


def tiles(photo: Image.Image, looked: Looked) -> list[Image.Image]:
    """The photo once a word, lit where the model looked."""
    return [lit(photo, weights) for weights in looked.maps]


def lit(photo: Image.Image, weights: np.ndarray) -> Image.Image:
    """A photo, lit in proportion to the weights [h, w] of its cells; the largest is full light."""
    cells = Image.fromarray(np.asarray(weights / max(weights.max(), 1e-9), np.float32))
    heat = np.asarray(cells.resize(photo.size, Image.Resampling.BICUBIC)).clip(0, 1)[..., None]
    pixels = np.asarray(photo, np.float32)
    dim = (pixels @ GREY)[..., None] * 0.4
    bright = 0.75 * pixels + 0.25 * WARM
    return Image.fromarray((dim + heat * (bright - dim)).round().astype(np.uint8))


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
    """One picture: the photo, and for each word the photo lit where the model looked."""
    photo = fitted(path)
    shown = [(photo, Path(path).name)]
    shown += zip(tiles(photo, looked), looked.words, strict=True)
    columns = min(columns, len(shown))
    rows = -(-len(shown) // columns)
    wide, high = photo.width + GAP, photo.height + LINE + GAP
    lines = textwrap.wrap(title, max(12, columns * wide // 9))
    top = GAP + (LINE + 2) * len(lines)
    page = Image.new("RGB", (GAP + columns * wide, top + rows * high), PAPER)
    write(page, (GAP, GAP // 2), lines, size=15)
    for place, (tile, word) in enumerate(shown):
        left, upper = GAP + place % columns * wide, top + place // columns * high
        page.paste(tile, (left, upper))
        ink, letters = INK if place else FAINT, photo.width // 8
        name = word if len(word) <= letters else f"{word[: letters - 3]}..."
        write(page, (left, upper + tile.height + 2), [name], ink)
    return page
