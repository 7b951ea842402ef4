"""What `compare` shows of matching runs."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imagetext.errors import UserError
from imagetext.metrics.matching import measure
from imagetext.pipelines.records import MATCH, NO_MATCH
from imagetext.reports.comparison.scored_runs import OTHERS_REMEDY, ScoredRun, evaluate_command
from imagetext.reports.comparison.spec import ComparisonSpec
from imagetext.reports.matching.markdown import size
from imagetext.reports.matching.report import PREDICTIONS, MatchPredictions, read_predictions
from imagetext.reports.matching.tables import MAJORITY


def refuse_other_rows(runs: Sequence[ScoredRun]) -> None:
    """Scores compare only where all were asked the same."""
    remedy = OTHERS_REMEDY
    kinds: dict[tuple, list[str]] = {}
    for run in runs:
        about, report = run.report["about"].get("data", {}), run.report
        task, split = run.task, about.get("split")
        size = (report["rows"], report["images"], report["matches"])
        kinds.setdefault((task, split, *size), []).append(run.folder)
    if len(kinds) > 1:
        lines = [
            f"  {task} on {split}, {rows:,} rows of {images:,} photos, {matches:,} matches: "
            + ", ".join(folders)
            for (task, split, rows, images, matches), folders in kinds.items()
        ]
        raise UserError("\n".join([f"these runs were scored on different rows; {remedy}", *lines]))
    answered = [run for run in runs if run.answers is not None]
    for other in answered[1:]:
        if not other.answers.same_rows(answered[0].answers):
            found, expected = _rows(other), _rows(answered[0])
            row = min((found - expected) + (expected - found))
            holder = other if found[row] > expected[row] else answered[0]
            how = "more often" if found[row] and expected[row] else "only"
            photo, caption, is_match = row
            label = MATCH if is_match else NO_MATCH
            raise UserError(
                f"{answered[0].folder} and {other.folder} were scored on different rows: {photo} "
                f'with "{caption}" ({label}) is {how} in {holder.folder}; {remedy}'
            )


def _rows(run: ScoredRun) -> Counter[tuple[str, str, bool]]:
    answers = run.answers
    return Counter(zip(answers.image, answers.caption, answers.is_match.tolist(), strict=True))


def in_one_order(predictions: MatchPredictions) -> MatchPredictions:
    """The same rows sorted, the photos named below the folder that holds them all.

    So two runs pair up though one read its rows in another order, or from a copy of the data.
    """
    try:
        root = os.path.commonpath([Path(photo).parent for photo in predictions.image])
        images = [os.path.relpath(photo, root or ".") for photo in predictions.image]
    except ValueError:  # no rows, or no folder in common
        images = list(predictions.image)
    keys = list(zip(images, predictions.caption, predictions.is_match.tolist(), strict=True))
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return MatchPredictions(
        predictions.probability[order],
        predictions.is_match[order],
        tuple(images[row] for row in order),
        tuple(predictions.caption[row] for row in order),
    )


def read_answers(folder: Path) -> MatchPredictions | None:
    """The predictions of a run, if they were kept, in an order that all runs share."""
    if not (folder / PREDICTIONS).is_file():
        return None
    return in_one_order(read_predictions(folder))


def ensemble(runs: Sequence[ScoredRun]) -> Mapping[str, Any]:
    """The mean of all runs' probabilities, measured as one model."""
    silent = [run for run in runs if run.answers is None]
    if silent:
        commands = [f"  {evaluate_command(run.folder, run.split)}" for run in silent]
        message = "an ensemble needs the predictions.csv of each run; evaluate these again:"
        raise UserError("\n".join([message, *commands]))
    answers = runs[0].answers
    mean = np.mean([run.answers.probability for run in runs], axis=0)
    measured = measure(mean, answers.is_match, answers.image)
    return {name: value.as_dict() for name, value in measured.items()}


def explain(values: Mapping) -> list[str]:
    return [
        f'majority: always "{values["majority_label"]}".',
        "parameters: of the trained model; with frozen encoders: including the encoders in front "
        "of it; minutes: training time, without the computation of features; images/s: photos "
        "per second in training.",
    ]


COMPARISON = ComparisonSpec(
    shown={
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced accuracy",
        "roc_auc": "ROC AUC",
    },
    costs=(
        "parameters",
        "trainable",
        "with frozen encoders",
        "minutes",
        "images/s",
        "extra captions",
    ),
    sorted_by="roc_auc",
    baseline=MAJORITY,
    explain=explain,
    size=("rows", "images", "matches", "majority_label"),
    describe_size=size,
    refuse_others=refuse_other_rows,
    read_answers=read_answers,
    ensemble=ensemble,
)
