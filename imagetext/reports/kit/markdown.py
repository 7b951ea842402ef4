"""Reports as Markdown (`report.md`) and as the summary in the terminal."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from imagetext.reports.kit.tables import about_rows, aligned, metric_rows


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
    lines += listed([*values["findings"], *notes])
    for title, (rows, own_notes) in (parts or {}).items():
        lines += ["", title, "-" * len(title), aligned(rows), "", *listed(own_notes)]
    return "\n".join([*lines, "", f"Report: {html_path}"])


def listed(sentences: Sequence[str]) -> list[str]:
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
        "## Findings",
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
