"""The report of a captioning model as one HTML page.

Path("report.html").write_text(page(values, light, dark, sections))
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from imagetext.reports.captioning.attention_maps import TILE, fitted, tiles
from imagetext.reports.captioning.character import character_rows
from imagetext.reports.captioning.gallery import Example, Section
from imagetext.reports.captioning.markdown import how_measured, notes, shown, size, word_rows
from imagetext.reports.kit import page_parts
from imagetext.reports.kit.images import jpeg
from imagetext.reports.kit.tables import MODEL

_DESCRIBED = {
    "cider": "How many photos have which CIDEr-D",
    "lengths": "How many words captions have",
}
_BESIDE = ("bleu_4", "meteor", "rouge_l", "bleu_1")
#: The side of a word's tile: it is shown a little smaller, or at half of it on fine screens.
WORD = 220


def page(
    values: Mapping,
    light: Mapping[str, bytes | None],
    dark: Mapping[str, bytes | None],
    sections: Sequence[Section],
) -> str:
    """The whole page; `light` and `dark` are the same pictures by name."""
    names = values["names"]
    told = [how_measured(values), *notes(values)]
    beside = [name for name in _BESIDE if name in values["scores"][MODEL]]
    return page_parts.document(
        values["title"],
        [
            page_parts.heading(values["title"], size(values), values["notices"]),
            page_parts.headline(values, "cider_d", beside, names),
            page_parts.findings(values),
            page_parts.scores(values, shown(values), names, told),
            _tables(values),
            page_parts.pictures(light, dark, _DESCRIBED),
            page_parts.curves(values["history"]),
            _gallery(sections),
            page_parts.about(values),
        ],
    )


def _tables(values: Mapping) -> str:
    parts = [_table(character_rows(values))]
    if values["words"]:
        parts.append(_table(word_rows(values)))
    return (
        '<section class="card"><h2>What the captions are like</h2><div class="scroll">'
        f"{''.join(parts)}</div></section>"
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    heading, *others = rows
    heads = "".join(f"<th>{escape(cell)}</th>" for cell in heading)
    lines = []
    for first, model, *rest in others:
        cells = f'<td class="model">{escape(model)}</td>'
        cells += "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        lines.append(f"<tr><th>{escape(first)}</th>{cells}</tr>")
    return (
        f'<table class="scores"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table>"
    )


def _gallery(sections: Sequence[Section]) -> str:
    parts = [
        f"<h3>{escape(section.title)}</h3>{''.join(map(_example, section.examples))}"
        for section in sections
        if section.examples
    ]
    if not parts:
        return ""
    return (
        f'<section class="card captions"><h2>Photos and captions</h2>{"".join(parts)}'
        '<p class="faint">CIDEr-D is of the one photo, times 100. In colour is where the model '
        "looked before it said the word.</p></section>"
    )


def _example(example: Example) -> str:
    """The photo; what was said, what people wrote, and the photo once a word."""
    picture = page_parts.data("jpeg", jpeg(fitted(example.photo, 2 * TILE)))
    references = "".join(f"<li>{escape(text)}</li>" for text in example.references)
    words = ""
    if example.looked:
        lit = tiles(fitted(example.photo, WORD), example.looked)
        words = "".join(
            f'<figure><img alt="" src="{page_parts.data("jpeg", jpeg(tile))}">'
            f"<figcaption>{escape(word)}</figcaption></figure>"
            for tile, word in zip(lit, example.looked.words, strict=True)
        )
        words = f'<div class="looks">{words}</div>'
    told = (
        f"<b>CIDEr-D {100 * example.cider:.1f}</b> "
        f"<span>log probability {example.log_probability:.2f}</span> "
        f'<span class="file">{escape(Path(example.photo).name)}</span>'
    )
    return (
        f'<article><img alt="" src="{picture}"><div><p>{escape(example.caption)}</p>'
        f"<small>{told}</small><ul>{references}</ul></div>{words}</article>"
    )
