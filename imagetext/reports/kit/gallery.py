"""Galleries: examples of what a model got right and wrong, in sections."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from PIL import Image

from imagetext.reports.kit.images import GAP, PAPER, draw_text, small_png

ExampleT = TypeVar("ExampleT")


@dataclass(frozen=True)
class Section(Generic[ExampleT]):
    """Examples under one heading.

    Args:
        title: The heading.
        examples: The examples that are shown.
        total: How many there are of this kind, if that is shown.
    """

    title: str
    examples: tuple[ExampleT, ...]
    total: int | None = None


def draw_sections(
    sections: Sequence[Section[ExampleT]],
    draw: Callable[[ExampleT], Image.Image],
    width: int,
    heading_size: int,
) -> bytes | None:
    """Draw all sections below each other.

    Args:
        sections: Sections; empty ones are skipped.
        draw: Draws one example as a picture of the full width.
        width: Width of the picture in pixels.
        heading_size: Size of the headings in pixels.

    Returns:
        A PNG, or None if there are no examples.
    """
    pieces = []
    for section in sections:
        if section.examples:
            heading = Image.new("RGB", (width, 2 * heading_size + 8), PAPER)
            draw_text(heading, (GAP, 2 * heading_size // 3), [section.title], size=heading_size)
            pieces += [heading, *map(draw, section.examples)]
    if not pieces:
        return None
    page = Image.new("RGB", (width, sum(piece.height for piece in pieces)), PAPER)
    top = 0
    for piece in pieces:
        page.paste(piece, (0, top))
        top += piece.height
    return small_png(page)
