"""A captioning report as Markdown (`report.md`), and as a summary for the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imagetext.reports.captioning.figures import BASELINE, BASELINE_NAME, FIGURES
from imagetext.reports.captioning.statistics import statistic_rows
from imagetext.reports.kit import markdown
from imagetext.reports.kit.figures import Figure
from imagetext.reports.kit.tables import MODEL, reasons, score_rows

STATISTICS_TITLE = "Caption statistics"
_PICTURES = {
    "cider": "CIDEr-D by photo",
    "lengths": "Caption length",
    "training": "Training curves",
    "gallery": "Best, middle and worst captions by CIDEr-D",
}


def describe_size(values: Mapping[str, Any]) -> str:
    """How much was scored: "1,000 photos with 5,000 references"."""
    return f"{values['photos']:,} photos with {values['references']:,} references"


def describe_method(values: Mapping[str, Any]) -> str:
    """How scores and intervals are computed."""
    method = values["interval"]
    sentence = (
        "Scores are corpus scores over all photos and references, as in the COCO caption "
        f"evaluation, times 100. Intervals are 95 % bootstrap intervals: {method['resamples']:,} "
        f"resamples of photos, seed {method['seed']}."
    )
    if BASELINE in values["scores"]:
        name = BASELINE_NAME.capitalize()
        sentence += f" {name}: the most frequent training caption, for every photo."
    return sentence


def scored_figures(values: Mapping[str, Any]) -> dict[str, Figure]:
    """The figures of this report, in a fixed order."""
    return {name: FIGURES[name] for name in FIGURES if name in values["scores"][MODEL]}


def notes(values: Mapping[str, Any]) -> list[str]:
    """What to know about the scores, and why some are missing."""
    lines = [f"{note}." for note in values["notes"]]
    if values["judge"]:
        lines.append(
            f"{FIGURES['caption_score'].label}: 2.5 times the cosine similarity of photo and "
            f"caption, or 0 if it is negative, as in CLIPScore, according to {values['judge']}. "
            "Only scores by the same run can be compared."
        )
    return lines + reasons(values, FIGURES)


def word_rows(values: Mapping[str, Any]) -> list[list[str]]:
    """How well single words are predicted from the true previous words."""
    rows = [
        [FIGURES[name].label, FIGURES[name].format_estimate(estimate)]
        for name, estimate in values["words"].items()
    ]
    return [["with teacher forcing", MODEL], *rows]


def summary(values: Mapping[str, Any], html_path: Path) -> str:
    """The report for the terminal."""
    rows = score_rows(values, scored_figures(values), all_intervals=False)
    return markdown.terminal(values, describe_size(values), rows, notes(values), html_path)


def page(values: Mapping[str, Any], pictures: Sequence[str]) -> str:
    """The whole report.md; `pictures` are the names of those in plots/."""
    rows = score_rows(values, scored_figures(values))
    parts = markdown.opening(values, f"{describe_size(values)}.", rows)
    if lines := notes(values):
        parts.append(markdown.bullets(lines))
    parts.append(describe_method(values))
    if values["words"]:
        parts.append(markdown.table(word_rows(values)))
    parts += [f"## {STATISTICS_TITLE}", markdown.table(statistic_rows(values["captions"]))]
    parts += [*markdown.pictures(_PICTURES, pictures), *markdown.about(values)]
    return "\n\n".join(parts) + "\n"
