"""A captioning report's values as Markdown (`report.md`) and as the summary in the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from imagetext.reports.captioning.character import character_rows
from imagetext.reports.captioning.figures import CAPTIONING
from imagetext.reports.kit.markdown import (
    about,
    named_rows,
    opening,
    pictures_drawn,
    plain,
    table,
    terminal,
)
from imagetext.reports.kit.tables import MODEL, not_available, with_interval

_PICTURES = {
    "cider": "CIDEr-D by photo",
    "lengths": "Length of captions",
    "training": "Training curves",
    "gallery": "The best, the middle and the worst by CIDEr-D",
}


def size(values: Mapping) -> str:
    """How much was scored: "1,000 photos with 5,000 references"."""
    return f"{values['photos']:,} photos with {values['references']:,} references"


def how_measured(values: Mapping) -> str:
    """What the figures and intervals are."""
    method = values["interval"]
    return (
        "All photos and all their references together, as the COCO caption evaluation scores them; "
        f"times 100. Intervals hold 95 % of {method['resamples']:,} bootstrap resamples of photos "
        f"(seed {method['seed']}). One for all: the most frequent training caption, said of every "
        "photo."
    )


def shown(values: Mapping) -> list[str]:
    """The figures that there are, in one order."""
    return [name for name in CAPTIONING if name in values["scores"][MODEL]]


def notes(values: Mapping) -> list[str]:
    told = [f"{note}." for note in values["notes"]]
    if values["judge"]:
        told.append(
            f"{CAPTIONING['caption_score'].label}: 2.5 times the cosine of photo and caption, "
            f"where positive, by {values['judge']}, as CLIPScore is; only scores by the same run "
            "can be compared."
        )
    return told + not_available(values)


def word_rows(values: Mapping) -> list[list[str]]:
    """Figures of single words, the true words before each given."""
    rows = [[CAPTIONING[name].label, with_interval(name, m)] for name, m in values["words"].items()]
    return [["the true words before given", MODEL], *rows]


def summary(values: Mapping, html_path: Path) -> str:
    """The report for the terminal: notices, a table, what it says, where the rest is."""
    rows = named_rows(values, shown(values), "model")
    return terminal(values, size(values), rows, notes(values), html_path)


def page(values: Mapping, pictures: Sequence[str]) -> str:
    """The whole report.md; `pictures` are the names drawn in plots/."""
    rows = named_rows(values, shown(values), "all")
    parts = opening(values, f"{size(values)}.", rows)
    if told := notes(values):
        parts.append("\n".join(f"- {plain(line)}" for line in told))
    parts.append(how_measured(values))
    if values["words"]:
        parts.append(table(word_rows(values)))
    parts += ["## What the captions are like", table(character_rows(values))]
    parts += [*pictures_drawn(_PICTURES, pictures), *about(values)]
    return "\n\n".join(parts) + "\n"
