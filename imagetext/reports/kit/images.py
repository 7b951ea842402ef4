"""Photos and text on the galleries of reports."""

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
    except Exception:  # Pillow raises many kinds; a missing photo must not cost the report
        return no_photo(path, side)


def no_photo(path: str | Path, side: int = THUMBNAIL) -> Image.Image:
    """A grey tile in the place of a photo that cannot be read."""
    tile = Image.new("RGB", (side, side), "#b4b9c1")
    name = "\n".join(textwrap.wrap(Path(path).name, 26)) or "no photo"
    draw = ImageDraw.Draw(tile)
    # The font built into Pillow cannot encode every letter on every build.
    name = name.encode("ascii", "replace").decode()
    draw.multiline_text((side / 2, side / 2), name, fill="#3c424c", anchor="mm", align="center")
    return tile


def write(
    page: Image.Image, place: tuple[int, int], lines: Sequence[str], ink: str = INK, size: int = 13
) -> None:
    """Lines of text from the upper left corner `place` on."""
    pen = ImageDraw.Draw(page)
    for number, line in enumerate(lines):
        at = place[0], place[1] + number * (size + 6)
        # A lone surrogate, of a photo's name that is no UTF-8, cannot be drawn.
        pen.text(at, line.encode("utf-8", "replace").decode(), fill=ink, font=font(size))


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Matplotlib's own: it lies beside the code, and knows far more letters than Pillow's."""
    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def jpeg(image: Image.Image) -> bytes:
    """A thumbnail as the small file that goes into the page."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()


def small_png(page: Image.Image) -> bytes:
    """A page of photos in 256 colours and their mixtures: a third of the size of all colours."""
    palette, buffer = page.quantize(256), io.BytesIO()
    # Beside the paper's own colour others nearly like it are left: between those Pillow mistakes.
    colours, paper = np.array(palette.getpalette()).reshape(-1, 3), np.array(page.getpixel((0, 0)))
    colours[np.abs(colours - paper).max(axis=1) < 8] = paper
    palette.putpalette(colours.ravel().tolist())
    page.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(buffer, "PNG")
    return buffer.getvalue()


def stacked(pieces: Sequence[Image.Image], width: int) -> bytes | None:
    """Pieces of one width below each other, as a small PNG; None if there are none."""
    if not pieces:
        return None
    page = Image.new("RGB", (width, sum(piece.height for piece in pieces)), PAPER)
    top = 0
    for piece in pieces:
        page.paste(piece, (0, top))
        top += piece.height
    return small_png(page)
