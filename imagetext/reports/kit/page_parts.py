"""The parts of which the HTML pages of all reports are made: nothing loaded, light and dark.

    body = [heading(title, size, notices), headline(values, "accuracy", ("roc_auc",), names)]
    Path("report.html").write_text(document(title, body))

Everything that comes from data passes `escape`: a caption "<script>" is text.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from imagetext.reports.kit import plots
from imagetext.reports.kit.figures import FIGURES
from imagetext.reports.kit.page_style import STYLE
from imagetext.reports.kit.tables import MODEL, about_rows, interval, number, scorers


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


def heading(title: str, size: str, notices: Sequence[str]) -> str:
    lines = [f"<header><h1>{escape(title)}</h1><p>{escape(size)}</p></header>"]
    lines += [f'<p class="notice">{escape(notice)}</p>' for notice in notices]
    return "\n".join(lines)


def headline(
    values: Mapping, main: str, beside: Sequence[str], names: Mapping[str, str], note: str = ""
) -> str:
    """One figure large, all scorers' on one scale with it, and more figures beside."""
    measured = values["scores"][MODEL][main]
    between = interval(main, measured)
    tiles = "".join(_tile(values, name, names) for name in beside)
    below = f'<p class="faint">{escape(note)}</p>' if note else ""
    return (
        '<section class="card hero"><div class="big">'
        f"<p>{FIGURES[main].label}</p><strong>{_large(main, measured)}</strong>"
        f"<small>{f'95 % interval {between}' if between else 'no interval'}</small></div>"
        f'<div class="scale">{"".join(_scale(values, main, names))}{below}</div>'
        f'<div class="tiles">{tiles}</div></section>'
    )


def _scale(values: Mapping, main: str, names: Mapping[str, str]) -> Iterator[str]:
    """Every scorer's figure as a dot with its interval, on one axis."""
    measured = {name: values["scores"][name][main] for name in scorers(values)}
    ends = [m[end] for m in measured.values() for end in ("value", "low", "high")]
    ends = [end for end in ends if end is not None]
    if not ends:
        return
    start, stop = max(0.0, min(ends) - 0.03), max(ends) + 0.03
    if FIGURES[main].unit:  # a share
        stop = min(1.0, stop)

    def place(value: float) -> str:
        return f"{100 * (value - start) / max(stop - start, 1e-9):.2f}%"

    for name, of_scorer in measured.items():
        bar = dot = ""
        if of_scorer["low"] is not None:
            low, high = place(of_scorer["low"]), place(of_scorer["high"])
            bar = f'<i class="bar" style="left:{low};right:calc(100% - {high})"></i>'
        if of_scorer["value"] is not None:
            dot = f'<i class="dot" style="left:{place(of_scorer["value"])}"></i>'
        kind = ' class="model"' if name == MODEL else ""
        yield (
            f'<div{kind}><b>{escape(names.get(name, name))}</b><span class="track">{bar}{dot}'
            f"</span><em>{number(main, of_scorer['value'])}</em></div>"
        )


def _tile(values: Mapping, name: str, names: Mapping[str, str]) -> str:
    measured = values["scores"][MODEL][name]
    others = ", ".join(
        f"{other} {number(name, values['scores'][other][name]['value'])}"
        for other in scorers(values)
        if other != MODEL
    )
    between = interval(name, measured)
    return (
        f"<div><p>{FIGURES[name].label}</p><strong>{_large(name, measured)}</strong>"
        f"<small>{between or escape(measured.get('why', ''))}</small>"
        f"<small>{escape(others)}</small></div>"
    )


def findings(values: Mapping) -> str:
    # "75.5 %" must not be torn apart at the end of a line.
    sentences = (escape(sentence).replace(" %", "&nbsp;%") for sentence in values["findings"])
    items = "".join(f"<li>{sentence}</li>" for sentence in sentences)
    return f'<section class="card"><h2>Findings</h2><ul class="says">{items}</ul></section>'


def scores(
    values: Mapping,
    figures: Sequence[str],
    names: Mapping[str, str],
    notes: Sequence[str],
    title: str = "Scores",
) -> str:
    """A table with a row a figure and a column a scorer, and notes below it."""
    columns = scorers(values)
    heads = "".join(
        f"<th>{escape(names.get(name, name))}{' (95 % CI)' if name == MODEL else ''}</th>"
        for name in columns
    )
    rows = []
    for name in figures:
        cells = []
        for column in columns:
            measured = values["scores"][column][name]
            between = interval(name, measured)
            why = f' title="{escape(measured["why"])}"' if measured.get("why") else ""
            kind = ' class="model"' if column == MODEL else ""
            small = f"<small>{between}</small>" if between else ""
            cells.append(f"<td{kind}{why}>{number(name, measured['value'])}{small}</td>")
        better = "" if FIGURES[name].higher_is_better else " <small>lower is better</small>"
        rows.append(f"<tr><th>{escape(FIGURES[name].label)}{better}</th>{''.join(cells)}</tr>")
    return (
        f'<section class="card"><h2>{escape(title)}</h2><div class="scroll"><table class="scores">'
        f"<thead><tr><th></th>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        + "".join(f'<p class="faint">{escape(note)}</p>' for note in notes)
        + "</section>"
    )


def table(title: str, rows: Sequence[Sequence[str]], note: str) -> str:
    """Rows, the first one the heading, and what they show."""
    heads, *others = rows
    body = "".join(
        f"<tr><th>{escape(first)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for first, *cells in others
    )
    return (
        f'<section class="card"><h2>{escape(title)}</h2><div class="scroll"><table class="scores">'
        f"<thead><tr>{''.join(f'<th>{escape(head)}</th>' for head in heads)}</tr></thead>"
        f'<tbody>{body}</tbody></table></div><p class="faint">{escape(note)}</p></section>'
    )


def pictures(
    light: Mapping[str, bytes | None],
    dark: Mapping[str, bytes | None],
    described: Mapping[str, str],
) -> str:
    """The same pictures by name in `light` and `dark`; `described` says what each shows."""
    figures = [
        _picture(picture, dark.get(name) or picture, described[name])
        for name, picture in light.items()
        if picture is not None
    ]
    kind = "plots two" if len(figures) == 2 else "plots"
    return f'<section class="{kind}">{"".join(figures)}</section>' if figures else ""


def curves(history: Sequence[Mapping]) -> str:
    """How the training went, a picture a figure."""
    light, dark = (plots.each_training_curve(history, dark=dark) for dark in (False, True))
    if not light:
        return ""
    figures = [_picture(light[title], dark[title], f"{title} by epoch") for title in light]
    return (
        '<section class="card"><h2>Training</h2>'
        f'<div class="curves of{plots.in_a_row(len(light))}">{"".join(figures)}</div></section>'
    )


def _picture(day: bytes, night: bytes, told: str) -> str:
    return (
        '<figure><picture><source media="(prefers-color-scheme: dark)" '
        f'srcset="{data("png", night)}"><img alt="{escape(told)}" src="{data("png", day)}">'
        "</picture></figure>"
    )


def about(values: Mapping) -> str:
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>"
        for name, value in about_rows(values["about"])
    )
    if not rows:
        return ""
    return (
        '<section class="card"><h2>About this run</h2>'
        f'<table class="about">{rows}</table></section>'
    )


def data(kind: str, picture: bytes) -> str:
    """A picture as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}"


def _large(name: str, measured: Mapping) -> str:
    return number(name, measured["value"]).replace(" %", "<span>%</span>")
