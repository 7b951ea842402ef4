"""The report of a matching model as one HTML page.

Path("report.html").write_text(page(values, light, dark, sections))
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from imagetext.pipelines.audit import audit_text
from imagetext.reports.kit import page_parts
from imagetext.reports.kit.images import jpeg, thumbnail
from imagetext.reports.kit.tables import not_available
from imagetext.reports.matching.figures import MATCHING
from imagetext.reports.matching.gallery import Example, Section
from imagetext.reports.matching.markdown import (
    SUBSETS,
    SUBSETS_EXPLAINED,
    controls_missing,
    how_measured,
    size,
)
from imagetext.reports.matching.tables import MAJORITY, subset_rows

_DESCRIBED = {
    "confusion": "Confusion matrix",
    "roc": "ROC curves of the model and its controls",
    "calibration": "Calibration: confidence against share right",
}
_MISSING = "No controls were trained."


def page(
    values: Mapping,
    light: Mapping[str, bytes | None],
    dark: Mapping[str, bytes | None],
    sections: Sequence[Section],
) -> str:
    """The whole page; `light` and `dark` are the same pictures by name."""
    names = {MAJORITY: f'always "{values["majority_label"]}"'}
    missing = [_MISSING] if controls_missing(values) else []
    notes = [*missing, how_measured(values), *not_available(values)]
    beside = ("roc_auc", "balanced_accuracy")
    return page_parts.document(
        values["title"],
        [
            page_parts.heading(values["title"], size(values), values["notices"]),
            page_parts.headline(values, "accuracy", beside, names, "".join(missing)),
            page_parts.findings(values),
            page_parts.scores(values, tuple(MATCHING), names, notes),
            _subsets(values),
            page_parts.pictures(light, dark, _DESCRIBED),
            page_parts.curves(values["history"]),
            _gallery(sections),
            _audit(values["audit"]),
            page_parts.about(values),
        ],
    )


def _subsets(values: Mapping) -> str:
    if not values["subsets"]:
        return ""
    return page_parts.table(SUBSETS, subset_rows(values), SUBSETS_EXPLAINED)


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
    picture = page_parts.data("jpeg", jpeg(thumbnail(example.image)))
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
