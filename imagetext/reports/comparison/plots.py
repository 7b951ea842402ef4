"""Scores of several models as dots with intervals.

dot_plot([DotRow("cnn", (Dots(0.83, 0.81, 0.85),))], {"ROC AUC": ".3f"})
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from imagetext.reports.kit.plots import LIGHT, Theme, new_figure, style_axes, to_png

#: Styles: the range over seeds, each seed, their median, a single model, and an interval.
_RANGE = {"linewidth": 8, "alpha": 0.25, "solid_capstyle": "round"}
_SEED = {"marker": "o", "markersize": 4, "alpha": 0.75, "markeredgewidth": 0}
_MEDIAN = {"marker": "|", "markersize": 13, "markeredgewidth": 2.2}
_SINGLE = {"marker": "o", "markersize": 7}
_INTERVAL = {"linewidth": 1.8, "alpha": 0.75}


@dataclass(frozen=True)
class Dots:
    """The score of one row in one panel.

    Args:
        value: The score, or the median over seeds; None if it is undefined.
        low: Lower end of the interval, if there is one.
        high: Upper end of the interval.
        each: The scores of all seeds.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    each: tuple[float, ...] = ()


@dataclass(frozen=True)
class DotRow:
    """A row of a dot plot.

    Args:
        name: The label.
        dots: A score for each panel.
        kind: "model", "baseline" or "ensemble"; lines separate different kinds.
    """

    name: str
    dots: tuple[Dots, ...]
    kind: str = "model"


def dot_plot(rows: Sequence[DotRow], panels: Mapping[str, str]) -> bytes:
    """Draw scores side by side, with a panel for each metric.

    Args:
        rows: The rows, from top to bottom.
        panels: The format of the numbers in each panel, by title.

    Returns:
        A PNG.
    """
    theme, names, heights = LIGHT, [row.name for row in rows], range(len(rows))
    colours = {"model": theme.accent, "baseline": theme.faint, "ensemble": theme.warm}
    width = min(2.9 * len(panels) + 0.085 * max(map(len, names)) + 0.3, 18)
    figure = new_figure(theme, (width, 0.52 * len(rows) + 1.25))
    columns = figure.subplots(1, len(panels), squeeze=False)[0]
    for index, (axes, (title, number_format)) in enumerate(
        zip(columns, panels.items(), strict=True)
    ):
        style_axes(axes, theme)
        axes.grid(False, axis="y")
        axes.spines["left"].set_visible(False)
        for height, row in enumerate(rows):
            _draw_dots(axes, height, row.dots[index], colours[row.kind], theme, number_format)
            if height and row.kind != rows[height - 1].kind:
                axes.axhline(height - 0.5, color=theme.grid, linewidth=1.2)
        axes.set_ylim(len(rows) - 0.45, -0.65)
        axes.margins(x=0.14)
        axes.xaxis.get_major_locator().set_params(nbins=6, steps=[1, 2, 5, 10])
        axes.set_yticks(heights, names if index == 0 else [""] * len(rows))
        for label in axes.get_yticklabels():
            label.set(color=theme.ink, size=10, parse_math=False)  # a folder's name may contain $
        axes.set_title(title)
    _add_legend(figure, [dots for row in rows for dots in row.dots], theme)
    return to_png(figure)


def _draw_dots(
    axes: Any, height: int, dots: Dots, colour: str, theme: Theme, number_format: str
) -> None:
    if dots.value is None:
        middle = axes.get_yaxis_transform()
        axes.text(0.5, height, "n/a", transform=middle, color=theme.faint, size=9, ha="center")
        return
    if dots.each:
        axes.plot([min(dots.each), max(dots.each)], [height] * 2, color=colour, **_RANGE)
    if dots.low is not None and dots.high is not None and dots.low < dots.high:
        axes.plot([dots.low, dots.high], [height] * 2, color=colour, **_INTERVAL)
    axes.plot(dots.each, [height] * len(dots.each), color=colour, linestyle="", **_SEED)
    axes.plot(dots.value, height, color=colour, **(_MEDIAN if dots.each else _SINGLE))
    axes.annotate(
        format(dots.value, number_format),
        (dots.value, height),
        (0, 9),
        textcoords="offset points",
        color=theme.ink,
        size=8.5,
        ha="center",
    )


def _add_legend(figure: Figure, drawn: Sequence[Dots], theme: Theme) -> None:
    """Explain the parts that occur."""
    kinds: list[tuple[str, dict[str, Any]]] = []
    if any(dots.each for dots in drawn):
        kinds += [("each seed", {"linestyle": ""} | _SEED), ("range over seeds", _RANGE)]
        kinds += [("median", {"linestyle": ""} | _MEDIAN)]
    if any(not dots.each for dots in drawn):
        kinds += [("single model", {"linestyle": ""} | _SINGLE)]
    if any(dots.low is not None for dots in drawn):
        kinds += [("95 % interval over photos", _INTERVAL)]
    handles = [Line2D([], [], color=theme.accent, label=label, **style) for label, style in kinds]
    style = {"ncols": len(handles), "frameon": False, "fontsize": 9, "labelcolor": theme.ink}
    figure.legend(handles=handles, loc="outside lower center", **style)
