"""What `compare` shows of matching runs."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imagetext.errors import UserError
from imagetext.metrics.bootstrap import as_dicts
from imagetext.metrics.matching import measure
from imagetext.pipelines.records import MATCH, NO_MATCH
from imagetext.reports.comparison.scored_runs import evaluate_command
from imagetext.reports.comparison.spec import (
    MINUTES,
    PARAMETERS,
    SAME_DATA,
    TRAINABLE,
    ComparisonSpec,
    Cost,
    ScoredRun,
)
from imagetext.reports.matching.figures import FIGURES
from imagetext.reports.matching.markdown import describe_size
from imagetext.reports.matching.predictions import (
    PREDICTIONS,
    MatchPredictions,
    read_predictions,
)
from imagetext.reports.matching.tables import MAJORITY


def read_sorted_predictions(folder: Path) -> MatchPredictions | None:
    """The predictions of a run in an order that all runs share; None if they were not kept."""
    if not (folder / PREDICTIONS).is_file():
        return None
    return sort_rows(read_predictions(folder))


def sort_rows(predictions: MatchPredictions) -> MatchPredictions:
    """Sort the rows, and name photos relative to the folder that contains them all.

    So the rows of two runs pair up even if one read them in another order, or from a copy of the
    data.
    """
    try:
        root = os.path.commonpath([Path(photo).parent for photo in predictions.image])
        images = [os.path.relpath(photo, root or ".") for photo in predictions.image]
    except ValueError:  # no rows, or no common folder
        images = list(predictions.image)
    keys = list(zip(images, predictions.caption, predictions.is_match.tolist(), strict=True))
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return MatchPredictions(
        predictions.probability[order],
        predictions.is_match[order],
        tuple(images[row] for row in order),
        tuple(predictions.caption[row] for row in order),
    )


def check_same_rows(runs: Sequence[ScoredRun]) -> None:
    """Refuse runs with predictions of different rows."""
    kept = [run for run in runs if run.predictions is not None]
    for other in kept[1:]:
        first = kept[0]
        if not other.predictions.same_rows(first.predictions):
            rows, expected = _count_rows(other), _count_rows(first)
            row = min((rows - expected) + (expected - rows))
            owner = other if rows[row] > expected[row] else first
            how = "more often" if rows[row] and expected[row] else "only"
            photo, caption, is_match = row
            label = MATCH if is_match else NO_MATCH
            raise UserError(
                f"{first.folder} and {other.folder} were scored on different rows: {photo} "
                f'with "{caption}" ({label}) is {how} in {owner.folder}; {SAME_DATA}'
            )


def _count_rows(run: ScoredRun) -> Counter[tuple[str, str, bool]]:
    rows = run.predictions
    return Counter(zip(rows.image, rows.caption, rows.is_match.tolist(), strict=True))


def average(runs: Sequence[ScoredRun]) -> Mapping[str, Any]:
    """Score the mean of all runs' probabilities as one model."""
    missing = [run for run in runs if run.predictions is None]
    if missing:
        commands = [f"  {evaluate_command(run.folder, run.split)}" for run in missing]
        message = "--ensemble: needs the predictions.csv of each run; evaluate these runs again:"
        raise UserError("\n".join([message, *commands]))
    first = runs[0].predictions
    mean = np.mean([run.predictions.probability for run in runs], axis=0)
    return as_dicts(measure(mean, first.is_match, first.image))


def explain(values: Mapping[str, Any]) -> list[str]:
    """What the rows and columns are."""
    return [
        f'majority: always answers "{values["majority_label"]}".',
        "parameters: those of the trained model; with frozen encoders: including the encoders that "
        "compute its features; minutes: training time, without the computation of features; "
        "images/s: photos per second during training.",
    ]


def _most_captions(values: list[Mapping[str, Any] | None]) -> Mapping[str, Any] | None:
    """The extra captions of several runs. Those with the same settings share them."""
    return max(filter(None, values), key=lambda each: each["captions"], default=None)


COMPARISON = ComparisonSpec(
    figures={name: FIGURES[name] for name in ("accuracy", "balanced_accuracy", "roc_auc")},
    headings={"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy"},
    sort_by="roc_auc",
    baseline=MAJORITY,
    size=("rows", "images", "matches", "majority_label"),
    describe_size=describe_size,
    costs=(
        PARAMETERS,
        TRAINABLE,
        Cost(
            "with frozen encoders",
            "with_frozen_encoders",
            ("about", "model", "with frozen encoders"),
            always_shown=False,
        ),
        MINUTES,
        Cost("images/s", "images_per_second", ("about", "training", "images per second")),
        Cost(
            "extra captions",
            "extra_captions",
            ("about", "extra captions"),
            format=lambda extra: f"{extra['captions']:,} of {extra['photos']:,} photos",
            total=_most_captions,
            always_shown=False,
        ),
    ),
    explain=explain,
    read_predictions=read_sorted_predictions,
    check=check_same_rows,
    average=average,
)
