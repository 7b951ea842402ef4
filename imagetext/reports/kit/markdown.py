"""Parts of `report.md`, and the summary that is printed in the terminal."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imagetext.reports.kit.tables import about_rows, align

Rows = Sequence[Sequence[str]]


def terminal(
    values: Mapping[str, Any],
    size: str,
    rows: Rows,
    notes: Sequence[str],
    html_path: Path,
    sections: Mapping[str, tuple[Rows, Sequence[str]]] | None = None,
) -> str:
    """The summary of a report for the terminal.

    Args:
        values: The values of the report; its title, notices and findings are used.
        size: How much was scored.
        rows: The table of scores.
        notes: Sentences that follow the findings.
        html_path: Where the whole report is.
        sections: Further tables with notes, by title.
    """
    lines = [values["title"], "=" * min(len(values["title"]), 78), size, ""]
    for notice in values["notices"]:
        lines += textwrap.wrap(notice, 88, initial_indent="! ", subsequent_indent="  ")
    lines += [""] * bool(values["notices"])
    lines += [align(rows), ""]
    lines += _wrap_list([*values["findings"], *notes])
    for title, (table_rows, table_notes) in (sections or {}).items():
        lines += ["", title, "-" * len(title), align(table_rows), "", *_wrap_list(table_notes)]
    return "\n".join([*lines, "", f"Report: {html_path}"])


def _wrap_list(sentences: Sequence[str]) -> list[str]:
    return [
        line
        for sentence in sentences
        for line in textwrap.wrap(sentence, 88, initial_indent="- ", subsequent_indent="  ")
    ]


def opening(values: Mapping[str, Any], headline: str, rows: Rows) -> list[str]:
    """Everything down to the table of scores."""
    return [
        f"# {escape(values['title'])}",
        headline,
        *(f"> **Note:** {escape(notice)}" for notice in values["notices"]),
        "## Findings",
        bullets(values["findings"]),
        "## Scores",
        table(rows),
    ]


def bullets(sentences: Sequence[str]) -> str:
    """Sentences as a list."""
    return "\n".join(f"- {escape(sentence)}" for sentence in sentences)


def pictures(captions: Mapping[str, str], drawn: Sequence[str]) -> list[str]:
    """The pictures that were drawn into plots/, in the order of `captions`."""
    lines = [f"![{captions[name]}](plots/{name}.png)" for name in captions if name in drawn]
    return ["## Pictures", *lines] if lines else []


def about(values: Mapping[str, Any]) -> list[str]:
    """The facts about the run."""
    if not values["about"]:
        return []
    rows = [["", "value"], *map(list, about_rows(values["about"]))]
    return ["## About this run", table(rows)]


def table(rows: Rows) -> str:
    """Rows, of which the first is the heading, as a Markdown table."""
    lines = ["| " + " | ".join(map(escape, row)) + " |" for row in rows]
    lines.insert(1, "|" + " --- |" * len(rows[0]))
    return "\n".join(lines)


def escape(text: str) -> str:
    """Text without the effect of HTML, table separators and line breaks in it."""
    text = " ".join(str(text).split())
    for sign, safe in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|")):
        text = text.replace(sign, safe)
    return text
