"""The most confident predictions of a matching model: photo, caption, label and P(match).

sections = choose_examples(probability, is_match, images, captions)
Path("gallery.png").write_bytes(draw_gallery(sections))
"""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from imagetext.pipelines.records import MATCH, NO_MATCH
from imagetext.reports.kit.gallery import Section
from imagetext.reports.kit.images import small_png, thumbnail
from imagetext.reports.kit.plots import DARK, LIGHT, Theme, to_png


@dataclass(frozen=True)
class MatchExample:
    """A pair in the gallery."""

    image: str
    caption: str
    is_match: bool
    probability: float

    @property
    def label(self) -> str:
        return MATCH if self.is_match else NO_MATCH

    @property
    def is_correct(self) -> bool:
        return self.is_match == (self.probability >= 0.5)


def choose_examples(
    probability: np.ndarray,
    is_match: np.ndarray,
    images: Sequence[str],
    captions: Sequence[str],
    *,
    each: int = 6,
) -> list[Section[MatchExample]]:
    """The most confident wrong and correct predictions of each label.

        choose_examples([0.99], [False], ["dog.jpg"], ["A cat"])[0].title

    A photo occurs at most once in a section.
    """
    probability = np.asarray(probability, float)
    is_match = np.asarray(is_match, bool)
    predicted = probability >= 0.5
    kinds = (
        ("Wrong: predicted match", predicted & ~is_match),
        ("Wrong: predicted no-match", ~predicted & is_match),
        ("Correct: match", predicted & is_match),
        ("Correct: no-match", ~predicted & ~is_match),
    )
    sections = []
    for title, of_kind in kinds:
        rows = np.flatnonzero(of_kind)
        rows = rows[np.argsort(-np.abs(probability[rows] - 0.5), kind="stable")]
        by_photo: dict[str, int] = {}
        for row in rows.tolist():
            if len(by_photo) < each:
                by_photo.setdefault(images[row], row)
        examples = tuple(
            MatchExample(image, captions[row], bool(is_match[row]), float(probability[row]))
            for image, row in by_photo.items()
        )
        sections.append(Section(title, examples, len(rows)))
    return sections


def draw_gallery(sections: Sequence[Section[MatchExample]], *, dark: bool = False) -> bytes | None:
    """Draw all sections as one PNG; None if there are no examples."""
    theme = DARK if dark else LIGHT
    filled = [section for section in sections if section.examples]
    if not filled:
        return None
    # Explicit positions, in inches from the top left, keep the grid even with captions of any
    # length.
    columns = max(max(len(section.examples) for section in filled), 3)
    tile, gap, heading, text = 1.9, 0.16, 0.42, 0.82
    width = gap + columns * (tile + gap)
    height = len(filled) * (heading + tile + text)
    figure = Figure(figsize=(width, height), facecolor=theme.paper)
    for row, section in enumerate(filled):
        top = row * (heading + tile + text)
        title = f"{section.title}  ({len(section.examples)} of {section.total:,})"
        x, y = gap / width, 1 - (top + heading / 2) / height
        figure.text(x, y, title, color=theme.ink, size=11, weight="bold", va="center")
        for column, example in enumerate(section.examples):
            left, bottom = gap + column * (tile + gap), height - top - heading - tile
            box = (left / width, bottom / height, tile / width, tile / height)
            axes = figure.add_axes(box)
            axes.set_axis_off()
            _draw_example(axes, example, theme)
    return small_png(Image.open(io.BytesIO(to_png(figure, dots_per_inch=100))).convert("RGB"))


def _draw_example(axes: Any, example: MatchExample, theme: Theme) -> None:
    axes.imshow(np.asarray(thumbnail(example.image)))
    colour = theme.accent if example.is_correct else theme.warm
    scores = f"P(match) {example.probability:.3f}  label: {example.label}"
    caption = "\n".join(textwrap.wrap(example.caption, 32, max_lines=3, placeholder=" ..."))
    below = {"transform": axes.transAxes, "va": "top", "parse_math": False}  # "$5" is text
    axes.text(0, -0.03, scores, color=colour, size=7.2, weight="bold", **below)
    axes.text(0, -0.13, caption, color=theme.ink, size=7.2, **below)
