"""The plots of a captioning report as PNG bytes, light or `dark`.

Path("cider.png").write_bytes(cider_histogram(cider))
"""

from collections.abc import Mapping, Sequence

import numpy as np

from imagetext.reports.kit.plots import DARK, LIGHT, add_legend, new_axes, to_png


def cider_histogram(cider: np.ndarray, *, dark: bool = False) -> bytes | None:
    """How many photos have which CIDEr-D, from scores [n]; the dashed line is the mean."""
    if not len(cider):
        return None
    theme = DARK if dark else LIGHT
    figure, axes = new_axes(theme, (4.6, 3.4))
    points = 100 * np.asarray(cider)
    edges = np.linspace(0, max(points.max(), 1), 31)
    axes.hist(points, edges, color=theme.accent, alpha=0.85)
    mean = points.mean()
    axes.axvline(mean, color=theme.warm, linestyle=(0, (3, 2)), label=f"mean {mean:.1f}")
    add_legend(axes, theme, "upper right")
    axes.set_xlabel("CIDEr-D of the caption")
    axes.set_ylabel("photos")
    axes.set_title("CIDEr-D by photo")
    return to_png(figure)


def length_histogram(lengths: Mapping[str, Sequence[int]], *, dark: bool = False) -> bytes | None:
    """Shares of captions by their number of words.

    length_histogram({"model": [9, 8], "references": [11]})
    """
    if not any(map(len, lengths.values())):
        return None
    theme = DARK if dark else LIGHT
    figure, axes = new_axes(theme, (4.6, 3.4))
    longest = max(max(each, default=0) for each in lengths.values())
    bins = np.arange(min(longest, 30) + 1)
    width = 0.8 / len(lengths)
    for index, (name, each) in enumerate(lengths.items()):
        counts = np.bincount(np.minimum(each, bins[-1]), minlength=len(bins))
        colour = theme.accent if index == 0 else theme.faint
        shares, offset = 100 * counts / max(len(each), 1), (index - (len(lengths) - 1) / 2) * width
        axes.bar(bins + offset, shares, width, color=colour, label=name)
    axes.xaxis.get_major_locator().set_params(integer=True)
    add_legend(axes, theme, "upper right")
    axes.set_xlabel("words" if longest <= 30 else "words (last bar: 30 or more)")
    axes.set_ylabel("% of captions")
    axes.set_title("Caption length")
    return to_png(figure)
