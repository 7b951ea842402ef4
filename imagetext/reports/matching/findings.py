"""What a matching report says, as sentences computed from its values.

for sentence in describe_findings(values):
    print(sentence)
"""

from collections.abc import Iterator, Mapping
from typing import Any

from imagetext.reports.kit.findings import compare_with, judge_difference
from imagetext.reports.kit.tables import MODEL
from imagetext.reports.matching.figures import FIGURES
from imagetext.reports.matching.tables import MAJORITY

ACCURACY, ROC_AUC = FIGURES["accuracy"], FIGURES["roc_auc"]
#: What a control does not see.
BLIND_TO = {"text-only": "the photo", "image-only": "the caption"}
#: The smallest gap between confidence and accuracy that is reported.
_CALIBRATION_GAP = 0.05


def describe_findings(values: Mapping[str, Any]) -> list[str]:
    """Sentences about the values of a report, the most important first."""
    if not values["rows"]:
        return ["This report contains no predictions."]
    return [
        *_compare_with_majority(values),
        *_compare_with_members(values),
        *_compare_with_controls(values),
        *_describe_labels(values),
        *_describe_calibration(values),
        *_describe_leaks(values["audit"]),
    ]


def _compare_with_majority(values: Mapping[str, Any]) -> Iterator[str]:
    label, accuracy = values["majority_label"], values["scores"][MODEL]["accuracy"]
    majority = ACCURACY.format(values["scores"][MAJORITY]["accuracy"]["value"])
    interval = ACCURACY.format_interval(accuracy)
    model = f"Accuracy is {ACCURACY.format(accuracy['value'])}"
    model += f" (95 % CI {interval})" if interval else ""
    lead = values["differences"][MAJORITY]["accuracy"]
    verdict = {
        "better": f"The model is better by {_format_points(lead)}.",
        "worse": f"The model is WORSE by {_format_points(lead, -1)}.",
        "level": "The difference is not significant: the model is NOT better than this constant "
        "answer.",
        "unknown": "There are too few photos to tell whether the difference is significant.",
    }[judge_difference(lead)]
    yield f'{model}, compared with {majority} for always answering "{label}". {verdict}'
    if values["matches"] in (0, values["rows"]):
        yield (
            f'All pairs are labelled "{label}", so these scores cannot show whether the model '
            "separates matches from no-matches."
        )


def _compare_with_members(values: Mapping[str, Any]) -> Iterator[str]:
    """How an ensemble compares with its best member."""
    scores = {name: values["scores"][name]["roc_auc"]["value"] for name in values["members"]}
    scores = {name: value for name, value in scores.items() if value is not None}
    together = values["scores"][MODEL]["roc_auc"]["value"]
    if not scores or together is None:
        return
    best = max(scores, key=lambda name: scores[name])
    verdict = {
        "better": f"The ensemble is better than its best member, {best}",
        "worse": f"The ensemble is WORSE than its best member, {best}",
        "level": f"The ensemble is not significantly better than its best member, {best}",
        "unknown": f"The best member of the ensemble is {best}",
    }[judge_difference(values["differences"][best]["roc_auc"])]
    yield f"{verdict}: ROC AUC {ROC_AUC.format(together)} vs. {ROC_AUC.format(scores[best])}."


def _compare_with_controls(values: Mapping[str, Any]) -> Iterator[str]:
    others = (MODEL, MAJORITY, *values["members"])
    controls = [name for name in values["scores"] if name not in others]
    if not controls and not values["members"]:
        yield (
            "No controls were trained, so this report cannot tell whether the model compares photo "
            "and caption or relies on one of them alone."
        )
    for name in controls:
        model, control = values["scores"][MODEL]["roc_auc"], values["scores"][name]["roc_auc"]
        if model["value"] is None or control["value"] is None:
            continue
        if name not in values["differences"]:
            yield (
                f"The {name} control was scored on different pairs, so the two cannot be compared "
                f"(ROC AUC {ROC_AUC.format(model['value'])} and "
                f"{ROC_AUC.format(control['value'])})."
            )
            continue
        who = f"the {name} control"
        if name in BLIND_TO:
            who += f", which never sees {BLIND_TO[name]}"
        yield compare_with(values, name, "roc_auc", ROC_AUC, who)


def _describe_labels(values: Mapping[str, Any]) -> Iterator[str]:
    match, no_match = (
        values["scores"][MODEL][f"{label}_recall"]["value"] for label in ("match", "no_match")
    )
    if match is None or no_match is None:
        return
    yield (
        f"The model recognises {FIGURES['match_recall'].format(match)} of the matches and "
        f"{FIGURES['no_match_recall'].format(no_match)} of the no-matches."
    )


def _describe_calibration(values: Mapping[str, Any]) -> Iterator[str]:
    gap = values["mean_confidence"] - values["scores"][MODEL]["accuracy"]["value"]
    if abs(gap) >= _CALIBRATION_GAP:
        adjective, side = ("overconfident", "above") if gap > 0 else ("underconfident", "below")
        yield (
            f"The model is {adjective}: its mean confidence is "
            f"{100 * values['mean_confidence']:.1f} %, {abs(100 * gap):.1f} points {side} its "
            "accuracy."
        )


def _describe_leaks(audit: Mapping[str, Any] | None) -> Iterator[str]:
    if audit is None:
        yield "The splits were not audited for leaks."
        return
    if audit["leaks"]:
        yield (
            f"Leaks between splits: {'; '.join(audit['leaks'])}. Scores are inflated on photos "
            "that the model was trained on, or that were used to choose its settings."
        )
    else:
        yield "The leak audit found no photo in more than one split."
    flips = [
        f"{pair['label_flips']['count']:,} between {' and '.join(pair['splits'])}"
        for pair in audit["pairs"]
        if pair["label_flips"]["count"]
    ]
    if flips:
        yield (
            f"Captions that occur in two splits with opposite labels: {', '.join(flips)}. They "
            "penalise a model that memorises captions."
        )


def _format_points(difference: Mapping[str, Any], sign: int = 1) -> str:
    text = f"{sign * 100 * difference['value']:.1f} points"
    if difference["low"] is None:
        return text
    low, high = sorted(sign * 100 * difference[end] for end in ("low", "high"))
    return f"{text} (95 % CI {low:.1f} to {high:.1f})"
