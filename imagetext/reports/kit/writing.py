"""The pictures and pages of a report, the same for every task.

html_path = write_pages(folder, values, history, sections, draw_plots, draw_gallery, markdown, html)
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from imagetext.files import write_text
from imagetext.reports.kit.gallery import Section
from imagetext.reports.kit.plots import training_curves
from imagetext.reports.kit.report import write_pictures

Pictures = Mapping[str, bytes | None]


class DrawPlots(Protocol):
    """Draws the plots of a report, by name, for a light or a dark page."""

    def __call__(self, *, dark: bool) -> Pictures: ...


def write_pages(
    folder: Path,
    values: Mapping[str, Any],
    *,
    history: Sequence[Mapping[str, Any]],
    sections: Sequence[Section],
    draw_plots: DrawPlots,
    draw_gallery: Callable[[Sequence[Section]], bytes | None],
    markdown: Callable[[Mapping[str, Any], list[str]], str],
    html: Callable[[Mapping[str, Any], Pictures, Pictures, Sequence[Section]], str],
) -> Path:
    """Write plots/*.png, report.md and report.html.

    Args:
        folder: The folder of the report.
        values: All numbers and sentences of the report.
        history: Rows of history.csv.
        sections: The gallery.
        draw_plots: Draws the plots of the task.
        draw_gallery: Draws the gallery as one picture.
        markdown: The text of report.md, from the values and the names of the pictures.
        html: The text of report.html, from the values, the plots for light and dark pages, and the
            gallery.

    Returns:
        The path of report.html.
    """
    light, dark = draw_plots(dark=False), draw_plots(dark=True)
    others = {"training": training_curves(history), "gallery": draw_gallery(sections)}
    pictures = write_pictures(folder, {**light, **others})
    html_path = folder / "report.html"
    write_text(folder / "report.md", markdown(values, pictures))
    write_text(html_path, html(values, light, dark, sections))
    return html_path
