"""The plots of a retrieval report as PNG bytes, light or `dark`.

Path("recall.png").write_bytes(recall({"model": ranks, "chance": others}, "photo_ranks"))
"""

import itertools
from collections.abc import Mapping

import numpy as np

from imagetext.metrics.retrieval.ranks import Ranks
from imagetext.metrics.retrieval.scores import recall_curve
from imagetext.reports.kit.plots import DARK, LIGHT, add_legend, new_axes, to_png

_TITLES = {"photo_ranks": "Text to photo", "caption_ranks": "Photo to text"}


def recall(ranks: Mapping[str, Ranks], side: str, *, dark: bool = False) -> bytes:
    """Recall@k for growing k.

    Args:
        ranks: Ranks of each scorer by name; the first one is the model.
        side: "photo_ranks" or "caption_ranks".
        dark: Whether to draw in the dark theme.
    """
    theme = DARK if dark else LIGHT
    figure, axes = new_axes(theme, (4.6, 3.4))
    for index, (name, each) in enumerate(ranks.items()):
        most = min(100, max(map(len, (each.photo_ranks, each.caption_ranks))))
        k, shares = recall_curve(getattr(each, side), most)
        width = 2.4 if index == 0 else 1.4
        axes.plot(k, 100 * shares, color=theme.line_colour(index), linewidth=width, label=name)
    axes.set_xscale("log")
    axes.set_xticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
    axes.minorticks_off()
    axes.set_ylim(0, 101)
    axes.set_xlabel("k")
    axes.set_ylabel("recall@k (%)")
    axes.set_title(_TITLES[side])
    add_legend(axes, theme, "best")
    return to_png(figure)


def rank_distribution(ranks: Ranks, *, dark: bool = False) -> bytes:
    """How often the correct result has which rank, in bins that double in size."""
    theme = DARK if dark else LIGHT
    figure, axes = new_axes(theme, (4.6, 3.4))
    last = max(int(ranks.photo_ranks.max()), int(ranks.caption_ranks.max()))
    edges = 2.0 ** np.arange(int(np.log2(last)) + 2)
    for side, colour in (("photo_ranks", theme.accent), ("caption_ranks", theme.warm)):
        counts, _ = np.histogram(getattr(ranks, side), edges)
        shares = 100 * counts / counts.sum()
        label = _TITLES[side].lower()
        axes.plot(range(len(counts)), shares, "o-", color=colour, label=label, markersize=4)
    names = [
        f"{int(start)}" if end == start + 1 else f"{int(start)}–{int(end) - 1}"
        for start, end in itertools.pairwise(edges)
    ]
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("rank of the correct result")
    axes.set_ylabel("% of searches")
    axes.set_title("Rank of the correct result")
    add_legend(axes, theme, "best")
    return to_png(figure)
