"""The report of a retrieval model as one HTML page.

Path("report.html").write_text(page(values, light, dark, sections))
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from imagetext.metrics.retrieval.scores import MEAN
from imagetext.reports.kit import page_parts
from imagetext.reports.kit.images import jpeg, thumbnail
from imagetext.reports.retrieval.figures import RETRIEVAL
from imagetext.reports.retrieval.gallery import Example, SearchExample, Section
from imagetext.reports.retrieval.markdown import how_measured, protocol, size
from imagetext.reports.retrieval.reranked_section import TITLE, told

_DESCRIBED = {
    "photos": "Share of searches by sentence that find the photo among the first k",
    "sentences": "Share of searches by photo that find a caption among the first k",
    "places": "At which place the right one stands",
}
_BESIDE = ("text_r1", "photo_r1", "text_r10", "photo_r10")
#: Sides of photos: they are shown at about half of it.
ASKED, FOUND = 320, 148


def page(
    values: Mapping,
    light: Mapping[str, bytes | None],
    dark: Mapping[str, bytes | None],
    sections: Sequence[Section],
) -> str:
    """The whole page; `light` and `dark` are the same pictures by name."""
    names = values["names"]
    return page_parts.document(
        values["title"],
        [
            page_parts.heading(values["title"], size(values), values["notices"]),
            page_parts.headline(values, MEAN, _BESIDE, names),
            page_parts.findings(values),
            page_parts.scores(values, RETRIEVAL, names, [protocol(values), how_measured(values)]),
            _reranked(values["reranked"]),
            page_parts.pictures(light, dark, _DESCRIBED),
            page_parts.curves(values["history"]),
            _gallery(sections),
            page_parts.about(values),
        ],
    )


def _reranked(values: Mapping | None) -> str:
    if not values:
        return ""
    return page_parts.scores(values, RETRIEVAL, values["names"], told(values), TITLE)


def _gallery(sections: Sequence[Section]) -> str:
    parts = [
        f"<h3>{escape(section.title)}</h3>{''.join(map(_example, section.examples))}"
        for section in sections
        if section.examples
    ]
    if not parts:
        return ""
    return (
        f'<section class="card captions"><h2>Searches</h2>{"".join(parts)}'
        '<p class="faint">To the left the right photo. A ✓ stands at what is right, beside each '
        "its similarity.</p></section>"
    )


def _example(example: Example) -> str:
    """The right photo; what was asked, where the right one stands, and what was found."""
    photo = page_parts.data("jpeg", jpeg(thumbnail(example.photo, ASKED)))
    name = escape(Path(example.photo).name)
    asked = f"<p>{escape(example.caption)}</p>" if example.by_text else ""
    told = f'<small><b>place {example.place:,}</b> <span class="file">{name}</span></small>'
    if example.by_text:
        found = f'<div class="words">{"".join(map(_photo, example.found))}</div>'
    else:
        found = f"<ul>{''.join(map(_sentence, example.found))}</ul>"
    return f'<article><img alt="" src="{photo}"><div>{asked}{told}{found}</div></article>'


def _photo(found: SearchExample) -> str:
    picture = page_parts.data("jpeg", jpeg(thumbnail(found.what, FOUND)))
    mark = "✓ " if found.right else ""
    told = f"<figcaption>{mark}{found.similarity:.2f}</figcaption>"
    return f'<figure><img alt="" src="{picture}">{told}</figure>'


def _sentence(found: SearchExample) -> str:
    text = f"{found.similarity:.2f} {escape(found.what)}"
    return f"<li><b>✓</b> {text}</li>" if found.right else f"<li>{text}</li>"
