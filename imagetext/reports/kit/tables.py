"""Report values as cells of text, the same for the terminal, the Markdown and the page."""

from collections.abc import Iterator, Mapping, Sequence

from imagetext.reports.kit.figures import FIGURES

MODEL = "model"


def number(name: str, value: float | None) -> str:
    """number("accuracy", 0.7554) == "75.5 %"; number("roc_auc", None) == "n/a"."""
    return FIGURES[name].written(value)


def interval(name: str, measured: Mapping) -> str:
    """interval("accuracy", {"low": 0.73, "high": 0.78, ...}) == "73.0–78.0"; "" if there is none.

    An interval of no width is none: the resamples all agree where a score is constant or
    perfect, and that is not certainty.
    """
    if measured["low"] is None or measured["low"] == measured["high"]:
        return ""
    return "–".join(FIGURES[name].bare(measured[end]) for end in ("low", "high"))


def with_interval(name: str, measured: Mapping) -> str:
    """with_interval("accuracy", ...) == "75.5 % (73.0–78.0)"."""
    between = interval(name, measured)
    return number(name, measured["value"]) + (f" ({between})" if between else "")


def scorers(values: Mapping) -> list[str]:
    """The columns: model, controls, majority."""
    return list(values["scores"])


def metric_rows(
    values: Mapping, names: Sequence[str], *, intervals: str = "all"
) -> list[list[str]]:
    """A heading row and one row a metric; `intervals` of "all" scorers, or of the "model"."""
    columns = scorers(values)
    rows = [["metric", *(f"{c} (95 % CI)" if c == MODEL else c for c in columns)]]
    for name in names:
        row = [FIGURES[name].label]
        for column in columns:
            measured = values["scores"][column][name]
            in_full = intervals == "all" or column == MODEL
            row.append(
                with_interval(name, measured) if in_full else number(name, measured["value"])
            )
        rows.append(row)
    return rows


def not_available(values: Mapping) -> list[str]:
    """Why the model's "n/a" are what they are, one sentence a metric."""
    return [
        f"{FIGURES[name].label}: {measured['why']}"
        for name, measured in values["scores"][MODEL].items()
        if measured.get("why")
    ]


def about_rows(about: Mapping, prefix: str = "") -> Iterator[tuple[str, str]]:
    """A nested dict as flat rows: {"data": {"seed": 1}} -> ("data / seed", "1")."""
    for key, value in about.items():
        name = f"{prefix}{str(key).replace('_', ' ')}"
        if isinstance(value, Mapping) and value:
            yield from about_rows(value, f"{name} / ")
        elif isinstance(value, (list, tuple)) and not any(isinstance(v, Mapping) for v in value):
            yield name, ", ".join(map(_plain, value)) or "none"
        elif isinstance(value, (list, tuple)):
            for index, item in enumerate(value, 1):
                inner = item if isinstance(item, Mapping) else {"": item}
                yield from about_rows(inner, f"{name} {index} / ")
        else:
            yield name, _plain(value)


def aligned(rows: Sequence[Sequence[str]], indent: str = "  ") -> str:
    """Rows as columns of plain text, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append(indent + "  ".join(cells))
    return "\n".join(lines)


def _plain(value) -> str:
    if value is None or value == {}:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        # Years and small seeds keep their face; long counts are unreadable without commas.
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


def compared(difference: Mapping) -> str:
    """Which side of zero a difference lies on: "above", "below", "level" or "unknown"."""
    if difference["low"] is None:
        return "unknown"
    if difference["low"] > 0:
        return "above"
    return "below" if difference["high"] < 0 else "level"
