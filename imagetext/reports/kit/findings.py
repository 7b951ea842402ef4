"""Sentences that compare the scores of a report."""

from collections.abc import Mapping
from typing import Any, Literal

from imagetext.reports.kit.figures import Figure
from imagetext.reports.kit.tables import MODEL, scorer_name

Verdict = Literal["better", "worse", "level", "unknown"]


def judge_difference(difference: Mapping[str, Any]) -> Verdict:
    """What a difference (higher is better) and its interval say.

    Returns:
        "better" or "worse" if the interval excludes zero, "level" if it does not, and "unknown" if
        there is no interval.
    """
    if difference["low"] is None:
        return "unknown"
    if difference["low"] > 0:
        return "better"
    return "worse" if difference["high"] < 0 else "level"


def compare_with(
    values: Mapping[str, Any], scorer: str, name: str, figure: Figure, who: str = ""
) -> str:
    """A sentence about the model beside another scorer.

    Args:
        values: The values of a report.
        scorer: The key of the other scorer.
        name: Name of the figure by which they are compared.
        figure: That figure.
        who: What the sentence calls the other scorer; its name in the report by default.
    """
    who = who or scorer_name(values, scorer)
    model, other = (
        figure.format(values["scores"][each][name]["value"]) for each in (MODEL, scorer)
    )
    label = figure.label
    if label[1:2].islower():  # "Mean recall", but not "ROC AUC"
        label = label[0].lower() + label[1:]
    scores = f"{label} {model} vs. {other}"
    return {
        "better": f"The model beats {who}: {scores}.",
        "worse": f"The model does WORSE than {who}: {scores}.",
        "level": f"The model does NOT beat {who}: {scores}; the difference is not significant.",
        "unknown": (
            f"With {who}, {label} is {other}, and with the model {model}; there are too few photos "
            "to tell whether the difference is significant."
        ),
    }[judge_difference(values["differences"][scorer][name])]
