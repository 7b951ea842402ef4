"""A captioning report as an HTML page.

Path("report.html").write_text(page(values, light, dark, sections))
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from imagetext.reports.captioning.attention_maps import TILE, AttentionMaps, fit_photo, overlay_maps
from imagetext.reports.captioning.figures import FIGURES
from imagetext.reports.captioning.gallery import CaptionExample
from imagetext.reports.captioning.markdown import (
    STATISTICS_TITLE,
    describe_method,
    describe_size,
    notes,
    scored_figures,
    word_rows,
)
from imagetext.reports.captioning.statistics import statistic_rows
from imagetext.reports.kit import pages
from imagetext.reports.kit.gallery import Section
from imagetext.reports.kit.images import jpeg
from imagetext.reports.kit.tables import MODEL

_ALT_TEXTS = {
    "cider": "How many photos have which CIDEr-D",
    "lengths": "How many words the captions have",
}
_TILES = ("bleu_4", "meteor", "rouge_l", "bleu_1")
#: Side of a word's tile; it is shown a little smaller, or at half its size on fine screens.
WORD = 220
_GALLERY_NOTE = (
    "CIDEr-D is that of the single photo, times 100. Colours show where the model attended when it "
    "generated the word."
)


def page(
    values: Mapping[str, Any],
    light: Mapping[str, bytes | None],
    dark: Mapping[str, bytes | None],
    sections: Sequence[Section[CaptionExample]],
) -> str:
    """The whole page; `light` and `dark` are two versions of the same plots, by name."""
    tiles = [name for name in _TILES if name in values["scores"][MODEL]]
    tables = [statistic_rows(values["captions"])]
    if values["words"]:
        tables.append(word_rows(values))
    return pages.document(
        values["title"],
        [
            pages.heading(values, describe_size(values)),
            pages.headline(values, FIGURES, "cider_d", tiles),
            pages.findings(values),
            pages.scores(values, scored_figures(values), [describe_method(values), *notes(values)]),
            pages.model_tables(STATISTICS_TITLE, tables),
            pages.pictures(light, dark, _ALT_TEXTS),
            pages.curves(values["history"]),
            pages.gallery("Examples", sections, _example, _GALLERY_NOTE),
            pages.about(values),
        ],
    )


def _example(example: CaptionExample) -> str:
    """The photo; its caption and references; and the photo once for each word."""
    picture = pages.data_url("jpeg", jpeg(fit_photo(example.photo, 2 * TILE)))
    references = "".join(f"<li>{escape(text)}</li>" for text in example.references)
    words = _words(example.photo, example.attention) if example.attention else ""
    scores = (
        f"<b>CIDEr-D {100 * example.cider:.1f}</b> "
        f"<span>log probability {example.log_probability:.2f}</span> "
        f'<span class="file">{escape(Path(example.photo).name)}</span>'
    )
    return (
        f'<article><img alt="" src="{picture}"><div><p>{escape(example.caption)}</p>'
        f"<small>{scores}</small><ul>{references}</ul></div>{words}</article>"
    )


def _words(photo: str, attention: AttentionMaps) -> str:
    tiles = overlay_maps(fit_photo(photo, WORD), attention)
    figures = "".join(
        f'<figure><img alt="" src="{pages.data_url("jpeg", jpeg(tile))}">'
        f"<figcaption>{escape(word)}</figcaption></figure>"
        for tile, word in zip(tiles, attention.words, strict=True)
    )
    return f'<div class="looks">{figures}</div>'
