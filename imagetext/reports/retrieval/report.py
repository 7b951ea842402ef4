"""The report of a dual encoder: how well photos and captions find each other, and pictures.

    searched = Searched(photo_paths, captions, owner)
    report = write_report("runs/best-1", title="best on dev", searched=searched,
                          similarities={"model": matrix}, history=history, about={"seed": 0})
    print(report.summary)

Writes `report.json`, `report.md`, `report.html` (one file, no links outside), `plots/*.png` and
`searches.csv`, a row a caption: where its photo stands, and which one stands first.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from imagetext.files import replacing, write_text
from imagetext.metrics.bootstrap import RESAMPLES, Estimate, difference
from imagetext.metrics.retrieval.ranks import Ranks
from imagetext.metrics.retrieval.scores import CHANCE, chance, score_all
from imagetext.reports.kit import plots as shared_plots
from imagetext.reports.kit.report import (
    FORMAT,
    Report,
    interval_told,
    jsonable,
    write_pictures,
    write_values,
)
from imagetext.reports.kit.tables import MODEL
from imagetext.reports.retrieval import html, markdown, plots
from imagetext.reports.retrieval.findings import findings
from imagetext.reports.retrieval.gallery import choose, gallery
from imagetext.reports.retrieval.reranked_section import Reranked, reranked_values
from imagetext.reports.retrieval.searched import Searched

SEARCHES = "searches.csv"


def write_report(
    folder: str | Path,
    *,
    title: str,
    searched: Searched,
    similarities: Mapping[str, np.ndarray],
    history: Sequence[Mapping],
    about: Mapping,
    notices: Sequence[str] = (),
    names: Mapping[str, str] | None = None,
    reranked: Reranked | None = None,
    resamples: int = RESAMPLES,
    shown: int = 12,
) -> Report:
    """Rank, measure, compare, draw and write everything into `folder`.

    `similarities` are matrices [n, m] by the name of who found them, the model's as "model"; one
    who knows nothing is set beside them. What is `reranked` gets a part of its own; `shown`
    searches are in the gallery.
    """
    folder = Path(folder)
    matrices = {MODEL: similarities[MODEL], **similarities}
    matrices[CHANCE] = chance(len(searched.photo), searched.owner)
    ranks, measured = score_all(matrices, searched.owner, searched.caption, resamples)
    values = report_values(
        title=title,
        searched=searched,
        measured=measured,
        history=history,
        about=about,
        notices=notices,
        names=names or {},
        reranked=reranked_values(reranked, resamples) if reranked else None,
        resamples=resamples,
    )
    sections = choose(searched, ranks[MODEL], matrices[MODEL], shown)
    light, dark = (_pictures(ranks, dark=dark) for dark in (False, True))
    training = shared_plots.training_curves(history)
    drawn = write_pictures(folder, {**light, "training": training, "gallery": gallery(sections)})
    write_text(folder / "report.md", markdown.page(values, drawn))
    write_text(folder / "report.html", html.page(values, light, dark, sections))
    write_searches(folder, searched, ranks[MODEL], matrices[MODEL])
    write_values(folder, values)
    html_path = folder / "report.html"
    return Report(markdown.summary(values, html_path), values, folder, html_path)


def report_values(
    *,
    title: str,
    searched: Searched,
    measured: Mapping[str, Mapping[str, Estimate]],
    history: Sequence[Mapping],
    about: Mapping,
    notices: Sequence[str],
    names: Mapping[str, str],
    reranked: Mapping | None,
    resamples: int,
) -> dict:
    """All numbers and sentences of a report, ready for JSON. Writes nothing."""
    model = measured[MODEL]
    values = {
        "format": FORMAT,
        "task": "retrieval",
        "title": title,
        "notices": list(notices),
        "photos": len(searched.photo),
        "references": len(searched.caption),
        "shared": searched.shared,
        "scored_on": searched.digest,
        "names": {MODEL: MODEL, **names},
        "scores": {
            name: {figure: value.as_dict() for figure, value in each.items()}
            for name, each in measured.items()
        },
        # model minus the others, on the same resamples
        "differences": {
            name: {figure: difference(model[figure], each[figure]).as_dict() for figure in model}
            for name, each in measured.items()
            if name != MODEL
        },
        # The same searches after a matcher has put their first candidates into order.
        "reranked": reranked,
        "interval": interval_told(resamples),
        "history": list(history),
        "about": about,
    }
    values = jsonable(values)
    return {**values, "protocol": markdown.protocol(values), "findings": findings(values)}


def write_searches(
    folder: Path, searched: Searched, ranks: Ranks, similarities: np.ndarray
) -> None:
    """Write `searches.csv`."""
    first = similarities.argmax(axis=0).tolist()
    right = similarities[searched.owner, np.arange(len(searched.owner))].tolist()
    with (
        replacing(folder / SEARCHES) as temporary,
        # A photo's name may hold bytes that are no UTF-8; they go through as they are.
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["caption", "photo", "place", "similarity", "first"])
        for caption, owner, place, similarity, best in zip(
            searched.caption,
            searched.owner.tolist(),
            ranks.photo_ranks.tolist(),
            right,
            first,
            strict=True,
        ):
            row = [caption, searched.photo[owner], place, similarity, searched.photo[best]]
            writer.writerow(row)


def _pictures(ranks: Mapping[str, Ranks], *, dark: bool) -> dict[str, bytes | None]:
    return {
        "photos": plots.recall(ranks, "photo_ranks", dark=dark),
        "sentences": plots.recall(ranks, "caption_ranks", dark=dark),
        "places": plots.places(ranks[MODEL], dark=dark),
    }
