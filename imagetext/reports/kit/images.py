"""Photos and text in the galleries of reports."""

import functools
import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

THUMBNAIL = 224
#: Space between the parts of a gallery, and its colours.
GAP = 10
PAPER, INK, FAINT = "#ffffff", "#1c2430", "#6b7686"


def thumbnail(path: str | Path, side: int = THUMBNAIL) -> Image.Image:
    """A photo cropped to a square; a grey tile with its name if it cannot be read."""
    try:
        with Image.open(path) as image:
            image.draft("RGB", (side, side))
            return ImageOps.fit(image.convert("RGB"), (side, side))
    except Exception:  # Pillow raises many kinds; a missing photo must not fail the report
        return placeholder(path, side)


def placeholder(path: str | Path, side: int = THUMBNAIL) -> Image.Image:
    """A grey tile with a file's name, for a photo that cannot be read."""
    tile = Image.new("RGB", (side, side), "#b4b9c1")
    name = "\n".join(textwrap.wrap(Path(path).name, 26)) or "no photo"
    draw = ImageDraw.Draw(tile)
    # Some builds of Pillow have a built-in font that lacks most letters.
    name = name.encode("ascii", "replace").decode()
    draw.multiline_text((side / 2, side / 2), name, fill="#3c424c", anchor="mm", align="center")
    return tile


def draw_text(
    page: Image.Image,
    corner: tuple[int, int],
    lines: Sequence[str],
    colour: str = INK,
    size: int = 13,
) -> None:
    """Draw lines of text, the first one with its upper left corner at `corner`."""
    draw = ImageDraw.Draw(page)
    for index, line in enumerate(lines):
        at = corner[0], corner[1] + index * (size + 6)
        # A lone surrogate, from a file name that is not UTF-8, cannot be drawn.
        draw.text(at, line.encode("utf-8", "replace").decode(), fill=colour, font=font(size))


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The font that comes with Matplotlib: always there, with far more letters than Pillow's."""
    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def jpeg(image: Image.Image) -> bytes:
    """A small JPEG, for pages."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()


def small_png(page: Image.Image) -> bytes:
    """A page of photos as a PNG with 256 dithered colours, a third of the full size."""
    palette, buffer = page.quantize(256), io.BytesIO()
    # Pillow confuses the colour of the paper with nearly equal ones; make them equal.
    colours, paper = np.array(palette.getpalette()).reshape(-1, 3), np.array(page.getpixel((0, 0)))
    colours[np.abs(colours - paper).max(axis=1) < 8] = paper
    palette.putpalette(colours.ravel().tolist())
    page.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(buffer, "PNG")
    return buffer.getvalue()
