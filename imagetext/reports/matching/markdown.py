"""A matching report as Markdown (`report.md`), and as a summary for the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imagetext.pipelines.audit import audit_text
from imagetext.reports.kit import markdown
from imagetext.reports.kit.tables import MODEL, reasons, score_rows
from imagetext.reports.matching.figures import FIGURES
from imagetext.reports.matching.tables import MAJORITY, subset_rows

SUBSETS = "Scores without leaked rows"
SUBSETS_NOTE = (
    "The same predictions, scored only on rows that other splits do not give away: rows whose "
    "photo is not in the named split, or whose caption is not labelled match in train. The "
    "majority baseline answers the more frequent label of the rows that remain."
)
NO_CONTROLS = "No controls were trained."
NOT_AUDITED = "The splits were not audited for leaks."
#: The figures in the terminal.
_SUMMARY = ("accuracy", "balanced_accuracy", "roc_auc", "match_f1", "no_match_f1")
_PICTURES = {
    "confusion": "Confusion matrix",
    "roc": "ROC curve",
    "calibration": "Calibration",
    "training": "Training curves",
    "gallery": "The most confident predictions, wrong and correct",
}


def headline(values: Mapping[str, Any]) -> str:
    """Accuracy of the model and of the majority label, in one line."""
    model, majority = (values["scores"][name]["accuracy"] for name in (MODEL, MAJORITY))
    figure = FIGURES["accuracy"]
    return (
        f"accuracy {figure.format_estimate(model)}, "
        f'always "{values["majority_label"]}" {figure.format(majority["value"])}'
    )


def describe_size(values: Mapping[str, Any]) -> str:
    """How much was scored: "1,161 pairs from 593 photos, 284 of them matches"."""
    return (
        f"{values['rows']:,} pairs from {values['images']:,} photos, "
        f"{values['matches']:,} of them matches"
    )


def describe_method(values: Mapping[str, Any]) -> str:
    """What the intervals are, and what the baseline does."""
    method = values["interval"]
    return (
        f"Intervals are 95 % bootstrap intervals: {method['resamples']:,} resamples of whole photos"
        f" with their pairs, seed {method['seed']}. The majority baseline is to answer "
        f'"{values["majority_label"]}" for every pair.'
    )


def has_controls(values: Mapping[str, Any]) -> bool:
    """Whether controls, or the members of an ensemble, were scored beside the model."""
    return bool(set(values["scores"]) - {MODEL, MAJORITY})


def summary(values: Mapping[str, Any], html_path: Path) -> str:
    """The report for the terminal."""
    figures = {name: FIGURES[name] for name in _SUMMARY}
    rows = score_rows(values, figures, all_intervals=False)
    return markdown.terminal(values, describe_size(values), rows, [], html_path)


def page(values: Mapping[str, Any], pictures: Sequence[str]) -> str:
    """The whole report.md; `pictures` are the names of those in plots/."""
    size = f"{describe_size(values)}: {headline(values)}."
    parts = markdown.opening(values, size, score_rows(values, FIGURES))
    if not has_controls(values):
        parts.append(NO_CONTROLS)
    if missing := reasons(values, FIGURES):
        parts.append(markdown.bullets(missing))
    parts.append(describe_method(values))
    if values["subsets"]:
        parts += [f"## {SUBSETS}", markdown.table(subset_rows(values)), SUBSETS_NOTE]
    parts += markdown.pictures(_PICTURES, pictures)
    parts.append("## Leak audit")
    if values["audit"] is None:
        parts.append(NOT_AUDITED)
    else:
        parts.append(f"```text\n{audit_text(values['audit']).replace('```', '` ` `')}\n```")
    parts += markdown.about(values)
    return "\n\n".join(parts) + "\n"
