"""Plots as PNG bytes: their common look, and training curves.

    Path("training.png").write_bytes(training_curves(history))

Every plot is drawn in a light and a `dark` theme. Figures are built as objects, without pyplot, so
that a report can be written from any thread and leaves no global state behind.
"""

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine


@dataclass(frozen=True)
class Theme:
    """The colours of a plot.

    Args:
        paper: Background.
        ink: Titles and labels.
        faint: Ticks and axis labels.
        grid: Grid lines.
        accent: The model.
        warm: What stands beside it, such as validation.
        others: Further lines, in this order.
        deep: The full end of the confusion matrix.
    """

    paper: str
    ink: str
    faint: str
    grid: str
    accent: str
    warm: str
    others: tuple[str, ...]
    deep: str

    def line_colour(self, index: int) -> str:
        """The colour of a line; the first one is the model's."""
        return self.accent if index == 0 else self.others[(index - 1) % len(self.others)]


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

#: The columns of history.csv that are drawn, with their titles.
CURVES = {
    "loss": "Loss",
    "binary_accuracy": "Accuracy",
    "token_accuracy": "Token accuracy",
    "cider": "CIDEr-D / 100, greedy",
    "recall": "Mean recall",
}
#: Size of one training curve in inches; a page shows it 300 to 480 pixels wide.
CURVE = (3.9, 2.9)


def training_curves(history: Sequence[Mapping[str, Any]], *, dark: bool = False) -> bytes | None:
    """Loss and metrics by epoch, for training and validation, in one picture.

        training_curves([{"epoch": 1, "loss": 0.7, "val_loss": 0.68}])

    A dotted line separates epochs of different `stage`. None if there is nothing to draw.
    """
    theme, titles = DARK if dark else LIGHT, _curve_titles(history)
    if not titles:
        return None
    columns, (width, height) = curve_columns(len(titles)), CURVE
    rows = -(-len(titles) // columns)
    figure = new_figure(theme, (width * columns, height * rows))
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes, (key, title) in zip(panels, titles.items(), strict=False):
        _draw_curve(axes, theme, history, key, title)
    for axes in panels[len(titles) :]:
        axes.set_axis_off()
    return to_png(figure)


def each_training_curve(
    history: Sequence[Mapping[str, Any]], *, dark: bool = False
) -> dict[str, bytes]:
    """The same curves as separate pictures by title, for pages that arrange them."""
    theme, pictures = DARK if dark else LIGHT, {}
    for key, title in _curve_titles(history).items():
        figure = new_figure(theme, CURVE)
        _draw_curve(figure.add_subplot(), theme, history, key, title)
        pictures[title] = to_png(figure)
    return pictures


def curve_columns(curves: int) -> int:
    """How many curves to put side by side, so that rows are even and none is tiny."""
    return curves if curves < 4 else 2 if curves == 4 else 3


def _curve_titles(history: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The columns that can be drawn, with their titles."""
    keys = {key for row in history for key in row}
    titles = {key: title for key, title in CURVES.items() if {key, f"val_{key}"} & keys}
    if "binary_accuracy" not in titles and {"accuracy", "val_accuracy"} & keys:
        titles["accuracy"] = "Accuracy"
    return titles | ({"learning_rate": "Learning rate"} if "learning_rate" in keys else {})


def _draw_curve(axes, theme: Theme, history: Sequence[Mapping], key: str, title: str) -> None:
    style_axes(axes, theme)
    epochs = [_to_float(row.get("epoch", index + 1)) for index, row in enumerate(history)]
    for name, colour, label in (
        (key, theme.accent, "training"),
        (f"val_{key}", theme.warm, "validation"),
    ):
        if any(name in row for row in history):
            values = [_to_float(row.get(name)) for row in history]
            marker = "o" if len(history) < 40 else ""
            axes.plot(epochs, values, marker, ls="-", color=colour, label=label, markersize=3.5)
    for before, row, epoch in zip(history, history[1:], epochs[1:], strict=False):
        if row.get("stage") != before.get("stage") and {key, f"val_{key}"} & row.keys():
            axes.axvline(epoch - 0.5, color=theme.faint, ls=":")
            place = {"transform": axes.get_xaxis_transform(), "color": theme.faint, "size": 9}
            vertical = {"rotation": 90, "ha": "right", "va": "center"}
            axes.text(epoch - 0.5, 0.5, row["stage"], **place, **vertical)
    if key == "learning_rate":
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        axes.yaxis.offsetText.set(color=theme.faint, size=9)
    else:
        add_legend(axes, theme, "best")
    axes.xaxis.get_major_locator().set_params(integer=True)
    if len(epochs) == 1:
        axes.set_xticks(epochs)
    axes.set_xlabel("epoch")
    axes.set_title(title)


def _to_float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")  # drawn as a gap


def new_figure(theme: Theme, inches: tuple[float, float]) -> Figure:
    """An empty figure on the theme's paper."""
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    return Figure(figsize=inches, layout=layout, facecolor=theme.paper)


def new_axes(theme: Theme, inches: tuple[float, float]) -> tuple[Figure, Any]:
    """A figure with a single plot."""
    figure = new_figure(theme, inches)
    axes = figure.add_subplot()
    style_axes(axes, theme)
    return figure, axes


def style_axes(axes: Any, theme: Theme) -> None:
    """Give a plot the look of the theme."""
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


def add_legend(axes: Any, theme: Theme, place: str) -> None:
    """Add a legend without a frame."""
    axes.legend(loc=place, frameon=False, fontsize=9, labelcolor=theme.ink, handlelength=1.4)


def to_png(figure: Figure, dots_per_inch: int = 144) -> bytes:
    """Render a figure."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A caption may contain letters that the font lacks; they become boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        # Figure renders PNG with Agg, whatever the display or backend is.
        figure.savefig(buffer, format="png", dpi=dots_per_inch, facecolor=figure.get_facecolor())
    return buffer.getvalue()
