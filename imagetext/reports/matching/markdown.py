"""A report's values as Markdown (`report.md`) and as the summary printed in the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from imagetext.pipelines.audit import audit_text
from imagetext.reports.kit.markdown import about, listed, opening, pictures_drawn, plain, table
from imagetext.reports.kit.tables import (
    MODEL,
    aligned,
    metric_rows,
    not_available,
    number,
    scorers,
    with_interval,
)
from imagetext.reports.matching.figures import MATCHING
from imagetext.reports.matching.tables import MAJORITY, subset_rows

SUBSETS = "Without leaked rows"
SUBSETS_EXPLAINED = (
    "The same predictions, scored again without rows whose photo or caption also occurs in a split"
    " used for training or for choosing the model; majority is the more frequent remaining label."
)
#: The metrics that fit the terminal.
_SHORT = ("accuracy", "balanced_accuracy", "roc_auc", "match_f1", "no_match_f1")
_PICTURES = {
    "confusion": "Confusion matrix",
    "roc": "ROC curve",
    "calibration": "Calibration",
    "training": "Training curves",
    "gallery": "The most confident right and wrong predictions",
}


def headline(values: Mapping) -> str:
    """Accuracy with its interval and the majority class beside it, in one line."""
    accuracy = with_interval("accuracy", values["scores"][MODEL]["accuracy"])
    majority = number("accuracy", values["scores"][MAJORITY]["accuracy"]["value"])
    return f'accuracy {accuracy}, always "{values["majority_label"]}" {majority}'


def size(values: Mapping) -> str:
    """How much was scored: "1,161 pairs of 593 photos, 284 of them matches"."""
    return (
        f"{values['rows']:,} pairs of {values['images']:,} photos, "
        f"{values['matches']:,} of them matches"
    )


def how_measured(values: Mapping) -> str:
    """How the intervals were computed."""
    method = values["interval"]
    return (
        f"Intervals cover 95 % of {method['resamples']:,} bootstrap resamples of whole photos "
        f"(seed {method['seed']}). The majority column answers "
        f'"{values["majority_label"]}" for every pair.'
    )


def controls_missing(values: Mapping) -> bool:
    return not set(scorers(values)) - {MODEL, MAJORITY}


def summary(values: Mapping, html_path: Path) -> str:
    """The summary for the terminal."""
    lines = [values["title"], "=" * min(len(values["title"]), 78), size(values), ""]
    lines += [f"! {notice}" for notice in values["notices"]] + [""] * bool(values["notices"])
    lines += [aligned(metric_rows(values, _SHORT, intervals="model")), ""]
    lines += listed(values["findings"])
    return "\n".join([*lines, "", f"Report: {html_path}"])


def page(values: Mapping, pictures: Sequence[str]) -> str:
    """The complete report.md; `pictures` are the names of the files in plots/."""
    scores = metric_rows(values, tuple(MATCHING))
    parts = opening(values, f"{size(values)}: {headline(values)}.", scores)
    if controls_missing(values):
        parts.append("No controls were trained.")
    if missing := not_available(values):
        parts.append("\n".join(f"- {plain(line)}" for line in missing))
    parts.append(how_measured(values))
    if values["subsets"]:
        parts += [f"## {SUBSETS}", table(subset_rows(values)), SUBSETS_EXPLAINED]
    parts += pictures_drawn(_PICTURES, pictures)
    parts.append("## Leak audit")
    if values["audit"] is None:
        parts.append("The splits were not audited.")
    else:
        parts.append(f"```text\n{audit_text(values['audit']).replace('```', '` ` `')}\n```")
    parts += about(values)
    return "\n\n".join(parts) + "\n"
