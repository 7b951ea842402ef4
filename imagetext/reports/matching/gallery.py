"""What the model got right and wrong, shown: photo, caption, truth and P(match).

for section in choose(probability, is_match, images, captions): ...
Path("gallery.png").write_bytes(gallery(choose(...)))
"""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from imagetext.reports.kit.images import small_png, thumbnail
from imagetext.reports.kit.plots import DARK, LIGHT, Theme, png


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


def _draw(axes, example: Example, theme: Theme) -> None:
    axes.imshow(np.asarray(thumbnail(example.image)))
    colour = theme.accent if example.is_right else theme.warm
    verdict = f"P(match) {example.probability:.3f}  truth: {example.truth}"
    caption = "\n".join(textwrap.wrap(example.caption, 32, max_lines=3, placeholder=" ..."))
    below = {"transform": axes.transAxes, "va": "top", "parse_math": False}  # "$5" is text
    axes.text(0, -0.03, verdict, color=colour, size=7.2, weight="bold", **below)
    axes.text(0, -0.13, caption, color=theme.ink, size=7.2, **below)
