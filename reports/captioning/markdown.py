"""A captioning report's values as Markdown (`report.md`) and as the summary in the terminal."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from reports.captioning.character import character_rows
from reports.figures import CAPTIONING
from reports.markdown import plain, table
from reports.tables import (
    MODEL,
    about_rows,
    aligned,
    metric_rows,
    not_available,
    with_interval,
)

_PICTURES = {
    "cider": "CIDEr-D by photo",
    "lengths": "Length of captions",
    "training": "Training curves",
    "gallery": "The best, the middle and the worst by CIDEr-D",
}


def size(values: Mapping) -> str:
    """How much was scored: "1,000 photos with 5,000 references"."""
    return f"{values['photos']:,} photos with {values['references']:,} references"


def how_measured(values: Mapping) -> str:
    """What the figures and intervals are."""
    method = values["interval"]
    return (
        "All photos and all their references together, as the COCO caption evaluation scores them; "
        f"times 100. Intervals hold 95 % of {method['resamples']:,} bootstrap resamples of photos "
        f"(seed {method['seed']}). One for all: the most frequent training caption, said of every "
        "photo."
    )


def shown(values: Mapping) -> list[str]:
    """The figures that there are, in one order."""
    return [name for name in CAPTIONING if name in values["scores"][MODEL]]


def notes(values: Mapping) -> list[str]:
    told = [f"{note}." for note in values["notes"]]
    if values["judge"]:
        told.append(
            f"{CAPTIONING['caption_score'].label}: 2.5 times the cosine of photo and caption, "
            f"where positive, by {values['judge']}, as CLIPScore is; only scores by the same run "
            "can be compared."
        )
    return told + not_available(values)


def word_rows(values: Mapping) -> list[list[str]]:
    """Figures of single words, the true words before each given."""
    rows = [[CAPTIONING[name].label, with_interval(name, m)] for name, m in values["words"].items()]
    return [["the true words before given", MODEL], *rows]


def summary(values: Mapping, html_path: Path) -> str:
    """The report for the terminal: notices, a table, what it says, where the rest is."""
    lines = [values["title"], "=" * min(len(values["title"]), 78), size(values), ""]
    for notice in values["notices"]:
        lines += textwrap.wrap(notice, 88, initial_indent="! ", subsequent_indent="  ")
    lines += [""] * bool(values["notices"])
    lines += [aligned(_score_rows(values, "model")), ""]
    for sentence in [*values["findings"], *notes(values)]:
        lines += textwrap.wrap(sentence, 88, initial_indent="- ", subsequent_indent="  ")
    return "\n".join([*lines, "", f"Report: {html_path}"])


def page(values: Mapping, pictures: Sequence[str]) -> str:
    """The whole report.md; `pictures` are the names drawn in plots/."""
    parts = [f"# {plain(values['title'])}", f"{size(values)}."]
    parts += [f"> **Note:** {plain(notice)}" for notice in values["notices"]]
    parts += ["## What this says", "\n".join(f"- {plain(line)}" for line in values["findings"])]
    parts += ["## Scores", table(_score_rows(values, "all"))]
    if told := notes(values):
        parts.append("\n".join(f"- {plain(line)}" for line in told))
    parts.append(how_measured(values))
    if values["words"]:
        parts.append(table(word_rows(values)))
    parts += ["## What the captions are like", table(character_rows(values))]
    drawn = [name for name in _PICTURES if name in pictures]
    if drawn:
        parts.append("## Pictures")
        parts += [f"![{_PICTURES[name]}](plots/{name}.png)" for name in drawn]
    if values["about"]:
        rows = [["what", "value"], *map(list, about_rows(values["about"]))]
        parts += ["## About this run", table(rows)]
    return "\n\n".join(parts) + "\n"


def _score_rows(values: Mapping, intervals: str) -> list[list[str]]:
    heading, *rows = metric_rows(values, shown(values), intervals=intervals)
    names = [values["names"].get(name, name) for name in values["scores"]]
    return [[heading[0], f"{names[0]} (95 % CI)", *names[1:]], *rows]
