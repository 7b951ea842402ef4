"""The pictures of a captioning report as PNG bytes, light or `dark`.

Path("cider.png").write_bytes(cider_histogram(cider))
"""

from collections.abc import Mapping, Sequence

import numpy as np

from imagetext.reports.kit.plots import DARK, LIGHT, dress, legend, paper, png


def cider_histogram(cider: np.ndarray, *, dark: bool = False) -> bytes | None:
    """How many photos have which CIDEr-D, [n]; the dashed line is the mean."""
    if not len(cider):
        return None
    theme = DARK if dark else LIGHT
    figure = paper(theme, (4.6, 3.4))
    axes = figure.add_subplot()
    dress(axes, theme)
    points = 100 * np.asarray(cider)
    ends = np.linspace(0, max(points.max(), 1), 31)
    axes.hist(points, ends, color=theme.accent, alpha=0.85)
    mean = points.mean()
    axes.axvline(mean, color=theme.warm, linestyle=(0, (3, 2)), label=f"mean {mean:.1f}")
    legend(axes, theme, "upper right")
    axes.set_xlabel("CIDEr-D of a photo's caption")
    axes.set_ylabel("photos")
    axes.set_title("CIDEr-D by photo")
    return png(figure)


def lengths(counts: Mapping[str, Sequence[int]], *, dark: bool = False) -> bytes | None:
    """Shares of captions by their number of words: lengths({"model": [9, 8], "references": ...})"""
    if not any(map(len, counts.values())):
        return None
    theme = DARK if dark else LIGHT
    figure = paper(theme, (4.6, 3.4))
    axes = figure.add_subplot()
    dress(axes, theme)
    longest = max(max(of_one, default=0) for of_one in counts.values())
    places = np.arange(min(longest, 30) + 1)
    width = 0.8 / len(counts)
    for index, (name, of_one) in enumerate(counts.items()):
        found = np.bincount(np.minimum(of_one, places[-1]), minlength=len(places))
        colour = theme.accent if index == 0 else theme.faint
        shares, offset = 100 * found / max(len(of_one), 1), (index - (len(counts) - 1) / 2) * width
        axes.bar(places + offset, shares, width, color=colour, label=name)
    axes.xaxis.get_major_locator().set_params(integer=True)
    legend(axes, theme, "upper right")
    axes.set_xlabel("words" if longest <= 30 else "words (the last bar: 30 and more)")
    axes.set_ylabel("% of captions")
    axes.set_title("Length of captions")
    return png(figure)
