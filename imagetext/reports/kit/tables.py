"""Report values as rows of text cells, the same for the terminal, Markdown and HTML."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from imagetext.reports.kit.figures import Figures

#: The key of the evaluated model among the scorers of a report.
MODEL = "model"


def scorer_name(values: Mapping[str, Any], scorer: str) -> str:
    """What a report calls a scorer: the model, a control, a baseline."""
    return values.get("names", {}).get(scorer, scorer)


def score_rows(
    values: Mapping[str, Any], figures: Figures, *, all_intervals: bool = True
) -> list[list[str]]:
    """A table of scores.

    Args:
        values: The values of a report.
        figures: The figures to show.
        all_intervals: Whether to show the intervals of all scorers, not only of the model.

    Returns:
        A heading with the scorers, and a row for each figure.
    """
    scorers = list(values["scores"])
    names = [scorer_name(values, scorer) for scorer in scorers]
    heading = [f"{n} (95 % CI)" if s == MODEL else n for s, n in zip(scorers, names, strict=True)]
    rows = [["metric", *heading]]
    for name, figure in figures.items():
        row = [figure.label]
        for scorer in scorers:
            estimate = values["scores"][scorer][name]
            with_interval = all_intervals or scorer == MODEL
            row.append(
                figure.format_estimate(estimate)
                if with_interval
                else figure.format(estimate["value"])
            )
        rows.append(row)
    return rows


def reasons(values: Mapping[str, Any], figures: Figures) -> list[str]:
    """Why scores or intervals of the model are missing, one line for each figure."""
    return [
        f"{figures[name].label}: {estimate['why']}"
        for name, estimate in values["scores"][MODEL].items()
        if estimate.get("why")
    ]


def about_rows(about: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """A nested dictionary as flat rows: {"data": {"seed": 1}} -> ("data / seed", "1")."""
    for key, value in about.items():
        name = f"{prefix}{str(key).replace('_', ' ')}"
        if isinstance(value, Mapping) and value:
            yield from about_rows(value, f"{name} / ")
        elif isinstance(value, (list, tuple)) and not any(isinstance(v, Mapping) for v in value):
            yield name, ", ".join(map(_format, value)) or "none"
        elif isinstance(value, (list, tuple)):
            for index, item in enumerate(value, 1):
                inner = item if isinstance(item, Mapping) else {"": item}
                yield from about_rows(inner, f"{name} {index} / ")
        else:
            yield name, _format(value)


def align(rows: Sequence[Sequence[str]], indent: str = "  ") -> str:
    """Rows as columns of plain text: the first flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append(indent + "  ".join(cells))
    return "\n".join(lines)


def _format(value: Any) -> str:
    if value is None or value == {}:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        # Years and seeds stay as they are; large counts need separators to be readable.
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)
