"""A retrieval report's values as Markdown (`report.md`) and as the summary in the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from imagetext.reports.kit.markdown import (
    about,
    named_rows,
    opening,
    pictures_drawn,
    plain,
    table,
    terminal,
)
from imagetext.reports.retrieval.figures import RETRIEVAL
from imagetext.reports.retrieval.reranked_section import TITLE, told
from imagetext.terminal import counted

_PICTURES = {
    "photos": "Share of photos found among the first",
    "sentences": "Share of sentences found among the first",
    "places": "Where the right one stands",
    "training": "Training curves",
    "gallery": "Searches and what they found",
}


def size(values: Mapping) -> str:
    """How much was scored: "1,000 photos with 5,000 captions"."""
    return f"{values['photos']:,} photos with {values['references']:,} captions"


def protocol(values: Mapping) -> str:
    """What is searched among what."""
    photos, captions = f"{values['photos']:,}", f"{values['references']:,}"
    standard = " (the standard 1K protocol)" if values["photos"] == 1000 else ""
    return (
        f"Every photo stands once, with all its captions{standard}. By text: each of the "
        f"{captions} captions searches among the {photos} photos. By photo: each of the {photos} "
        f"photos searches among the {captions} captions, and found is the first of its own. "
        f"{_shared(values)}What is wrong but as similar as the right one stands before it."
    )


def _shared(values: Mapping) -> str:
    if not values["shared"]:
        return ""
    return (
        f"{counted(values['shared'], 'caption')} of the {values['references']:,} stand word for "
        "word with several photos, and are right for each of them. "
    )


def how_measured(values: Mapping) -> str:
    """What the intervals are."""
    method = values["interval"]
    return (
        f"Intervals hold 95 % of {method['resamples']:,} bootstrap resamples of photos with their "
        f"captions (seed {method['seed']}); what is searched among stays as it is."
    )


def summary(values: Mapping, html_path: Path) -> str:
    """The report for the terminal: notices, a table, what it says, where the rest is."""
    rows = named_rows(values, tuple(RETRIEVAL), "model")
    parts = {}
    if reranked := values["reranked"]:
        parts[TITLE] = named_rows(reranked, tuple(RETRIEVAL), "model"), told(reranked)
    return terminal(values, size(values), rows, [protocol(values)], html_path, parts)


def page(values: Mapping, pictures: Sequence[str]) -> str:
    """The whole report.md; `pictures` are the names drawn in plots/."""
    rows = named_rows(values, tuple(RETRIEVAL), "all")
    parts = opening(values, f"{size(values)}.", rows)
    parts += [protocol(values), how_measured(values)]
    if reranked := values["reranked"]:
        parts += [f"## {TITLE}", table(named_rows(reranked, tuple(RETRIEVAL), "all"))]
        parts += map(plain, told(reranked))
    parts += [*pictures_drawn(_PICTURES, pictures), *about(values)]
    return "\n\n".join(parts) + "\n"
