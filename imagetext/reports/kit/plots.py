"""The pictures that all reports share, as PNG bytes: training curves, and dots with intervals.

    Path("training.png").write_bytes(training_curves(history))

Every picture of one run comes light or `dark`. Figures are built as objects, without pyplot, so
that a report can be written from any thread and leaves no global state behind.
"""

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.lines import Line2D


@dataclass(frozen=True)
class Theme:
    """The colours of a picture."""

    paper: str
    ink: str
    faint: str
    grid: str
    accent: str
    warm: str
    others: tuple[str, ...]
    deep: str  # the full end of the confusion matrix


LIGHT = Theme(
    paper="#ffffff",
    ink="#1c2430",
    faint="#6b7686",
    grid="#e4e8ee",
    accent="#2f5fd0",
    warm="#d9622b",
    others=("#d9622b", "#8a63c9", "#2a9d8f", "#8b8f97"),
    deep="#2f5fd0",
)
DARK = Theme(
    paper="#171c25",
    ink="#e6eaf0",
    faint="#97a3b4",
    grid="#2b3340",
    accent="#7ea2ff",
    warm="#ff9a66",
    others=("#ff9a66", "#c3a3f5", "#5fd0c2", "#a7adb8"),
    deep="#3f6ae0",
)

#: What is drawn of a training's history, where it is there.
CURVES = {
    "loss": "Loss",
    "binary_accuracy": "Accuracy",
    "token_accuracy": "Token accuracy",
    "cider": "CIDEr-D / 100, greedy",
    "recall": "Mean of the six recalls",
}
#: Inches of one of them: on a page it is shown some 300 to 480 pixels wide.
CURVE = (3.9, 2.9)


