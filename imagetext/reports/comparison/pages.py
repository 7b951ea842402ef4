"""A comparison's values as a table, as comparison.md, and as comparison.png.

Path("comparison.md").write_text(page(values))
print(summary(values, folder))
"""

import html
import json
import textwrap
from collections.abc import Mapping
from pathlib import Path

from imagetext.reports.comparison.spec import ComparisonSpec, spec_of
from imagetext.reports.kit import plots
from imagetext.reports.kit.figures import FIGURES
from imagetext.reports.kit.markdown import table
from imagetext.reports.kit.tables import aligned, interval, number, with_interval

#: Columns that are left out where nothing is known.
OPTIONAL = {"trainable", "with frozen encoders", "extra captions"}
_BOUNDS = ("value", "low", "high")
_UNKNOWN = "-"


def files(split: str) -> list[str]:
    stem = "comparison" if split == "test" else f"comparison-{split}"
    return [f"{stem}.json", f"{stem}.md", f"{stem}.png"]


def table_rows(values: Mapping) -> list[list[str]]:
    """A heading, the configurations, the baseline, and the ensemble where there is one."""
    spec = _spec(values)
    rows = [*values["configurations"], values[spec.baseline]]
    rows += [values["ensemble"]] if values["ensemble"] else []
    columns = {
        "configuration": [row["name"] for row in rows],
        "seeds": [_seeds(row) for row in rows],
        **{title: [_score(name, row) for row in rows] for name, title in spec.shown.items()},
    }
    costs = {
        "distinct": [_percent(row.get("distinct")) for row in rows],
        "parameters": [_amount(row.get("parameters")) for row in rows],
        "trainable": [_amount(row.get("trainable_parameters")) for row in rows],
        "with frozen encoders": [_amount(row.get("with_frozen_encoders")) for row in rows],
        "minutes": [_amount(row.get("minutes"), 1) for row in rows],
        "images/s": [_amount(row.get("images_per_second")) for row in rows],
        "captioned/s": [_amount(row.get("captioned_per_second")) for row in rows],
        "extra captions": [_captions(row.get("extra_captions")) for row in rows],
    }
    for name in spec.costs:
        if name not in OPTIONAL or set(costs[name]) != {_UNKNOWN}:
            columns[name] = costs[name]
    return [list(columns), *map(list, zip(*columns.values(), strict=True))]


def explained(values: Mapping) -> list[str]:
    """What the numbers mean, as far as there are such."""
    lines = []
    if any(row["spread"] == "seeds" for row in values["configurations"]):
        lines.append(
            "[a–b]: median of the seeds, with the lowest and the highest, the band in the picture. "
            "How lucky the choice of photos was is not in that range; the line in the picture has "
            "it, from the median of the lower to that of the upper ends of the seeds' intervals."
        )
    lines.append("(a–b): one model; 95 % of the bootstrap resamples of whole photos lie in it.")
    lines += _spec(values).explain(values)
    if any(row["kind"] == "ensemble" for row in values["configurations"]):
        lines.append(
            "ensemble of ...: so many runs answered together; parameters and minutes are of all."
        )
    if values["ensemble"]:
        lines.append(
            f"{values['ensemble']['name']}: the mean of all the runs' match probabilities, "
            "with the parameters and minutes of all."
        )
    if values["split"] == "test" and len(values["configurations"]) > 1:
        lines.append("To choose among configurations, compare them on dev: --split dev.")
    return lines


def _spec(values: Mapping) -> ComparisonSpec:
    return spec_of(values["task"])


def _score(name: str, row: Mapping) -> str:
    measured = row["scores"][name]
    between = interval(name, measured)
    if row.get("spread") == "seeds" and between:
        return f"{number(name, measured['value'])} [{between}]"
    return with_interval(name, measured)


def _seeds(row: Mapping) -> str:
    seeds = row.get("seeds", [])
    if len(seeds) > 5:
        return f"{len(seeds)} seeds"
    return ", ".join(map(str, seeds)) or _UNKNOWN


def _amount(value: float | None, digits: int = 0) -> str:
    return _UNKNOWN if value is None else f"{value:,.{digits}f}"


def _percent(share: float | None) -> str:
    return _UNKNOWN if share is None else f"{100 * share:.1f} %"


def _captions(extra: Mapping | None) -> str:
    if not extra:
        return _UNKNOWN
    return f"{extra['captions']:,} of {extra['photos']:,} photos"


def summary(values: Mapping, folder: Path) -> str:
    """The comparison for the terminal."""
    lines = [f"! {note}" for note in [*values["left_out"], *values["notices"]]]
    lines += [f"{values['split']}: {_spec(values).describe_size(values)}", ""]
    rows = aligned(table_rows(values)).splitlines()
    if values["ensemble"]:
        rows.insert(-1, "  " + "─" * (max(map(len, rows)) - 2))
    lines += [*rows, ""]
    for sentence in explained(values):
        lines += textwrap.wrap(sentence, 98, initial_indent="- ", subsequent_indent="  ")
    written = ", ".join(files(values["split"]))
    return "\n".join([*lines, "", f"Written into {folder}: {written}"])


def page(values: Mapping) -> str:
    """The whole comparison.md."""
    heading, *rows = table_rows(values)
    single = rows[:-1] if values["ensemble"] else rows
    parts = [f"# Comparison on {values['split']}", f"{_spec(values).describe_size(values)}."]
    parts += [f"> **Note:** {_text(note)}" for note in values["notices"]]
    parts += [table([heading, *single])]
    if values["ensemble"]:
        parts += ["All of these runs together:", table([heading, rows[-1]])]
    parts += ["\n".join(f"- {line}" for line in explained(values))]
    parts += [f"![Scores of each configuration]({files(values['split'])[-1]})"]
    told_apart = [row["configuration"] for row in values["configurations"]]
    keys = dict.fromkeys(key for configuration in told_apart for key in configuration)
    if keys:
        names = [row["name"] for row in values["configurations"]]
        cells = [[key, *(_value(each, key) for each in told_apart)] for key in keys]
        parts += ["## Where the configurations differ", table([["key", *names], *cells])]
    if values["left_out"]:
        parts += ["## Left out", "\n".join(f"- {_text(line)}" for line in values["left_out"])]
    return "\n\n".join(parts) + "\n"


def picture(values: Mapping) -> bytes:
    """comparison.png: a panel a metric, a row a configuration."""
    spec = _spec(values)
    rows = [(row, row["kind"]) for row in values["configurations"]]
    rows += [(values[spec.baseline], "baseline")]
    rows += [(values["ensemble"], "ensemble")] if values["ensemble"] else []
    drawn = [
        plots.DotRow(row["name"], tuple(_dots(row, name) for name in spec.shown), kind)
        for row, kind in rows
    ]
    panels = {}
    for name, title in spec.shown.items():
        figure = FIGURES[name]
        panels[f"{title} (%)" if figure.unit else title] = f".{figure.digits}f"
    return plots.dot_plot(drawn, panels)


def _dots(row: Mapping, name: str) -> plots.Dots:
    scale = FIGURES[name].scale
    measured, each = row["scores"][name], row.get("each", {}).get(name, [])
    measured = measured | row.get("intervals", {}).get(name, {})
    shown = [None if measured[key] is None else scale * measured[key] for key in _BOUNDS]
    return plots.Dots(*shown, tuple(scale * value for value in each if value is not None))


def _value(configuration: Mapping, key: str) -> str:
    value = configuration.get(key, _UNKNOWN)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _text(text: str) -> str:
    return " ".join(html.escape(text, quote=False).split())
