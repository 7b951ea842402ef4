"""A report as one HTML page: pictures inside, nothing loaded, light and dark, wide and narrow.

    Path("report.html").write_text(page(values, light, dark, sections))

Everything that comes from data passes `escape`: a caption "<script>" is text.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from pipelines.audit import audit_text
from reports.gallery import Example, Section, jpeg, thumbnail
from reports.markdown import controls_missing, how_measured, size
from reports.metrics import METRICS
from reports.page_style import STYLE
from reports.tables import MAJORITY, MODEL, about_rows, interval, not_available, number, scorers

_ALT = {
    "confusion": "Confusion matrix",
    "roc": "ROC curves of the model and its controls",
    "calibration": "Calibration: confidence against share right",
    "training": "Training curves by epoch",
}
#: Metrics shown large beside the accuracy.
_BESIDE = ("roc_auc", "balanced_accuracy")


def page(
    values: Mapping,
    light: Mapping[str, bytes | None],
    dark: Mapping[str, bytes | None],
    sections: Sequence[Section],
) -> str:
    """The whole page; `light` and `dark` are the same pictures by name."""
    title = escape(values["title"])
    body = "\n".join(
        [
            f"<header><h1>{title}</h1><p>{escape(size(values))}</p></header>",
            *(f'<p class="notice">{escape(notice)}</p>' for notice in values["notices"]),
            _headline(values),
            _findings(values),
            _scores(values),
            _pictures(light, dark),
            _gallery(sections),
            _audit(values["audit"]),
            _about(values["about"]),
        ]
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _headline(values: Mapping) -> str:
    """The accuracy large, its baselines on one scale with it, and two more numbers."""
    accuracy = values["scores"][MODEL]["accuracy"]
    between = interval("accuracy", accuracy)
    tiles = "".join(_tile(values, name) for name in _BESIDE)
    return (
        '<section class="card hero"><div class="big">'
        f"<p>Accuracy</p><strong>{_number('accuracy', accuracy)}</strong>"
        f"<small>{f'95 % interval {between}' if between else 'no interval'}</small></div>"
        f'<div class="scale">{"".join(_scale(values))}</div>'
        f'<div class="tiles">{tiles}</div></section>'
    )


def _scale(values: Mapping) -> Iterator[str]:
    """Every scorer's accuracy as a dot with its interval, on one axis."""
    measured = {name: values["scores"][name]["accuracy"] for name in scorers(values)}
    ends = [m[end] for m in measured.values() for end in ("value", "low", "high")]
    ends = [end for end in ends if end is not None]
    if not ends:
        return
    start, stop = max(0.0, min(ends) - 0.03), min(1.0, max(ends) + 0.03)

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
            f'<div{kind}><b>{escape(_scorer_name(values, name))}</b><span class="track">{bar}{dot}'
            f"</span><em>{number('accuracy', of_scorer['value'])}</em></div>"
        )
    if controls_missing(values):
        yield '<p class="faint">Controls were not trained.</p>'


def _tile(values: Mapping, name: str) -> str:
    measured = values["scores"][MODEL][name]
    others = ", ".join(
        f"{other} {number(name, values['scores'][other][name]['value'])}"
        for other in scorers(values)
        if other != MODEL
    )
    between = interval(name, measured)
    return (
        f"<div><p>{METRICS[name].label}</p><strong>{_number(name, measured)}</strong>"
        f"<small>{between or escape(measured.get('why', ''))}</small>"
        f"<small>{escape(others)}</small></div>"
    )


def _findings(values: Mapping) -> str:
    # "75.5 %" must not be torn apart at the end of a line.
    sentences = (escape(sentence).replace(" %", "&nbsp;%") for sentence in values["findings"])
    items = "".join(f"<li>{sentence}</li>" for sentence in sentences)
    return f'<section class="card"><h2>What this says</h2><ul class="says">{items}</ul></section>'


