"""The plots of a matching report as PNG bytes: confusion matrix, ROC curve, calibration.

Path("roc.png").write_bytes(roc({"model": (probability, is_match)}))
"""

from collections.abc import Mapping

import numpy as np

from imagetext.metrics import matching as metrics
from imagetext.reports.kit.plots import (
    DARK,
    LIGHT,
    add_legend,
    new_axes,
    new_figure,
    style_axes,
    to_png,
)

#: Predictions of one model: P(match) [n] and labels [n].
Predictions = tuple[np.ndarray, np.ndarray]


def confusion_matrix(probability: np.ndarray, is_match: np.ndarray, *, dark: bool = False) -> bytes:
    """True against predicted labels, as counts and as shares of each true label."""
    theme = DARK if dark else LIGHT
    counts = metrics.confusion(probability, is_match)
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    figure, axes = new_axes(theme, (4.6, 4.2))
    axes.grid(False)
    paper, deep = _rgb(theme.paper), _rgb(theme.deep)
    shades = paper + (0.06 + 0.94 * shares[..., None]) * (deep - paper)
    axes.imshow(shades, aspect="auto")
    for (row, column), count in np.ndenumerate(counts):
        colour = "#ffffff" if shares[row, column] > 0.45 else theme.ink
        axes.text(
            column, row - 0.06, f"{count:,}", color=colour, size=18, ha="center", weight="bold"
        )
        axes.text(
            column, row + 0.16, f"{shares[row, column]:.1%}", color=colour, size=10, ha="center"
        )
    axes.set_xticks([0, 1], ["match", "no-match"])
    axes.set_yticks([0, 1], ["match", "no-match"], rotation=90, va="center")
    axes.set_xlabel("predicted label")
    axes.set_ylabel("true label")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title("Confusion matrix")
    return to_png(figure)


def roc(predictions: Mapping[str, Predictions], *, dark: bool = False) -> bytes:
    """ROC curves of the model, which comes first, and of its controls, with AUC in the legend.

    roc({"model": (p, y), "text-only": (p_text, y)})
    """
    theme = DARK if dark else LIGHT
    figure, axes = new_axes(theme, (4.6, 4.2))
    axes.plot([0, 1], [0, 1], color=theme.faint, linewidth=1, linestyle=(0, (2, 3)))
    for index, (name, (probability, is_match)) in enumerate(predictions.items()):
        curve = metrics.roc_curve(probability, is_match)
        colour = theme.line_colour(index)
        if curve is None:
            axes.plot([], [], color=colour, label=f"{name}: n/a, only one label")
            continue
        area = np.trapezoid(curve[1], curve[0])
        width = 2.4 if index == 0 else 1.4
        axes.plot(*curve, color=colour, linewidth=width, label=f"{name}: AUC {area:.3f}")
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_xlabel("false positive rate")
    axes.set_ylabel("true positive rate")
    add_legend(axes, theme, "lower right")
    axes.set_title("ROC curve")
    return to_png(figure)


def calibration(probability: np.ndarray, is_match: np.ndarray, *, dark: bool = False) -> bytes:
    """Accuracy by confidence, and how many pairs have which confidence."""
    theme = DARK if dark else LIGHT
    figure = new_figure(theme, (4.6, 4.2))
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    for each in (axes, below):
        style_axes(each, theme)
    bins = metrics.calibration_bins(probability, is_match)
    axes.plot([0.5, 1], [0.5, 1], color=theme.faint, linewidth=1, linestyle=(0, (2, 3)))
    if bins:
        confidence, accuracy, rows = (np.array(column) for column in zip(*bins, strict=True))
        axes.vlines(confidence, confidence, accuracy, color=theme.warm, linewidth=2, alpha=0.7)
        axes.plot(confidence, accuracy, "o-", color=theme.accent, linewidth=2, markersize=5)
        below.bar(confidence, rows, width=0.04, color=theme.accent, alpha=0.75)
        axes.set_ylim(min(0.45, accuracy.min() - 0.05), 1.02)
    axes.set_xlim(0.48, 1.02)
    axes.set_ylabel("accuracy")
    below.set_ylabel("pairs")
    below.set_xlabel("confidence in the predicted label")
    axes.set_title("Calibration")
    return to_png(figure)


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
