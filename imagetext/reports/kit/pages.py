"""Parts of HTML pages: self-contained, light and dark.

    parts = [heading(values, size), headline(values, FIGURES, "accuracy", ("roc_auc",))]
    Path("report.html").write_text(document(title, parts))

Everything that comes from data is escaped: a caption "<script>" stays text.
"""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from imagetext.reports.kit import plots
from imagetext.reports.kit.figures import Figure, Figures
from imagetext.reports.kit.gallery import ExampleT, Section
from imagetext.reports.kit.style import STYLE
from imagetext.reports.kit.tables import MODEL, about_rows, scorer_name

Values = Mapping[str, Any]
Rows = Sequence[Sequence[str]]


def document(title: str, parts: Sequence[str]) -> str:
    """The whole page."""
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def heading(values: Values, size: str) -> str:
    """Title, how much was scored, and notices."""
    lines = [f"<header><h1>{escape(values['title'])}</h1><p>{escape(size)}</p></header>"]
    lines += [f'<p class="notice">{escape(notice)}</p>' for notice in values["notices"]]
    return "\n".join(lines)


def card(title: str, body: str, kind: str = "") -> str:
    """A section with a title; empty if the body is."""
    if not body:
        return ""
    return f'<section class="card{kind and " " + kind}"><h2>{escape(title)}</h2>{body}</section>'


def headline(
    values: Values, figures: Figures, main: str, tiles: Sequence[str], note: str = ""
) -> str:
    """The main figure in large type, every scorer's on a common scale, and tiles of others.

    Args:
        values: The values of a report.
        figures: The figures of the report.
        main: Name of the main figure.
        tiles: Names of the figures in tiles.
        note: A remark below the scale.
    """
    figure, estimate = figures[main], values["scores"][MODEL][main]
    interval = figure.format_interval(estimate)
    small = f"95 % interval {interval}" if interval else "no interval"
    below = f'<p class="faint">{escape(note)}</p>' if note else ""
    return (
        '<section class="card hero"><div class="big">'
        f"<p>{escape(figure.label)}</p><strong>{_large(figure, estimate)}</strong>"
        f"<small>{small}</small></div>"
        f'<div class="scale">{"".join(_scale(values, figure, main))}{below}</div>'
        f'<div class="tiles">{"".join(_tile(values, figures[name], name) for name in tiles)}</div>'
        "</section>"
    )


def _scale(values: Values, figure: Figure, name: str) -> Iterator[str]:
    """The figure of every scorer as a dot with its interval, on one axis."""
    estimates = {scorer: scores[name] for scorer, scores in values["scores"].items()}
    ends = [e[end] for e in estimates.values() for end in ("value", "low", "high")]
    ends = [end for end in ends if end is not None]
    if not ends:
        return
    start, stop = max(0.0, min(ends) - 0.03), max(ends) + 0.03
    if figure.unit:  # a percentage
        stop = min(1.0, stop)

    def position(value: float) -> str:
        return f"{100 * (value - start) / max(stop - start, 1e-9):.2f}%"

    for scorer, estimate in estimates.items():
        bar = dot = ""
        if estimate["low"] is not None:
            low, high = position(estimate["low"]), position(estimate["high"])
            bar = f'<i class="bar" style="left:{low};right:calc(100% - {high})"></i>'
        if estimate["value"] is not None:
            dot = f'<i class="dot" style="left:{position(estimate["value"])}"></i>'
        kind = ' class="model"' if scorer == MODEL else ""
        number = figure.format(estimate["value"])
        yield (
            f"<div{kind}><b>{escape(scorer_name(values, scorer))}</b>"
            f'<span class="track">{bar}{dot}</span><em>{number}</em></div>'
        )


def _tile(values: Values, figure: Figure, name: str) -> str:
    estimate = values["scores"][MODEL][name]
    others = ", ".join(
        f"{scorer_name(values, scorer)} {figure.format(scores[name]['value'])}"
        for scorer, scores in values["scores"].items()
        if scorer != MODEL
    )
    interval = figure.format_interval(estimate)
    return (
        f"<div><p>{escape(figure.label)}</p><strong>{_large(figure, estimate)}</strong>"
        f"<small>{interval or escape(estimate.get('why', ''))}</small>"
        f"<small>{escape(others)}</small></div>"
    )


def _large(figure: Figure, estimate: Mapping[str, Any]) -> str:
    return figure.format(estimate["value"]).replace(" %", "<span>%</span>")


def findings(values: Values) -> str:
    """The findings as a list."""
    # Keep "75.5 %" on one line.
    sentences = (escape(sentence).replace(" %", "&nbsp;%") for sentence in values["findings"])
    items = "".join(f"<li>{sentence}</li>" for sentence in sentences)
    return card("Findings", f'<ul class="says">{items}</ul>')


