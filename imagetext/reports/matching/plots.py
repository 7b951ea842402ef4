"""The pictures of a matching report as PNG bytes: confusion matrix, ROC, calibration.

Path("roc.png").write_bytes(roc({"model": (probability, is_match)}))
"""

from collections.abc import Mapping

import numpy as np

from imagetext.metrics import matching as metrics
from imagetext.reports.kit.plots import DARK, LIGHT, dress, legend, paper, png, single_axes

#: Scores of one model: P(match) [n] and truth [n].
Scores = tuple[np.ndarray, np.ndarray]


def confusion_matrix(probability: np.ndarray, is_match: np.ndarray, *, dark: bool = False) -> bytes:
    """Truth against prediction, in counts and in shares of each true class."""
    theme = DARK if dark else LIGHT
    counts = metrics.confusion(probability, is_match)
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    figure, axes = single_axes(theme, (4.6, 4.2))
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
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title("Confusion matrix")
    return png(figure)


def roc(scores: Mapping[str, Scores], *, dark: bool = False) -> bytes:
    """ROC curves, the first one the model, the others its controls; AUC in the legend.

    roc({"model": (p, y), "text-only": (p_text, y)})
    """
    theme = DARK if dark else LIGHT
    figure, axes = single_axes(theme, (4.6, 4.2))
    axes.plot([0, 1], [0, 1], color=theme.faint, linewidth=1, linestyle=(0, (2, 3)))
    for index, (name, (probability, is_match)) in enumerate(scores.items()):
        curve = metrics.roc_curve(probability, is_match)
        colour = theme.accent if index == 0 else theme.others[(index - 1) % len(theme.others)]
        if curve is None:
            axes.plot([], [], color=colour, label=f"{name}: n/a, one class only")
            continue
        area = np.trapezoid(curve[1], curve[0])
        width = 2.4 if index == 0 else 1.4
        axes.plot(*curve, color=colour, linewidth=width, label=f"{name}: AUC {area:.3f}")
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_xlabel("no-matches called match")
    axes.set_ylabel("matches called match")
    legend(axes, theme, "lower right")
    axes.set_title("ROC curve")
    return png(figure)


def calibration(probability: np.ndarray, is_match: np.ndarray, *, dark: bool = False) -> bytes:
    """How often the model is right where it says it is so sure, and how often it is how sure."""
    theme = DARK if dark else LIGHT
    figure = paper(theme, (4.6, 4.2))
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    for each in (axes, below):
        dress(each, theme)
    bins = metrics.calibration_bins(probability, is_match)
    axes.plot([0.5, 1], [0.5, 1], color=theme.faint, linewidth=1, linestyle=(0, (2, 3)))
    if bins:
        confidence, accuracy, rows = (np.array(column) for column in zip(*bins, strict=True))
        axes.vlines(confidence, confidence, accuracy, color=theme.warm, linewidth=2, alpha=0.7)
        axes.plot(confidence, accuracy, "o-", color=theme.accent, linewidth=2, markersize=5)
        below.bar(confidence, rows, width=0.04, color=theme.accent, alpha=0.75)
        axes.set_ylim(min(0.45, accuracy.min() - 0.05), 1.02)
    axes.set_xlim(0.48, 1.02)
    axes.set_ylabel("share right")
    below.set_ylabel("rows")
    below.set_xlabel("confidence in the predicted class")
    axes.set_title("Calibration")
    return png(figure)


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
