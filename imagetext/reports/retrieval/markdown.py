"""A retrieval report as Markdown (`report.md`), and as a summary for the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imagetext.reports.kit import markdown
from imagetext.reports.kit.tables import score_rows
from imagetext.reports.retrieval.figures import FIGURES
from imagetext.reports.retrieval.reranking import TITLE, describe_reranking
from imagetext.terminal import plural

_PICTURES = {
    "photos": "Text to photo: recall@k",
    "sentences": "Photo to text: recall@k",
    "places": "Rank of the correct result",
    "training": "Training curves",
    "gallery": "Searches and their results",
}


def describe_size(values: Mapping[str, Any]) -> str:
    """How much was scored: "1,000 photos with 5,000 captions"."""
    return f"{values['photos']:,} photos with {values['references']:,} captions"


def describe_protocol(values: Mapping[str, Any]) -> str:
    """What is searched, and which results are correct."""
    photos, captions = f"{values['photos']:,}", f"{values['references']:,}"
    standard = " (the standard 1K protocol)" if values["photos"] == 1000 else ""
    shared = ""
    if values["shared"]:
        shared = (
            f"{plural(values['shared'], 'caption')} of the {captions} belong word for word to "
            "several photos, and are correct for each of them. "
        )
    return (
        f"Each photo occurs once, with all its captions{standard}. Text to photo: each of the "
        f"{captions} captions is searched among the {photos} photos. Photo to text: each of the "
        f"{photos} photos is searched among the {captions} captions, and the rank of the first of "
        f"its own captions counts. {shared}A wrong result with the same similarity as the correct "
        "one ranks before it. Mean recall is the mean of R@1, R@5 and R@10 in both directions; MRR "
        "is the mean reciprocal rank."
    )


def describe_method(values: Mapping[str, Any]) -> str:
    """What the intervals are."""
    method = values["interval"]
    return (
        f"Intervals are 95 % bootstrap intervals: {method['resamples']:,} resamples of photos with "
        f"their captions as queries, seed {method['seed']}; the searched collection stays the same."
    )


def summary(values: Mapping[str, Any], html_path: Path) -> str:
    """The report for the terminal."""
    rows = score_rows(values, FIGURES, all_intervals=False)
    sections = {}
    if reranked := values["reranked"]:
        reranked_rows = score_rows(reranked, FIGURES, all_intervals=False)
        sections[TITLE] = reranked_rows, describe_reranking(reranked)
    notes = [describe_protocol(values)]
    return markdown.terminal(values, describe_size(values), rows, notes, html_path, sections)


def page(values: Mapping[str, Any], pictures: Sequence[str]) -> str:
    """The whole report.md; `pictures` are the names of those in plots/."""
    parts = markdown.opening(values, f"{describe_size(values)}.", score_rows(values, FIGURES))
    parts += [describe_protocol(values), describe_method(values)]
    if reranked := values["reranked"]:
        parts += [f"## {TITLE}", markdown.table(score_rows(reranked, FIGURES))]
        parts += map(markdown.escape, describe_reranking(reranked))
    parts += [*markdown.pictures(_PICTURES, pictures), *markdown.about(values)]
    return "\n\n".join(parts) + "\n"
