"""The report of a matching model: scores with intervals and baselines, plots, and findings.

    report = write_report("runs/cnn", title="CNN on dev", predictions=predictions,
                          controls={"text-only": text_only}, audit=audit(splits),
                          history=history, about={"seed": 0})
    print(report.summary)

Writes `report.json`, `report.md`, `report.html` (one self-contained file), `plots/*.png` and
`predictions.csv`, with a row for each pair.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from imagetext.metrics.bootstrap import RESAMPLES, SEED, Estimate, as_dicts, subtract
from imagetext.metrics.matching import confusion, measure
from imagetext.pipelines.records import MATCH, NO_MATCH
from imagetext.reports.kit.report import (
    FORMAT,
    Report,
    describe_interval,
    jsonable,
    write_values,
)
from imagetext.reports.kit.tables import MODEL
from imagetext.reports.kit.writing import write_pages
from imagetext.reports.matching import html, markdown, plots
from imagetext.reports.matching.findings import describe_findings
from imagetext.reports.matching.gallery import choose_examples, draw_gallery
from imagetext.reports.matching.predictions import MatchPredictions, write_predictions
from imagetext.reports.matching.tables import MAJORITY


def write_report(
    folder: str | Path,
    *,
    title: str,
    predictions: MatchPredictions,
    controls: Mapping[str, MatchPredictions],
    audit: Mapping[str, Any] | None,
    history: Sequence[Mapping[str, Any]],
    about: Mapping[str, Any],
    notices: Sequence[str] = (),
    resamples: int = RESAMPLES,
    subsets: Mapping[str, np.ndarray] | None = None,
    members: Mapping[str, MatchPredictions] | None = None,
) -> Report:
    """Score, compare and draw predictions, and write everything into a folder.

    Args:
        folder: The folder, which may be that of the run.
        title: Title of the report.
        predictions: Predictions of the model.
        controls: Predictions of models that see only half of the input ("text-only",
            "image-only"), by name.
        audit: Result of `imagetext.pipelines.audit.audit`, if the splits were audited.
        history: Rows of history.csv.
        about: Any nested dictionary of facts about the run.
        notices: Warnings at the top of the report.
        resamples: Number of bootstrap resamples.
        subsets: Rows to score again on their own, bool [n], by name.
        members: Predictions of each member of an ensemble, by name.

    Returns:
        The report.
    """
    folder = Path(folder)
    values = report_values(
        title=title,
        predictions=predictions,
        controls=controls,
        audit=audit,
        history=history,
        about=about,
        notices=notices,
        resamples=resamples,
        subsets=subsets,
        members=members,
    )
    sections = choose_examples(
        predictions.probability, predictions.is_match, predictions.image, predictions.caption
    )
    html_path = write_pages(
        folder,
        values,
        history=history,
        sections=sections,
        draw_plots=partial(_draw_plots, predictions, controls),
        draw_gallery=draw_gallery,
        markdown=markdown.page,
        html=html.page,
    )
    write_predictions(folder, predictions)
    write_values(folder, values)
    return Report(markdown.summary(values, html_path), values, folder, html_path)


def report_values(
    *,
    title: str,
    predictions: MatchPredictions,
    controls: Mapping[str, MatchPredictions],
    audit: Mapping[str, Any] | None,
    history: Sequence[Mapping[str, Any]],
    about: Mapping[str, Any],
    notices: Sequence[str] = (),
    resamples: int = RESAMPLES,
    subsets: Mapping[str, np.ndarray] | None = None,
    members: Mapping[str, MatchPredictions] | None = None,
) -> dict[str, Any]:
    """All numbers and sentences of a report, ready for JSON; arguments as in `write_report`."""
    rows, matches = len(predictions.is_match), int(predictions.is_match.sum())
    label = MATCH if 2 * matches >= rows else NO_MATCH
    members = members or {}
    scorers = {
        MODEL: predictions,
        **members,
        **controls,
        MAJORITY: _predict_majority(predictions),
    }
    estimates = {name: _measure(scorer, resamples) for name, scorer in scorers.items()}
    confidence = np.maximum(predictions.probability, 1 - predictions.probability)
    values = {
        "format": FORMAT,
        "title": title,
        "notices": list(notices),
        "rows": rows,
        "images": len(set(predictions.image)),
        "matches": matches,
        "majority_label": label,
        "names": {MAJORITY: f'always "{label}"'},
        "members": list(members),
        "scores": {name: as_dicts(each) for name, each in estimates.items()},
        "subsets": {
            name: _score_subset(predictions.select(np.flatnonzero(kept)), resamples)
            for name, kept in (subsets or {}).items()
        },
        # Model minus the others, on the same resamples.
        "differences": {
            name: as_dicts(subtract(estimates[MODEL], estimates[name]))
            for name, scorer in scorers.items()
            if name != MODEL and predictions.same_rows(scorer)
        },
        "interval": describe_interval(resamples),
        "confusion": confusion(predictions.probability, predictions.is_match),
        "mean_confidence": float(confidence.mean()) if rows else None,
        "audit": audit,
        "history": list(history),
        "about": about,
    }
    values = jsonable(values)
    return {**values, "findings": describe_findings(values)}


def _measure(predictions: MatchPredictions, resamples: int) -> dict[str, Estimate]:
    return measure(
        predictions.probability,
        predictions.is_match,
        predictions.image,
        resamples=resamples,
        seed=SEED,
    )


def _score_subset(predictions: MatchPredictions, resamples: int) -> dict[str, Any]:
    """Scores of the model and the baseline on some of the rows."""
    scorers = {MODEL: predictions, MAJORITY: _predict_majority(predictions)}
    estimates = {name: _measure(scorer, resamples) for name, scorer in scorers.items()}
    return {
        "rows": len(predictions.is_match),
        "images": len(set(predictions.image)),
        "matches": int(predictions.is_match.sum()),
        "scores": {name: as_dicts(each) for name, each in estimates.items()},
    }


def _predict_majority(predictions: MatchPredictions) -> MatchPredictions:
    """The baseline: the share of matches as the probability of every row."""
    rows = len(predictions.is_match)
    share = float(predictions.is_match.mean()) if rows else 0.0
    return MatchPredictions(
        np.full(rows, share), predictions.is_match, predictions.image, predictions.caption
    )


def _draw_plots(
    predictions: MatchPredictions, controls: Mapping[str, MatchPredictions], *, dark: bool
) -> dict[str, bytes | None]:
    probability, is_match = predictions.probability, predictions.is_match
    if not len(is_match):
        return {}
    curves = {MODEL: (probability, is_match)}
    curves |= {name: (control.probability, control.is_match) for name, control in controls.items()}
    return {
        "confusion": plots.confusion_matrix(probability, is_match, dark=dark),
        "roc": plots.roc(curves, dark=dark),
        "calibration": plots.calibration(probability, is_match, dark=dark),
    }
