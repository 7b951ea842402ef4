"""The report of a matching model: numbers with intervals, baselines, pictures, and what they say.

    report = write_report("runs/cnn", title="CNN on dev", predictions=predictions,
                          controls={"text-only": text_only}, audit=audit(splits),
                          history=history, about={"seed": 0})
    print(report.summary)

Writes `report.json`, `report.md`, `report.html` (one file, no links outside), `plots/*.png` and
`predictions.csv`, a row a pair: what the model was asked, what is true, what it said.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagetext.errors import DataError, Problem, UserError
from imagetext.files import replacing, write_text
from imagetext.metrics.bootstrap import RESAMPLES, SEED, Estimate, difference
from imagetext.metrics.matching import confusion, measure
from imagetext.pipelines.records import LABELS, MATCH, NO_MATCH
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
from imagetext.reports.matching import html, markdown, plots
from imagetext.reports.matching.findings import findings
from imagetext.reports.matching.gallery import choose, gallery
from imagetext.reports.matching.tables import MAJORITY

PREDICTIONS = "predictions.csv"
COLUMNS = ["photo", "caption", "label", "match_probability"]


@dataclass(frozen=True)
class MatchPredictions:
    """What one model says about n rows, and the truth."""

    probability: np.ndarray  # [n] P(match)
    is_match: np.ndarray  # [n] bool
    image: tuple[str, ...]  # [n] photo paths
    caption: tuple[str, ...]  # [n]

    def __post_init__(self):
        object.__setattr__(self, "probability", np.asarray(self.probability, np.float64))
        object.__setattr__(self, "is_match", np.asarray(self.is_match, bool))
        lengths = [len(column) for column in vars(self).values()]
        if len(set(lengths)) > 1:
            raise ValueError(f"columns of different lengths: {lengths}")

    def where(self, kept: np.ndarray) -> "MatchPredictions":
        """What it says about the rows for which `kept`, bool [n], is true."""
        rows = np.flatnonzero(kept)
        images, captions = ([column[row] for row in rows] for column in (self.image, self.caption))
        return MatchPredictions(
            self.probability[rows], self.is_match[rows], tuple(images), tuple(captions)
        )

    def same_rows(self, other: "MatchPredictions") -> bool:
        """Whether both speak about the same rows in the same order, so that they pair up."""
        return (
            self.image == other.image
            and self.caption == other.caption
            and np.array_equal(self.is_match, other.is_match)
        )


def write_report(
    folder: str | Path,
    *,
    title: str,
    predictions: MatchPredictions,
    controls: Mapping[str, MatchPredictions],
    audit: Mapping | None,
    history: Sequence[Mapping],
    about: Mapping,
    notices: Sequence[str] = (),
    resamples: int = RESAMPLES,
    subsets: Mapping[str, np.ndarray] | None = None,
    members: Mapping[str, MatchPredictions] | None = None,
) -> Report:
    """Measure, compare, draw and write everything into `folder`.

    `controls` are models that see half of the input ("text-only", "image-only"); may be empty.
    `audit` comes from `imagetext.pipelines.audit.audit`. `about` is any nested dict worth
    keeping. `subsets` say by name which rows, bool [n], are scored once more for themselves.
    `members` are the models of an ensemble, each scored alone beside it.
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
    sections = choose(
        predictions.probability, predictions.is_match, predictions.image, predictions.caption
    )
    light, dark = (_pictures(predictions, controls, dark=dark) for dark in (False, True))
    training = shared_plots.training_curves(history)
    drawn = write_pictures(folder, {**light, "training": training, "gallery": gallery(sections)})
    write_text(folder / "report.md", markdown.page(values, drawn))
    write_text(folder / "report.html", html.page(values, light, dark, sections))
    write_predictions(folder, predictions)
    write_values(folder, values)
    html_path = folder / "report.html"
    return Report(markdown.summary(values, html_path), values, folder, html_path)


def write_predictions(folder: str | Path, predictions: MatchPredictions) -> None:
    """Write `predictions.csv`; the probabilities in full, so that reading gives the same back."""
    labels = [MATCH if is_match else NO_MATCH for is_match in predictions.is_match]
    probability = predictions.probability.tolist()
    columns = (predictions.image, predictions.caption, labels, probability)
    with (
        replacing(Path(folder) / PREDICTIONS) as temporary,
        # A photo's name may hold bytes that are no UTF-8; they go through as they are.
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(zip(*columns, strict=True))


def read_predictions(folder: str | Path) -> MatchPredictions:
    """The answers of a report written earlier: read_predictions("runs/cnn").probability"""
    path = Path(folder) / PREDICTIONS
    rows = []
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            reader = csv.reader(file)
            if next(reader, None) != COLUMNS:
                raise _bad_row(path, 1, f"expected the columns {', '.join(COLUMNS)}")
            for row in reader:
                rows.append(_answer(row, path, reader.line_num))
    except FileNotFoundError:
        raise UserError(f"{path}: no predictions here; evaluate the run again") from None
    except (OSError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error}); evaluate the run again") from error
    photos, captions, is_match, probability = zip(*rows, strict=True) if rows else ((),) * 4
    return MatchPredictions(np.array(probability), np.array(is_match), photos, captions)


