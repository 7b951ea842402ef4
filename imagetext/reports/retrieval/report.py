"""The report of a retrieval model: how well photos and captions find each other.

    search_set = SearchSet(photo_paths, captions, owner)
    report = write_report("runs/best-1", title="best on dev", search_set=search_set,
                          similarities={"model": matrix}, history=history, about={"seed": 0})
    print(report.summary)

Writes `report.json`, `report.md`, `report.html` (one self-contained file), `plots/*.png` and
`searches.csv`, with a row for each caption.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from imagetext.metrics.bootstrap import RESAMPLES, Estimate, as_dicts, subtract
from imagetext.metrics.retrieval.ranks import Ranks
from imagetext.metrics.retrieval.scores import CHANCE, chance, score_all
from imagetext.reports.kit.report import (
    FORMAT,
    Report,
    describe_interval,
    jsonable,
    write_values,
)
from imagetext.reports.kit.tables import MODEL
from imagetext.reports.kit.writing import write_pages
from imagetext.reports.retrieval import html, markdown, plots
from imagetext.reports.retrieval.findings import describe_findings
from imagetext.reports.retrieval.gallery import choose_examples, draw_gallery
from imagetext.reports.retrieval.reranking import Reranking, reranking_values
from imagetext.reports.retrieval.search_set import SearchSet, write_searches


def write_report(
    folder: str | Path,
    *,
    title: str,
    search_set: SearchSet,
    similarities: Mapping[str, np.ndarray],
    history: Sequence[Mapping[str, Any]],
    about: Mapping[str, Any],
    notices: Sequence[str] = (),
    names: Mapping[str, str] | None = None,
    reranking: Reranking | None = None,
    resamples: int = RESAMPLES,
    examples: int = 12,
) -> Report:
    """Rank, score, compare and draw searches, and write everything into a folder.

    Args:
        folder: The folder, which may be that of the run.
        title: Title of the report.
        search_set: Photos and captions.
        similarities: Matrices [n, m], n photos by m captions: "model", and others by name. Random
            similarities are added as a baseline.
        history: Rows of history.csv.
        about: Any nested dictionary of facts about the run.
        notices: Warnings at the top of the report.
        names: What the report calls the model and the others.
        reranking: The result of re-ranking, reported in a section of its own.
        resamples: Number of bootstrap resamples.
        examples: Searches in the gallery.

    Returns:
        The report.
    """
    folder = Path(folder)
    matrices = {MODEL: similarities[MODEL], **similarities}
    matrices[CHANCE] = chance(len(search_set.photo), search_set.owner)
    ranks, estimates = score_all(matrices, search_set.owner, search_set.caption, resamples)
    values = report_values(
        title=title,
        search_set=search_set,
        estimates=estimates,
        history=history,
        about=about,
        notices=notices,
        names=names or {},
        reranked=reranking_values(reranking, resamples) if reranking else None,
        resamples=resamples,
    )
    sections = choose_examples(search_set, ranks[MODEL], matrices[MODEL], examples)
    html_path = write_pages(
        folder,
        values,
        history=history,
        sections=sections,
        draw_plots=partial(_draw_plots, ranks),
        draw_gallery=draw_gallery,
        markdown=markdown.page,
        html=html.page,
    )
    write_searches(folder, search_set, ranks[MODEL], matrices[MODEL])
    write_values(folder, values)
    return Report(markdown.summary(values, html_path), values, folder, html_path)


def report_values(
    *,
    title: str,
    search_set: SearchSet,
    estimates: Mapping[str, Mapping[str, Estimate]],
    history: Sequence[Mapping[str, Any]],
    about: Mapping[str, Any],
    notices: Sequence[str],
    names: Mapping[str, str],
    reranked: Mapping[str, Any] | None,
    resamples: int,
) -> dict[str, Any]:
    """All numbers and sentences of a report, ready for JSON.

    Args:
        estimates: Scores of the model and the others, by name.
        reranked: Values of the section about re-ranking.

    The other arguments are those of `write_report`.
    """
    model = estimates[MODEL]
    values = {
        "format": FORMAT,
        "task": "retrieval",
        "title": title,
        "notices": list(notices),
        "photos": len(search_set.photo),
        "references": len(search_set.caption),
        "shared": search_set.shared,
        "scored_on": search_set.digest,
        "names": {MODEL: MODEL, **names},
        "scores": {name: as_dicts(each) for name, each in estimates.items()},
        # Model minus the others, on the same resamples.
        "differences": {
            name: as_dicts(subtract(model, each))
            for name, each in estimates.items()
            if name != MODEL
        },
        "reranked": reranked,
        "interval": describe_interval(resamples),
        "history": list(history),
        "about": about,
    }
    values = jsonable(values)
    protocol = markdown.describe_protocol(values)
    return {**values, "protocol": protocol, "findings": describe_findings(values)}


def _draw_plots(ranks: Mapping[str, Ranks], *, dark: bool) -> dict[str, bytes | None]:
    return {
        "photos": plots.recall(ranks, "photo_ranks", dark=dark),
        "sentences": plots.recall(ranks, "caption_ranks", dark=dark),
        "places": plots.rank_distribution(ranks[MODEL], dark=dark),
    }
