"""The figures of a retrieval report."""

from imagetext.metrics.retrieval.scores import MEAN
from imagetext.reports.kit.figures import Figure, percentage


def _search_figures(side: str, direction: str) -> dict[str, Figure]:
    return {
        **{f"{side}_r{k}": percentage(f"{direction}: R@{k}") for k in (1, 5, 10)},
        f"{side}_median": Figure(f"{direction}: median rank", digits=1, higher_is_better=False),
        f"{side}_mrr": Figure(f"{direction}: MRR"),
    }


FIGURES = {
    **_search_figures("text", "Text to photo"),
    **_search_figures("photo", "Photo to text"),
    MEAN: percentage("Mean recall"),
}