def _scores(values: Mapping) -> str:
    columns = scorers(values)
    heads = "".join(
        f"<th>{escape(_scorer_name(values, name))}{' (95 % CI)' if name == MODEL else ''}</th>"
        for name in columns
    )
    rows = []
    for name, metric in METRICS.items():
        cells = []
        for column in columns:
            measured = values["scores"][column][name]
            between = interval(name, measured)
            why = f' title="{escape(measured["why"])}"' if measured.get("why") else ""
            kind = ' class="model"' if column == MODEL else ""
            small = f"<small>{between}</small>" if between else ""
            cells.append(f"<td{kind}{why}>{number(name, measured['value'])}{small}</td>")
        better = "" if metric.higher_is_better else " <small>lower is better</small>"
        rows.append(f"<tr><th>{escape(metric.label)}{better}</th>{''.join(cells)}</tr>")
    notes = [how_measured(values), *not_available(values)]
    if controls_missing(values):
        notes.insert(0, "Controls were not trained.")
    return (
        '<section class="card"><h2>Scores</h2><div class="scroll"><table class="scores">'
        f"<thead><tr><th></th>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        + "".join(f'<p class="faint">{escape(note)}</p>' for note in notes)
        + "</section>"
    )


def _pictures(light: Mapping[str, bytes | None], dark: Mapping[str, bytes | None]) -> str:
    figures = []
    for name, picture in light.items():
        if picture is None:
            continue
        night = dark.get(name) or picture
        wide = ' class="wide"' if name == "training" else ""
        figures.append(
            f"<figure{wide}><picture>"
            f'<source media="(prefers-color-scheme: dark)" srcset="{_data("png", night)}">'
            f'<img alt="{_ALT[name]}" src="{_data("png", picture)}"></picture></figure>'
        )
    return f'<section class="plots">{"".join(figures)}</section>' if figures else ""


def _gallery(sections: Sequence[Section]) -> str:
    parts = []
    for section in sections:
        if not section.examples:
            continue
        tiles = "".join(map(_example, section.examples))
        count = f"{len(section.examples)} most confident of {section.total:,}"
        parts.append(
            f"<h3>{escape(section.title)} <small>{count}</small></h3>"
            f'<div class="gallery">{tiles}</div>'
        )
    if not parts:
        return ""
    return f'<section class="card"><h2>Right and wrong</h2>{"".join(parts)}</section>'


def _example(example: Example) -> str:
    kind = "right" if example.is_right else "wrong"
    picture = _data("jpeg", jpeg(thumbnail(example.image)))
    told = (
        f"<b>P(match) {example.probability:.3f}</b> <span>truth: {example.truth}</span> "
        f'<span class="file">{escape(Path(example.image).name)}</span>'
    )
    return (
        f'<figure class="{kind}"><img alt="" src="{picture}"><figcaption>'
        f"<p>{escape(example.caption)}</p><small>{told}</small></figcaption></figure>"
    )


def _audit(audit: Mapping | None) -> str:
    if audit is None:
        return (
            '<section class="card"><h2>Leak audit</h2><p>The splits were not audited.</p></section>'
        )
    kind = "leak" if audit["leaks"] else "clean"
    text = audit_text(audit).split("\n", 2)[-1].rpartition("\n\n")[0]  # heading, verdict: above
    return (
        '<section class="card"><h2>Leak audit</h2>'
        f'<p class="verdict {kind}">{escape(audit["verdict"])}</p>'
        f'<div class="scroll"><pre>{escape(text)}</pre></div></section>'
    )


def _about(about: Mapping) -> str:
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>"
        for name, value in about_rows(about)
    )
    if not rows:
        return ""
    return (
        '<section class="card"><h2>About this run</h2>'
        f'<table class="about">{rows}</table></section>'
    )


def _scorer_name(values: Mapping, name: str) -> str:
    return f'always "{values["majority_label"]}"' if name == MAJORITY else name


def _number(name: str, measured: Mapping) -> str:
    return number(name, measured["value"]).replace(" %", "<span>%</span>")


def _data(kind: str, picture: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}"
