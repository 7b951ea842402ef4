"""A retrieval report as an HTML page.

Path("report.html").write_text(page(values, light, dark, sections))
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from imagetext.metrics.retrieval.scores import MEAN
from imagetext.reports.kit import pages
from imagetext.reports.kit.gallery import Section
from imagetext.reports.kit.images import jpeg, thumbnail
from imagetext.reports.retrieval.figures import FIGURES
from imagetext.reports.retrieval.gallery import RankedResult, SearchExample
from imagetext.reports.retrieval.markdown import describe_method, describe_protocol, describe_size
from imagetext.reports.retrieval.reranking import TITLE, describe_reranking

_ALT_TEXTS = {
    "photos": "Share of the captions whose photo is among the first k results",
    "sentences": "Share of the photos with a caption of theirs among the first k results",
    "places": "Ranks of the correct results",
}
_TILES = ("text_r1", "photo_r1", "text_r10", "photo_r10")
#: Sides of photos in pixels; they are shown at about half of it.
QUERY, RESULT = 320, 148
_GALLERY_NOTE = (
    "On the left is the photo of the search: the correct result, or the query. ✓ marks correct "
    "results; the numbers are similarities."
)


def page(
    values: Mapping[str, Any],
    light: Mapping[str, bytes | None],
    dark: Mapping[str, bytes | None],
    sections: Sequence[Section[SearchExample]],
) -> str:
    """The whole page; `light` and `dark` are two versions of the same plots, by name."""
    notes = [describe_protocol(values), describe_method(values)]
    reranked = values["reranked"]
    return pages.document(
        values["title"],
        [
            pages.heading(values, describe_size(values)),
            pages.headline(values, FIGURES, MEAN, _TILES),
            pages.findings(values),
            pages.scores(values, FIGURES, notes),
            pages.scores(reranked, FIGURES, describe_reranking(reranked), TITLE)
            if reranked
            else "",
            pages.pictures(light, dark, _ALT_TEXTS),
            pages.curves(values["history"]),
            pages.gallery("Examples", sections, _example, _GALLERY_NOTE),
            pages.about(values),
        ],
    )


def _example(example: SearchExample) -> str:
    """The photo; the caption if it is the query; the rank; and the first results."""
    photo = pages.data_url("jpeg", jpeg(thumbnail(example.photo, QUERY)))
    name = escape(Path(example.photo).name)
    query = f"<p>{escape(example.caption)}</p>" if example.by_text else ""
    rank = f'<small><b>rank {example.rank:,}</b> <span class="file">{name}</span></small>'
    if example.by_text:
        results = f'<div class="words">{"".join(map(_photo, example.results))}</div>'
    else:
        results = f"<ul>{''.join(map(_caption, example.results))}</ul>"
    return f'<article><img alt="" src="{photo}"><div>{query}{rank}{results}</div></article>'


def _photo(result: RankedResult) -> str:
    picture = pages.data_url("jpeg", jpeg(thumbnail(result.item, RESULT)))
    mark = "✓ " if result.is_correct else ""
    caption = f"<figcaption>{mark}{result.similarity:.2f}</figcaption>"
    return f'<figure><img alt="" src="{picture}">{caption}</figure>'


def _caption(result: RankedResult) -> str:
    text = f"{result.similarity:.2f} {escape(result.item)}"
    return f"<li><b>✓</b> {text}</li>" if result.is_correct else f"<li>{text}</li>"
