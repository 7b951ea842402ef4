"""A matching report as an HTML page.

Path("report.html").write_text(page(values, light, dark, sections))
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from imagetext.pipelines.audit import audit_text
from imagetext.reports.kit import pages
from imagetext.reports.kit.gallery import Section
from imagetext.reports.kit.images import jpeg, thumbnail
from imagetext.reports.kit.tables import reasons
from imagetext.reports.matching.figures import FIGURES
from imagetext.reports.matching.gallery import MatchExample
from imagetext.reports.matching.markdown import (
    NO_CONTROLS,
    NOT_AUDITED,
    SUBSETS,
    SUBSETS_NOTE,
    describe_method,
    describe_size,
    has_controls,
)
from imagetext.reports.matching.tables import subset_rows

_ALT_TEXTS = {
    "confusion": "Confusion matrix",
    "roc": "ROC curves of the model and its controls",
    "calibration": "Calibration: accuracy by confidence",
}
_TILES = ("roc_auc", "balanced_accuracy")


def page(
    values: Mapping[str, Any],
    light: Mapping[str, bytes | None],
    dark: Mapping[str, bytes | None],
    sections: Sequence[Section[MatchExample]],
) -> str:
    """The whole page; `light` and `dark` are two versions of the same plots, by name."""
    missing = [] if has_controls(values) else [NO_CONTROLS]
    notes = [*missing, describe_method(values), *reasons(values, FIGURES)]
    subsets = pages.table(SUBSETS, subset_rows(values), SUBSETS_NOTE) if values["subsets"] else ""
    return pages.document(
        values["title"],
        [
            pages.heading(values, describe_size(values)),
            pages.headline(values, FIGURES, "accuracy", _TILES, "".join(missing)),
            pages.findings(values),
            pages.scores(values, FIGURES, notes),
            subsets,
            pages.pictures(light, dark, _ALT_TEXTS),
            pages.curves(values["history"]),
            pages.card("Examples", "".join(map(_section, sections))),
            pages.card("Leak audit", _audit(values["audit"])),
            pages.about(values),
        ],
    )


def _section(section: Section[MatchExample]) -> str:
    if not section.examples:
        return ""
    count = f"the {len(section.examples)} most confident of {section.total:,}"
    return (
        f"<h3>{escape(section.title)} <small>{count}</small></h3>"
        f'<div class="gallery">{"".join(map(_example, section.examples))}</div>'
    )


def _example(example: MatchExample) -> str:
    kind = "right" if example.is_correct else "wrong"
    picture = pages.data_url("jpeg", jpeg(thumbnail(example.image)))
    scores = (
        f"<b>P(match) {example.probability:.3f}</b> <span>label: {example.label}</span> "
        f'<span class="file">{escape(Path(example.image).name)}</span>'
    )
    return (
        f'<figure class="{kind}"><img alt="" src="{picture}"><figcaption>'
        f"<p>{escape(example.caption)}</p><small>{scores}</small></figcaption></figure>"
    )


def _audit(audit: Mapping[str, Any] | None) -> str:
    if audit is None:
        return f"<p>{NOT_AUDITED}</p>"
    kind = "leak" if audit["leaks"] else "clean"
    # The verdict, its last line, stands above; the heading of the card replaces its first.
    text = audit_text(dict(audit)).split("\n", 2)[-1].rpartition("\n\n")[0]
    return (
        f'<p class="verdict {kind}">{escape(audit["verdict"])}</p>'
        f'<div class="scroll"><pre>{escape(text)}</pre></div>'
    )
