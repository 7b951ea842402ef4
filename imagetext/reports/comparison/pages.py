"""A comparison as a table, as comparison.md, and as comparison.png.

Path("comparison.md").write_text(page(values))
print(summary(values, folder))
"""

import html
import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imagetext.reports.comparison.plots import DotRow, Dots, dot_plot
from imagetext.reports.comparison.spec import UNKNOWN, get_spec
from imagetext.reports.kit.figures import Figure
from imagetext.reports.kit.markdown import table
from imagetext.reports.kit.tables import align

Values = Mapping[str, Any]


def file_names(split: str) -> list[str]:
    """The names of the files of a comparison."""
    stem = "comparison" if split == "test" else f"comparison-{split}"
    return [f"{stem}.json", f"{stem}.md", f"{stem}.png"]


def table_rows(values: Values) -> list[list[str]]:
    """A heading, the configurations, the baseline, and the ensemble if there is one."""
    spec = get_spec(values["task"])
    rows = [*values["configurations"], values[spec.baseline]]
    rows += [values["ensemble"]] if values["ensemble"] else []
    columns = [
        ["configuration", *(row["name"] for row in rows)],
        ["seeds", *map(_format_seeds, rows)],
    ]
    for name, figure in spec.figures.items():
        columns.append([spec.heading(name), *(_format_score(figure, name, row) for row in rows)])
    for cost in spec.costs:
        cells = [cost.write(row.get(cost.key)) for row in rows]
        if cost.always_shown or set(cells) != {UNKNOWN}:
            columns.append([cost.title, *cells])
    return list(map(list, zip(*columns, strict=True)))


def explain(values: Values) -> list[str]:
    """What the numbers in the table mean."""
    lines = []
    if any(row["spread"] == "seeds" for row in values["configurations"]):
        lines.append(
            "[a–b]: the median over the seeds, with the lowest and highest value (the band in the "
            "picture). The choice of photos adds to this uncertainty: the line in the picture is "
            "the 95 % interval over photos, with the median of the seeds' lower and upper ends."
        )
    lines.append("(a–b): a single model with its 95 % bootstrap interval over photos.")
    lines += get_spec(values["task"]).explain(values)
    if any(row["kind"] == "ensemble" for row in values["configurations"]):
        lines.append(
            "ensemble of n: n runs evaluated together; parameters and minutes are their totals."
        )
    if values["ensemble"]:
        lines.append(
            f"{values['ensemble']['name']}: the mean of all the runs' match probabilities; "
            "parameters and minutes are their totals."
        )
    if values["split"] == "test" and len(values["configurations"]) > 1:
        lines.append("To choose a configuration, compare on dev: --split dev.")
    return lines


def _format_score(figure: Figure, name: str, row: Values) -> str:
    estimate = row["scores"][name]
    interval = figure.format_interval(estimate)
    if row.get("spread") == "seeds" and interval:
        return f"{figure.format(estimate['value'])} [{interval}]"
    return figure.format_estimate(estimate)


def _format_seeds(row: Values) -> str:
    seeds = row.get("seeds", [])
    if len(seeds) > 5:
        return f"{len(seeds)} seeds"
    return ", ".join(map(str, seeds)) or UNKNOWN


def _describe_size(values: Values) -> str:
    return get_spec(values["task"]).size_text(values)


def summary(values: Values, folder: Path) -> str:
    """The comparison for the terminal."""
    lines = [f"! {note}" for note in [*values["left_out"], *values["notices"]]]
    lines += [f"{values['split']}: {_describe_size(values)}", ""]
    rows = align(table_rows(values)).splitlines()
    if values["ensemble"]:
        rows.insert(-1, "  " + "─" * (max(map(len, rows)) - 2))
    lines += [*rows, ""]
    for sentence in explain(values):
        lines += textwrap.wrap(sentence, 98, initial_indent="- ", subsequent_indent="  ")
    written = ", ".join(file_names(values["split"]))
    return "\n".join([*lines, "", f"Written to {folder}: {written}"])


def page(values: Values) -> str:
    """The whole comparison.md."""
    heading, *rows = table_rows(values)
    separate = rows[:-1] if values["ensemble"] else rows
    parts = [f"# Comparison on {values['split']}", f"{_describe_size(values)}."]
    parts += [f"> **Note:** {_escape(note)}" for note in values["notices"]]
    parts += [table([heading, *separate])]
    if values["ensemble"]:
        parts += ["All of these runs together:", table([heading, rows[-1]])]
    parts += ["\n".join(f"- {line}" for line in explain(values))]
    parts += [f"![Scores of each configuration]({file_names(values['split'])[-1]})"]
    settings = [row["configuration"] for row in values["configurations"]]
    keys = dict.fromkeys(key for each in settings for key in each)
    if keys:
        names = [row["name"] for row in values["configurations"]]
        cells = [[key, *(_format_setting(each, key) for each in settings)] for key in keys]
        parts += ["## Differences between the configurations", table([["key", *names], *cells])]
    if values["left_out"]:
        parts += ["## Left out", "\n".join(f"- {_escape(line)}" for line in values["left_out"])]
    return "\n\n".join(parts) + "\n"


def picture(values: Values) -> bytes:
    """comparison.png: a panel for each figure, a row for each configuration."""
    spec = get_spec(values["task"])
    rows = [(row, row["kind"]) for row in values["configurations"]]
    rows += [(values[spec.baseline], "baseline")]
    rows += [(values["ensemble"], "ensemble")] if values["ensemble"] else []
    drawn = [
        DotRow(row["name"], tuple(_dots(f, name, row) for name, f in spec.figures.items()), kind)
        for row, kind in rows
    ]
    panels = {}
    for name, figure in spec.figures.items():
        title = spec.heading(name)
        panels[f"{title} (%)" if figure.unit else title] = f".{figure.digits}f"
    return dot_plot(drawn, panels)


def _dots(figure: Figure, name: str, row: Values) -> Dots:
    estimate, each = row["scores"][name], row.get("each", {}).get(name, [])
    estimate = estimate | row.get("intervals", {}).get(name, {})
    value, low, high = (
        None if estimate[key] is None else figure.scale * estimate[key]
        for key in ("value", "low", "high")
    )
    return Dots(value, low, high, tuple(figure.scale * v for v in each if v is not None))


def _format_setting(settings: Values, key: str) -> str:
    value = settings.get(key, UNKNOWN)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _escape(text: str) -> str:
    return " ".join(html.escape(text, quote=False).split())
