"""What the model got right and wrong, shown: photo, caption, truth and P(match).

for section in choose(probability, is_match, images, captions): ...
Path("gallery.png").write_bytes(gallery(choose(...)))
"""

import functools
import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont, ImageOps

from imagetext.reports.plots import DARK, LIGHT, Theme, png

THUMBNAIL = 224
#: Of the sheets that are drawn photo by photo: space between the parts, and colours.
GAP = 10
PAPER, INK, FAINT = "#ffffff", "#1c2430", "#6b7686"


@dataclass(frozen=True)
class Example:
    """One row shown in the gallery."""

    image: str
    caption: str
    is_match: bool
    probability: float

    @property
    def truth(self) -> str:
        return "match" if self.is_match else "no-match"

    @property
    def is_right(self) -> bool:
        return self.is_match == (self.probability >= 0.5)


@dataclass(frozen=True)
class Section:
    """A row of examples under one heading; `total` rows are of its kind."""

    title: str
    examples: tuple[Example, ...]
    total: int


def choose(
    probability: np.ndarray,
    is_match: np.ndarray,
    images: Sequence[str],
    captions: Sequence[str],
    *,
    each: int = 6,
) -> list[Section]:
    """The most confident wrong and right answers of each class, every photo once a section.

    choose([0.99], [False], ["dog.jpg"], ["A cat"])[0].title == "Wrong: called match"
    """
    probability = np.asarray(probability, float)
    is_match = np.asarray(is_match, bool)
    called_match = probability >= 0.5
    kinds = (
        ("Wrong: called match", called_match & ~is_match),
        ("Wrong: called no-match", ~called_match & is_match),
        ("Right: match", called_match & is_match),
        ("Right: no-match", ~called_match & ~is_match),
    )
    sections = []
    for title, of_kind in kinds:
        rows = np.flatnonzero(of_kind)
        rows = rows[np.argsort(-np.abs(probability[rows] - 0.5), kind="stable")]
        by_photo: dict[str, int] = {}
        for row in rows:
            if len(by_photo) < each:
                by_photo.setdefault(images[row], int(row))
        examples = tuple(
            Example(image, captions[row], bool(is_match[row]), float(probability[row]))
            for image, row in by_photo.items()
        )
        sections.append(Section(title, examples, len(rows)))
    return sections


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


def gallery(sections: Sequence[Section], *, dark: bool = False) -> bytes | None:
    """All sections as one picture; None if there is nothing to show."""
    theme = DARK if dark else LIGHT
    shown = [section for section in sections if section.examples]
    if not shown:
        return None
    # Laid out by hand, in inches from the top left: captions of any length keep the grid even.
    columns = max(max(len(section.examples) for section in shown), 3)
    tile, gap, heading, text = 1.9, 0.16, 0.42, 0.82
    width = gap + columns * (tile + gap)
    height = len(shown) * (heading + tile + text)
    figure = Figure(figsize=(width, height), facecolor=theme.paper)
    for row, section in enumerate(shown):
        top = row * (heading + tile + text)
        title = f"{section.title}  ({len(section.examples)} of {section.total:,})"
        place = {"x": gap / width, "y": 1 - (top + heading / 2) / height}
        figure.text(**place, s=title, color=theme.ink, size=11, weight="bold", va="center")
        for column, example in enumerate(section.examples):
            left, bottom = gap + column * (tile + gap), height - top - heading - tile
            box = (left / width, bottom / height, tile / width, tile / height)
            axes = figure.add_axes(box)
            axes.set_axis_off()
            _draw(axes, example, theme)
    return small_png(Image.open(io.BytesIO(png(figure, dots_per_inch=100))).convert("RGB"))


def small_png(page: Image.Image) -> bytes:
    """A page of photos in 256 colours and their mixtures: a third of the size of all colours."""
    palette, buffer = page.quantize(256), io.BytesIO()
    # Beside the paper's own colour others nearly like it are left: between those Pillow mistakes.
    colours, paper = np.array(palette.getpalette()).reshape(-1, 3), np.array(page.getpixel((0, 0)))
    colours[np.abs(colours - paper).max(axis=1) < 8] = paper
    palette.putpalette(colours.ravel().tolist())
    page.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(buffer, "PNG")
    return buffer.getvalue()


def _draw(axes, example: Example, theme: Theme) -> None:
    axes.imshow(np.asarray(thumbnail(example.image)))
    colour = theme.accent if example.is_right else theme.warm
    verdict = f"P(match) {example.probability:.3f}  truth: {example.truth}"
    caption = "\n".join(textwrap.wrap(example.caption, 32, max_lines=3, placeholder=" ..."))
    below = {"transform": axes.transAxes, "va": "top", "parse_math": False}  # "$5" is text
    axes.text(0, -0.03, verdict, color=colour, size=7.2, weight="bold", **below)
    axes.text(0, -0.13, caption, color=theme.ink, size=7.2, **below)