def training_curves(history: Sequence[Mapping], *, dark: bool = False) -> bytes | None:
    """Loss and other figures by epoch, training and validation, in one picture; None if there is
    nothing to draw. A line parts epochs of another `stage`.

    training_curves([{"epoch": 1, "loss": 0.7, "val_loss": 0.68}])
    """
    theme, curves = DARK if dark else LIGHT, _curves(history)
    if not curves:
        return None
    across, (wide, high) = in_a_row(len(curves)), CURVE
    down = -(-len(curves) // across)
    figure = paper(theme, (wide * across, high * down))
    places = figure.subplots(down, across, squeeze=False).flat
    for axes, (key, title) in zip(places, curves.items(), strict=False):
        _draw_curve(axes, theme, history, key, title)
    for axes in places[len(curves) :]:
        axes.set_axis_off()
    return png(figure)


def each_training_curve(history: Sequence[Mapping], *, dark: bool = False) -> dict[str, bytes]:
    """The same as a picture each, by title, for pages that place them by their own width."""
    theme, pictures = DARK if dark else LIGHT, {}
    for key, title in _curves(history).items():
        figure = paper(theme, CURVE)
        _draw_curve(figure.add_subplot(), theme, history, key, title)
        pictures[title] = png(figure)
    return pictures


def in_a_row(curves: int) -> int:
    """How many of so many curves stand side by side, so that rows are even and none is tiny."""
    return curves if curves < 4 else 2 if curves == 4 else 3


def _curves(history: Sequence[Mapping]) -> dict[str, str]:
    """What there is to draw, and its title."""
    keys = {key for row in history for key in row}
    found = {key: title for key, title in CURVES.items() if {key, f"val_{key}"} & keys}
    if "binary_accuracy" not in found and {"accuracy", "val_accuracy"} & keys:
        found["accuracy"] = "Accuracy"
    return found | ({"learning_rate": "Learning rate"} if "learning_rate" in keys else {})


def _draw_curve(axes, theme: Theme, history: Sequence[Mapping], key: str, title: str) -> None:
    dress(axes, theme)
    epochs = [_number(row.get("epoch", index + 1)) for index, row in enumerate(history)]
    for name, colour, label in (
        (key, theme.accent, "training"),
        (f"val_{key}", theme.warm, "validation"),
    ):
        if any(name in row for row in history):
            values = [_number(row.get(name)) for row in history]
            marker = "o" if len(history) < 40 else ""
            axes.plot(epochs, values, marker, ls="-", color=colour, label=label, markersize=3.5)
    for before, row, epoch in zip(history, history[1:], epochs[1:], strict=False):
        if row.get("stage") != before.get("stage") and {key, f"val_{key}"} & row.keys():
            axes.axvline(epoch - 0.5, color=theme.faint, ls=":")
            place = {"transform": axes.get_xaxis_transform(), "color": theme.faint, "size": 9}
            turned = {"rotation": 90, "ha": "right", "va": "center"}
            axes.text(epoch - 0.5, 0.5, row["stage"], **place, **turned)
    if key == "learning_rate":
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        axes.yaxis.offsetText.set(color=theme.faint, size=9)
    else:
        legend(axes, theme, "best")
    axes.xaxis.get_major_locator().set_params(integer=True)
    if len(epochs) == 1:
        axes.set_xticks(epochs)
    axes.set_xlabel("epoch")
    axes.set_title(title)


@dataclass(frozen=True)
class Dots:
    """One score of a `dot_plot`, or the middle one of `each`, with its interval."""

    value: float | None
    low: float | None = None
    high: float | None = None
    each: tuple[float, ...] = ()


@dataclass(frozen=True)
class DotRow:
    """A name and its scores, one a panel; a line parts rows of one kind from those of another."""

    name: str
    dots: tuple[Dots, ...]
    kind: str = "model"  # or "baseline", "ensemble"


def dot_plot(rows: Sequence[DotRow], panels: Mapping[str, str]) -> bytes:
    """Scores side by side, a panel a metric; `panels` say how the numbers of each are written.

    dot_plot([DotRow("cnn", (Dots(0.83, 0.81, 0.85),))], {"ROC AUC": ".3f"})

    A line is an interval; where there are scores of several seeds, a broad band is their range.
    """
    theme, names, places = LIGHT, [row.name for row in rows], range(len(rows))
    colours = {"model": theme.accent, "baseline": theme.faint, "ensemble": theme.warm}
    wide = min(2.9 * len(panels) + 0.085 * max(map(len, names)) + 0.3, 18)
    figure = paper(theme, (wide, 0.52 * len(rows) + 1.25))
    columns = figure.subplots(1, len(panels), squeeze=False)[0]
    for number, (axes, (title, form)) in enumerate(zip(columns, panels.items(), strict=True)):
        dress(axes, theme)
        axes.grid(False, axis="y")
        axes.spines["left"].set_visible(False)
        for place, row in enumerate(rows):
            _draw_dots(axes, place, row.dots[number], colours[row.kind], theme, form)
            if place and row.kind != rows[place - 1].kind:
                axes.axhline(place - 0.5, color=theme.grid, linewidth=1.2)
        axes.set_ylim(len(rows) - 0.45, -0.65)
        axes.margins(x=0.14)
        axes.xaxis.get_major_locator().set_params(nbins=6, steps=[1, 2, 5, 10])
        axes.set_yticks(places, names if number == 0 else [""] * len(rows))
        for label in axes.get_yticklabels():
            label.set(color=theme.ink, size=10, parse_math=False)  # a folder's name may hold a $
        axes.set_title(title)
    _dots_legend(figure, [dots for row in rows for dots in row.dots], theme)
    return png(figure)


#: The range of some, each of them, the middle one; that which is alone; the interval of either.
_RANGE = {"linewidth": 8, "alpha": 0.25, "solid_capstyle": "round"}
_EACH = {"marker": "o", "markersize": 4, "alpha": 0.75, "markeredgewidth": 0}
_MIDDLE = {"marker": "|", "markersize": 13, "markeredgewidth": 2.2}
_ONE = {"marker": "o", "markersize": 7}
_INTERVAL = {"linewidth": 1.8, "alpha": 0.75}


def _draw_dots(axes, place: int, dots: Dots, colour: str, theme: Theme, form: str) -> None:
    if dots.value is None:
        middle = axes.get_yaxis_transform()
        axes.text(0.5, place, "n/a", transform=middle, color=theme.faint, size=9, ha="center")
        return
    if dots.each:
        axes.plot([min(dots.each), max(dots.each)], [place] * 2, color=colour, **_RANGE)
    if dots.low is not None and dots.low < dots.high:
        axes.plot([dots.low, dots.high], [place] * 2, color=colour, **_INTERVAL)
    level = [place] * len(dots.each)
    axes.plot(dots.each, level, color=colour, linestyle="", **_EACH)
    axes.plot(dots.value, place, color=colour, **(_MIDDLE if dots.each else _ONE))
    at, above, style = (dots.value, place), (0, 9), {"size": 8.5, "ha": "center"}
    axes.annotate(
        format(dots.value, form), at, above, textcoords="offset points", color=theme.ink, **style
    )


def _dots_legend(figure: Figure, drawn: Sequence[Dots], theme: Theme) -> None:
    """Only what is there is explained."""
    kinds = []
    if any(dots.each for dots in drawn):
        kinds = [("each seed", {"linestyle": ""} | _EACH), ("their range", _RANGE)]
        kinds += [("their median", {"linestyle": ""} | _MIDDLE)]
    if any(not dots.each for dots in drawn):
        kinds += [("one model", {"linestyle": ""} | _ONE)]
    if any(dots.low is not None for dots in drawn):
        kinds += [("95 % interval over photos", _INTERVAL)]
    handles = [Line2D([], [], color=theme.accent, label=label, **style) for label, style in kinds]
    words = {"ncols": len(handles), "frameon": False, "fontsize": 9, "labelcolor": theme.ink}
    figure.legend(handles=handles, loc="outside lower center", **words)


def _number(value) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")  # drawn as a gap


def single_axes(theme: Theme, inches: tuple[float, float]):
    figure = paper(theme, inches)
    axes = figure.add_subplot()
    dress(axes, theme)
    return figure, axes


def paper(theme: Theme, inches: tuple[float, float]) -> Figure:
    figure = Figure(figsize=inches, layout="constrained", facecolor=theme.paper)
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)
    return figure


def dress(axes, theme: Theme) -> None:
    axes.set_facecolor(theme.paper)
    axes.grid(True, color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_color(theme.grid)
        spine.set_visible(side in ("left", "bottom"))
    axes.tick_params(colors=theme.faint, labelsize=9, length=0)
    for text in (axes.xaxis.label, axes.yaxis.label):
        text.set(color=theme.faint, size=9.5)
    axes.title.set(color=theme.ink, size=11, weight="bold")


def legend(axes, theme: Theme, place: str) -> None:
    axes.legend(loc=place, frameon=False, fontsize=9, labelcolor=theme.ink, handlelength=1.4)


def png(figure: Figure, dots_per_inch: int = 144) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A caption may hold letters that the font lacks; they become boxes, not a failure.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        # Figure saves PNG through Agg whatever the display or backend is.
        figure.savefig(buffer, format="png", dpi=dots_per_inch, facecolor=figure.get_facecolor())
    return buffer.getvalue()
