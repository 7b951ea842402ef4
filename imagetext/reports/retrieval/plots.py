"""The pictures of a retrieval report as PNG bytes, light or `dark`.

Path("recall.png").write_bytes(recall({"model": ranks, "chance": others}, "photo_ranks"))
"""

import itertools
from collections.abc import Mapping

import numpy as np

from imagetext.metrics.retrieval.ranks import Ranks
from imagetext.metrics.retrieval.scores import recall_curve
from imagetext.reports.kit.plots import DARK, LIGHT, dress, legend, paper, png

_SIDES = {"photo_ranks": "Photos for a sentence", "caption_ranks": "Sentences for a photo"}


def recall(ranks: Mapping[str, Ranks], side: str, *, dark: bool = False) -> bytes:
    """Recall@k for growing k, of photo_ranks or caption_ranks; the first scorer is the model."""
    theme = DARK if dark else LIGHT
    figure = paper(theme, (4.6, 3.4))
    axes = figure.add_subplot()
    dress(axes, theme)
    for index, (name, found) in enumerate(ranks.items()):
        most = min(100, max(map(len, (found.photo_ranks, found.caption_ranks))))
        colour = theme.accent if index == 0 else theme.others[(index - 1) % len(theme.others)]
        numbers, shares = recall_curve(getattr(found, side), most)
        width = 2.4 if index == 0 else 1.4
        axes.plot(numbers, 100 * shares, color=colour, linewidth=width, label=name)
    axes.set_xscale("log")
    axes.set_xticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
    axes.minorticks_off()
    axes.set_ylim(0, 101)
    axes.set_xlabel("among the first")
    axes.set_ylabel("% found")
    axes.set_title(_SIDES[side])
    legend(axes, theme, "upper left")
    return png(figure)


def places(ranks: Ranks, *, dark: bool = False) -> bytes:
    """How many searches find the right one at which place, on a scale of doublings."""
    theme = DARK if dark else LIGHT
    figure = paper(theme, (4.6, 3.4))
    axes = figure.add_subplot()
    dress(axes, theme)
    last = max(int(ranks.photo_ranks.max()), int(ranks.caption_ranks.max()))
    ends = 2.0 ** np.arange(int(np.log2(last)) + 2)
    for side, title, colour in (
        ("photo_ranks", "by text", theme.accent),
        ("caption_ranks", "by photo", theme.warm),
    ):
        counts, _ = np.histogram(getattr(ranks, side), ends)
        shares = 100 * counts / counts.sum()
        axes.plot(range(len(counts)), shares, "o-", color=colour, label=title, markersize=4)
    names = [
        f"{int(start)}" if end == start + 1 else f"{int(start)}–{int(end) - 1}"
        for start, end in itertools.pairwise(ends)
    ]
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("place of the right one")
    axes.set_ylabel("% of searches")
    axes.set_title("Where the right one stands")
    legend(axes, theme, "best")
    return png(figure)