def scores(values: Values, figures: Figures, notes: Sequence[str], title: str = "Scores") -> str:
    """A table with a row for each figure and a column for each scorer, followed by notes."""
    heads = [
        escape(scorer_name(values, scorer)) + (" (95 % CI)" if scorer == MODEL else "")
        for scorer in values["scores"]
    ]
    rows = []
    for name, figure in figures.items():
        cells = []
        for scorer, estimates in values["scores"].items():
            estimate = estimates[name]
            interval = figure.format_interval(estimate)
            why = f' title="{escape(estimate["why"])}"' if estimate.get("why") else ""
            kind = ' class="model"' if scorer == MODEL else ""
            small = f"<small>{interval}</small>" if interval else ""
            cells.append(f"<td{kind}{why}>{figure.format(estimate['value'])}{small}</td>")
        hint = "" if figure.higher_is_better else " <small>lower is better</small>"
        rows.append(f"<tr><th>{escape(figure.label)}{hint}</th>{''.join(cells)}</tr>")
    return card(title, _scroll(_table_html(["", *heads], rows)) + _notes(notes))


def table(title: str, rows: Rows, note: str = "") -> str:
    """A section with a table, of which the first row is the heading."""
    return card(title, _scroll(_plain_table(rows)) + _notes([note] if note else []))


def model_tables(title: str, each: Sequence[Rows]) -> str:
    """A section with tables whose second column is about the model, below each other."""
    return card(title, _scroll("".join(_plain_table(rows, ' class="model"') for rows in each)))


def _plain_table(rows: Rows, second: str = "") -> str:
    """Rows, of which the first is the heading; `second` are attributes of the second column."""
    heads, *others = rows
    lines = []
    for name, *cells in others:
        attributes = [second, *[""] * (len(cells) - 1)]
        tds = (f"<td{a}>{escape(cell)}</td>" for a, cell in zip(attributes, cells, strict=True))
        lines.append(f"<tr><th>{escape(name)}</th>{''.join(tds)}</tr>")
    return _table_html(list(map(escape, heads)), lines)


def _table_html(heads: Sequence[str], rows: Sequence[str]) -> str:
    cells = "".join(f"<th>{head}</th>" for head in heads)
    return (
        f'<table class="scores"><thead><tr>{cells}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _scroll(html: str) -> str:
    return f'<div class="scroll">{html}</div>'


def _notes(notes: Sequence[str]) -> str:
    return "".join(f'<p class="faint">{escape(note)}</p>' for note in notes)


def pictures(
    light: Mapping[str, bytes | None],
    dark: Mapping[str, bytes | None],
    alt_texts: Mapping[str, str],
) -> str:
    """Pictures by name, each in a light and a dark version, with its alternative text."""
    figures = [
        _picture(picture, dark.get(name) or picture, alt_texts[name])
        for name, picture in light.items()
        if picture is not None
    ]
    kind = "plots two" if len(figures) == 2 else "plots"
    return f'<section class="{kind}">{"".join(figures)}</section>' if figures else ""


def curves(history: Sequence[Mapping[str, Any]]) -> str:
    """The training curves."""
    light, dark = (plots.each_training_curve(history, dark=dark) for dark in (False, True))
    if not light:
        return ""
    figures = [_picture(light[title], dark[title], f"{title} by epoch") for title in light]
    columns = plots.curve_columns(len(light))
    return card("Training", f'<div class="curves of{columns}">{"".join(figures)}</div>')


def _picture(light: bytes, dark: bytes, alt: str) -> str:
    return (
        '<figure><picture><source media="(prefers-color-scheme: dark)" '
        f'srcset="{data_url("png", dark)}"><img alt="{escape(alt)}" src="{data_url("png", light)}">'
        "</picture></figure>"
    )


def gallery(
    title: str,
    sections: Sequence[Section[ExampleT]],
    render: Callable[[ExampleT], str],
    note: str,
) -> str:
    """Sections of examples, each rendered as HTML, followed by a note."""
    parts = [
        f"<h3>{escape(section.title)}</h3>{''.join(map(render, section.examples))}"
        for section in sections
        if section.examples
    ]
    return card(title, "".join(parts) + _notes([note]) if parts else "", kind="captions")


def about(values: Values) -> str:
    """The facts about the run."""
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>"
        for name, value in about_rows(values["about"])
    )
    return card("About this run", f'<table class="about">{rows}</table>' if rows else "")


def data_url(kind: str, picture: bytes) -> str:
    """A picture as a URL that contains it."""
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}"
