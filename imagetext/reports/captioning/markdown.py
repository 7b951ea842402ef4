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
    "gallery": "Best, middle and worst captions by CIDEr-D",
}


def size(values: Mapping) -> str:
    """How much was scored: "1,000 photos with 5,000 references"."""
    return f"{values['photos']:,} photos with {values['references']:,} references"


def how_measured(values: Mapping) -> str:
    """What the figures and intervals are."""
    method = values["interval"]
    return (
        "Corpus scores over all photos and all their references, as in the COCO caption"
        " evaluation, "
        f"times 100. Intervals cover 95 % of {method['resamples']:,} bootstrap resamples of photos "
        f"(seed {method['seed']}). One for all: the most frequent training caption for every photo."
    )


def shown(values: Mapping) -> list[str]:
    """The figures of this report, in a fixed order."""
    return [name for name in CAPTIONING if name in values["scores"][MODEL]]


def notes(values: Mapping) -> list[str]:
    lines = [f"{note}." for note in values["notes"]]
    if values["judge"]:
        lines.append(
            f"{CAPTIONING['caption_score'].label}: 2.5 times the cosine of photo and caption, "
            f"if positive, according to {values['judge']} (as in CLIPScore). Only scores by the"
            " same "
            "run can be compared."
        )
    return lines + not_available(values)


def word_rows(values: Mapping) -> list[list[str]]:
    """Figures of single words, given the true previous words."""
    rows = [[CAPTIONING[name].label, with_interval(name, m)] for name, m in values["words"].items()]
    return [["given the true previous words", MODEL], *rows]


def summary(values: Mapping, html_path: Path) -> str:
    """The summary for the terminal."""
    rows = named_rows(values, shown(values), "model")
    return terminal(values, size(values), rows, notes(values), html_path)


def page(values: Mapping, pictures: Sequence[str]) -> str:
    """The complete report.md; `pictures` are the names of the files in plots/."""
    rows = named_rows(values, shown(values), "all")
    parts = opening(values, f"{size(values)}.", rows)
    if lines := notes(values):
        parts.append("\n".join(f"- {plain(line)}" for line in lines))
    parts.append(how_measured(values))
    if values["words"]:
        parts.append(table(word_rows(values)))
    parts += ["## What the captions are like", table(character_rows(values))]
    parts += [*pictures_drawn(_PICTURES, pictures), *about(values)]
    return "\n\n".join(parts) + "\n"
