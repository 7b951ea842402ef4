"""A retrieval report's values as Markdown (`report.md`) and as the summary in the terminal."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.counting import counted
from reports.figures import RETRIEVAL
from reports.markdown import plain, table
from reports.tables import about_rows, aligned, metric_rows

_PICTURES = {
    "recall": "Share found among the first",
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
    lines = [values["title"], "=" * min(len(values["title"]), 78), size(values), ""]
    for notice in values["notices"]:
        lines += textwrap.wrap(notice, 88, initial_indent="! ", subsequent_indent="  ")
    lines += [""] * bool(values["notices"])
    lines += [aligned(_score_rows(values, "model")), ""]
    for sentence in [*values["findings"], protocol(values)]:
        lines += textwrap.wrap(sentence, 88, initial_indent="- ", subsequent_indent="  ")
    return "\n".join([*lines, "", f"Report: {html_path}"])


def page(values: Mapping, pictures: Sequence[str]) -> str:
    """The whole report.md; `pictures` are the names drawn in plots/."""
    parts = [f"# {plain(values['title'])}", f"{size(values)}."]
    parts += [f"> **Note:** {plain(notice)}" for notice in values["notices"]]
    parts += ["## What this says", "\n".join(f"- {plain(line)}" for line in values["findings"])]
    parts += ["## Scores", table(_score_rows(values, "all"))]
    parts += [protocol(values), how_measured(values)]
    drawn = [name for name in _PICTURES if name in pictures]
    if drawn:
        parts.append("## Pictures")
        parts += [f"![{_PICTURES[name]}](plots/{name}.png)" for name in drawn]
    if values["about"]:
        rows = [["what", "value"], *map(list, about_rows(values["about"]))]
        parts += ["## About this run", table(rows)]
    return "\n\n".join(parts) + "\n"


def _score_rows(values: Mapping, intervals: str) -> list[list[str]]:
    heading, *rows = metric_rows(values, tuple(RETRIEVAL), intervals=intervals)
    names = [values["names"].get(name, name) for name in values["scores"]]
    return [[heading[0], f"{names[0]} (95 % CI)", *names[1:]], *rows]
