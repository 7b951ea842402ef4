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
from imagetext.terminal import plural

_PICTURES = {
    "photos": "Recall of photos by rank",
    "sentences": "Recall of sentences by rank",
    "places": "Rank of the right result",
    "training": "Training curves",
    "gallery": "Searches and their results",
}


def size(values: Mapping) -> str:
    """How much was scored: "1,000 photos with 5,000 captions"."""
    return f"{values['photos']:,} photos with {values['references']:,} captions"


def protocol(values: Mapping) -> str:
    """What is searched, and how results count."""
    photos, captions = f"{values['photos']:,}", f"{values['references']:,}"
    standard = " (the standard 1K protocol)" if values["photos"] == 1000 else ""
    return (
        f"Every photo occurs once, with all its captions{standard}. By text: each of the "
        f"{captions} captions is searched among the {photos} photos. By photo: each of the"
        f" {photos} "
        f"photos is searched among the {captions} captions, and its best caption counts. "
        f"{_shared(values)}Wrong results as similar as the right one rank before it."
    )


def _shared(values: Mapping) -> str:
    if not values["shared"]:
        return ""
    return (
        f"{plural(values['shared'], 'caption')} of the {values['references']:,} belong word for "
        "word to several photos, and are right for each of them. "
    )


def how_measured(values: Mapping) -> str:
    """What the intervals are."""
    method = values["interval"]
    return (
        f"Intervals cover 95 % of {method['resamples']:,} bootstrap resamples of photos with their "
        f"captions (seed {method['seed']}); the searched collection is not resampled."
    )


def summary(values: Mapping, html_path: Path) -> str:
    """The summary for the terminal."""
    rows = named_rows(values, tuple(RETRIEVAL), "model")
    parts = {}
    if reranked := values["reranked"]:
        parts[TITLE] = named_rows(reranked, tuple(RETRIEVAL), "model"), told(reranked)
    return terminal(values, size(values), rows, [protocol(values)], html_path, parts)


def page(values: Mapping, pictures: Sequence[str]) -> str:
    """The complete report.md; `pictures` are the names of the files in plots/."""
    rows = named_rows(values, tuple(RETRIEVAL), "all")
    parts = opening(values, f"{size(values)}.", rows)
    parts += [protocol(values), how_measured(values)]
    if reranked := values["reranked"]:
        parts += [f"## {TITLE}", table(named_rows(reranked, tuple(RETRIEVAL), "all"))]
        parts += map(plain, told(reranked))
    parts += [*pictures_drawn(_PICTURES, pictures), *about(values)]
    return "\n\n".join(parts) + "\n"
