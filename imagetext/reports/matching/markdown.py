"""A report's values as Markdown (`report.md`) and as the summary printed in the terminal."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from imagetext.pipelines.audit import audit_text
from imagetext.reports.tables import (
    MAJORITY,
    MODEL,
    about_rows,
    aligned,
    metric_rows,
    not_available,
    number,
    scorers,
    subset_rows,
    with_interval,
)

SUBSETS = "Without what other splits give away"
SUBSETS_EXPLAINED = (
    "The same answers, scored again without rows whose photo or caption the model, or who chose it,"
    " has met in another split; majority is the more frequent label of the rows that remain."
)
#: The metrics that fit the terminal.
_SHORT = ("accuracy", "balanced_accuracy", "roc_auc", "match_f1", "no_match_f1")
_PICTURES = {
    "confusion": "Confusion matrix",
    "roc": "ROC curve",
    "calibration": "Calibration",
    "training": "Training curves",
    "gallery": "Right and wrong, the most confident ones",
}


def headline(values: Mapping) -> str:
    """Accuracy with its interval and the majority class beside it, in one line."""
    accuracy = with_interval("accuracy", values["scores"][MODEL]["accuracy"])
    majority = number("accuracy", values["scores"][MAJORITY]["accuracy"]["value"])
    return f'accuracy {accuracy}, always "{values["majority_label"]}" {majority}'


def size(values: Mapping) -> str:
    """How much was scored: "1,161 pairs of 593 photos, 284 of them matches"."""
    return (
        f"{values['rows']:,} pairs of {values['images']:,} photos, "
        f"{values['matches']:,} of them matches"
    )


def how_measured(values: Mapping) -> str:
    """What the intervals are."""
    method = values["interval"]
    return (
        f"Intervals hold 95 % of {method['resamples']:,} bootstrap resamples of whole photos "
        f"(seed {method['seed']}). The majority column answers "
        f'"{values["majority_label"]}" for every pair.'
    )


def controls_missing(values: Mapping) -> bool:
    return not set(scorers(values)) - {MODEL, MAJORITY}


def summary(values: Mapping, html_path: Path) -> str:
    """The report for the terminal: notices, a short table, what it says, where the rest is."""
    lines = [values["title"], "=" * min(len(values["title"]), 78), size(values), ""]
    lines += [f"! {notice}" for notice in values["notices"]] + [""] * bool(values["notices"])
    lines += [aligned(metric_rows(values, _SHORT, intervals="model")), ""]
    lines += _listed(values["findings"])
    return "\n".join([*lines, "", f"Report: {html_path}"])


def page(values: Mapping, pictures: Sequence[str]) -> str:
    """The whole report.md; `pictures` are the names drawn in plots/."""
    parts = opening(values, f"{size(values)}: {headline(values)}.", metric_rows(values))
    if controls_missing(values):
        parts.append("Controls were not trained.")
    if missing := not_available(values):
        parts.append("\n".join(f"- {plain(line)}" for line in missing))
    parts.append(how_measured(values))
    if values["subsets"]:
        parts += [f"## {SUBSETS}", table(subset_rows(values)), SUBSETS_EXPLAINED]
    parts += pictures_drawn(_PICTURES, pictures)
    parts.append("## Leak audit")
    if values["audit"] is None:
        parts.append("The splits were not audited.")
    else:
        parts.append(f"```text\n{audit_text(values['audit']).replace('```', '` ` `')}\n```")
    parts += about(values)
    return "\n\n".join(parts) + "\n"


# ------------------------------------------------------------------- what all tasks' reports share


def terminal(
    values: Mapping,
    size: str,
    rows: Sequence[Sequence[str]],
    notes: Sequence[str],
    html_path: Path,
    parts: Mapping[str, tuple[Sequence[Sequence[str]], Sequence[str]]] | None = None,
) -> str:
    """Title and size, notices, a table, what it says with `notes` behind, where the rest is; before
    that `parts` by their titles, each a table with notes of its own."""
    lines = [values["title"], "=" * min(len(values["title"]), 78), size, ""]
    for notice in values["notices"]:
        lines += textwrap.wrap(notice, 88, initial_indent="! ", subsequent_indent="  ")
    lines += [""] * bool(values["notices"])
    lines += [aligned(rows), ""]
    lines += _listed([*values["findings"], *notes])
    for title, (rows, own_notes) in (parts or {}).items():
        lines += ["", title, "-" * len(title), aligned(rows), "", *_listed(own_notes)]
    return "\n".join([*lines, "", f"Report: {html_path}"])


def _listed(sentences: Sequence[str]) -> list[str]:
    return [
        line
        for sentence in sentences
        for line in textwrap.wrap(sentence, 88, initial_indent="- ", subsequent_indent="  ")
    ]


def opening(values: Mapping, headline: str, scores: Sequence[Sequence[str]]) -> list[str]:
    """The parts of a report.md down to the table of scores."""
    return [
        f"# {plain(values['title'])}",
        headline,
        *(f"> **Note:** {plain(notice)}" for notice in values["notices"]),
        "## What this says",
        "\n".join(f"- {plain(line)}" for line in values["findings"]),
        "## Scores",
        table(scores),
    ]


def pictures_drawn(titles: Mapping[str, str], pictures: Sequence[str]) -> list[str]:
    """Those of `titles` that were drawn into plots/, in that order."""
    drawn = [f"![{titles[name]}](plots/{name}.png)" for name in titles if name in pictures]
    return ["## Pictures", *drawn] if drawn else []


def about(values: Mapping) -> list[str]:
    if not values["about"]:
        return []
    rows = [["what", "value"], *map(list, about_rows(values["about"]))]
    return ["## About this run", table(rows)]


def named_rows(values: Mapping, shown: Sequence[str], intervals: str) -> list[list[str]]:
    """The table of scores, its columns named as the report names who was scored."""
    heading, *rows = metric_rows(values, shown, intervals=intervals)
    names = [values["names"].get(name, name) for name in values["scores"]]
    return [[heading[0], f"{names[0]} (95 % CI)", *names[1:]], *rows]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows, the first one the heading, as a Markdown table."""
    lines = ["| " + " | ".join(map(plain, row)) + " |" for row in rows]
    lines.insert(1, "|" + " --- |" * len(rows[0]))
    return "\n".join(lines)


def plain(text: str) -> str:
    """Text that stays text: no HTML, no table cell, no line of its own."""
    text = " ".join(str(text).split())
    for sign, safe in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|")):
        text = text.replace(sign, safe)
    return text