def report_values(
    *,
    title: str,
    predictions: MatchPredictions,
    controls: Mapping[str, MatchPredictions],
    audit: Mapping | None,
    history: Sequence[Mapping],
    about: Mapping,
    notices: Sequence[str] = (),
    resamples: int = RESAMPLES,
    subsets: Mapping[str, np.ndarray] | None = None,
    members: Mapping[str, MatchPredictions] | None = None,
) -> dict:
    """All numbers and sentences of a report, ready for JSON. Writes nothing."""
    rows, matches = len(predictions.is_match), int(predictions.is_match.sum())
    label = MATCH if 2 * matches >= rows else NO_MATCH
    members = members or {}
    scorers = {MODEL: predictions, **members, **controls, MAJORITY: _majority(predictions)}
    measured = {name: _measure(scorer, resamples) for name, scorer in scorers.items()}
    differences = {
        name: _differences(measured[MODEL], measured[name])
        for name, scorer in scorers.items()
        if name != MODEL and predictions.same_rows(scorer)
    }
    confidence = np.maximum(predictions.probability, 1 - predictions.probability)
    values = {
        "format": FORMAT,
        "title": title,
        "notices": list(notices),
        "rows": rows,
        "images": len(set(predictions.image)),
        "matches": matches,
        "majority_label": label,
        "members": list(members),
        "scores": _as_dicts(measured),
        "subsets": {
            name: _subset(predictions.where(kept), resamples)
            for name, kept in (subsets or {}).items()
        },
        # model minus scorer, on the same resamples
        "differences": differences,
        "interval": interval_told(resamples),
        "confusion": confusion(predictions.probability, predictions.is_match),
        "mean_confidence": float(confidence.mean()) if rows else None,
        "audit": audit,
        "history": list(history),
        "about": about,
    }
    values = jsonable(values)
    return {**values, "findings": findings(values)}


def _answer(row: list[str], path: Path, line: int) -> tuple[str, str, bool, float]:
    if len(row) != len(COLUMNS):
        raise _bad_row(path, line, f"{len(row)} cells instead of {len(COLUMNS)}")
    photo, caption, label, said = row
    if label not in LABELS:
        raise _bad_row(path, line, f"unknown label {label!r}")
    try:
        probability = float(said)
    except ValueError:
        probability = math.nan
    if not 0 <= probability <= 1:
        raise _bad_row(path, line, f"{said!r} is not a probability")
    return photo, caption, label == MATCH, probability


def _bad_row(path: Path, line: int, what: str) -> DataError:
    return DataError([Problem(path, line, what, "evaluate the run again")])


def _measure(scorer: MatchPredictions, resamples: int) -> dict[str, Estimate]:
    return measure(
        scorer.probability, scorer.is_match, scorer.image, resamples=resamples, seed=SEED
    )


def _as_dicts(measured: Mapping[str, Mapping[str, Estimate]]) -> dict:
    return {
        name: {metric: value.as_dict() for metric, value in of_scorer.items()}
        for name, of_scorer in measured.items()
    }


def _subset(predictions: MatchPredictions, resamples: int) -> dict:
    """How the model and the constant answer fare on some of the rows."""
    scorers = {MODEL: predictions, MAJORITY: _majority(predictions)}
    measured = {name: _measure(scorer, resamples) for name, scorer in scorers.items()}
    return {
        "rows": len(predictions.is_match),
        "images": len(set(predictions.image)),
        "matches": int(predictions.is_match.sum()),
        "scores": _as_dicts(measured),
    }


def _majority(predictions: MatchPredictions) -> MatchPredictions:
    """The constant answer: the share of matches as probability for every row."""
    rows = len(predictions.is_match)
    share = float(predictions.is_match.mean()) if rows else 0.0
    return MatchPredictions(
        np.full(rows, share), predictions.is_match, predictions.image, predictions.caption
    )


def _differences(model: Mapping[str, Estimate], other: Mapping[str, Estimate]) -> dict:
    return {name: difference(model[name], other[name]).as_dict() for name in model}


def _pictures(
    predictions: MatchPredictions,
    controls: Mapping[str, MatchPredictions],
    *,
    dark: bool,
) -> dict[str, bytes | None]:
    probability, is_match = predictions.probability, predictions.is_match
    if not len(is_match):
        return {}
    scores = {MODEL: (probability, is_match)}
    scores |= {name: (control.probability, control.is_match) for name, control in controls.items()}
    return {
        "confusion": plots.confusion_matrix(probability, is_match, dark=dark),
        "roc": plots.roc(scores, dark=dark),
        "calibration": plots.calibration(probability, is_match, dark=dark),
    }
