"""The findings of a matching report, in words: each sentence is computed from its values.

for sentence in findings(values): print(sentence)
"""

from collections.abc import Iterator, Mapping

from imagetext.reports.kit.tables import MODEL, compared, interval, number
from imagetext.reports.matching.tables import MAJORITY

#: A gap between confidence and accuracy that is worth mentioning.
_OFF_BY = 0.05


def findings(values: Mapping) -> list[str]:
    """Sentences about the values of a report, the most important first.

    findings(read_report("runs/cnn"))[0]
    """
    if not values["rows"]:
        return ["There are no predictions in this report, so there is nothing to say."]
    return [
        *_against_majority(values),
        *_against_members(values),
        *_against_controls(values),
        *_by_class(values),
        *_calibration(values),
        *_leaks(values["audit"]),
    ]


def _against_majority(values: Mapping) -> Iterator[str]:
    accuracy = values["scores"][MODEL]["accuracy"]
    share = number("accuracy", values["scores"][MAJORITY]["accuracy"]["value"])
    between = interval("accuracy", accuracy)
    answer = f"The model is right for {number('accuracy', accuracy['value'])} of the pairs"
    answer += f" (95 % interval {between})" if between else ""
    always = f'always answering "{values["majority_label"]}" is right for {share}'
    lead = values["differences"][MAJORITY]["accuracy"]
    verdict = {
        "above": f"The model is better by {_points(lead)}.",
        "below": f"The model is worse by {_points(lead, -1)}.",
        "level": "The difference is within chance: by accuracy, the model is "
        "NOT better than this constant answer.",
        "unknown": "There are too few photos to say whether this is chance.",
    }[compared(lead)]
    yield f"{answer}; {always}. {verdict}"
    if values["matches"] in (0, values["rows"]):
        yield (
            f'All rows are "{values["majority_label"]}", so this report cannot show whether the'
            " model "
            "distinguishes the classes."
        )


def _against_members(values: Mapping) -> Iterator[str]:
    """How an ensemble compares with its best member."""
    members = values.get("members") or []
    scores = {name: values["scores"][name]["roc_auc"]["value"] for name in members}
    scores = {name: value for name, value in scores.items() if value is not None}
    together = values["scores"][MODEL]["roc_auc"]["value"]
    if not scores or together is None:
        return
    best = max(scores, key=lambda name: scores[name])
    yield {
        "above": f"The ensemble is better than its best member, {best}",
        "below": f"The ensemble is WORSE than its best member, {best}",
        "level": f"The ensemble is not better than its best member, {best}, by more than chance",
        "unknown": f"The best member of the ensemble is {best}",
    }[compared(values["differences"][best]["roc_auc"])] + (
        f": ROC AUC {number('roc_auc', together)} against {number('roc_auc', scores[best])}."
    )


def _against_controls(values: Mapping) -> Iterator[str]:
    others = (MODEL, MAJORITY, *(values.get("members") or []))
    controls = [name for name in values["scores"] if name not in others]
    if not controls and not values.get("members"):
        yield (
            "No controls were trained, so this report cannot say whether the model compares photo "
            "and caption or uses only one of them."
        )
    for name in controls:
        model, control = values["scores"][MODEL]["roc_auc"], values["scores"][name]["roc_auc"]
        if model["value"] is None or control["value"] is None:
            continue
        scores = (
            f"{number('roc_auc', model['value'])} against {number('roc_auc', control['value'])}"
        )
        difference = values["differences"].get(name)
        if difference is None:
            yield (
                f"The {name} control was scored on other rows, so the comparison is not fair"
                f" ({scores})."
            )
            continue
        sees = {"text-only": "never sees the photo", "image-only": "never sees the caption"}
        who = f"the {name} control" + (f", which {sees[name]}" if name in sees else "")
        yield {
            "above": f"The model beats {who}: ROC AUC {scores}.",
            "below": f"The model does WORSE than {who}: ROC AUC {scores}.",
            "level": f"The model does NOT beat {who}: ROC AUC {scores}, within chance.",
            "unknown": f"Compared with {who}, ROC AUC is {scores}; there are too few photos to"
            " say more.",
        }[compared(difference["roc_auc"])]


def _by_class(values: Mapping) -> Iterator[str]:
    match = values["scores"][MODEL]["match_recall"]["value"]
    no_match = values["scores"][MODEL]["no_match_recall"]["value"]
    if match is None or no_match is None:
        return
    yield (
        f"It recognises {number('match_recall', match)} of the matches and "
        f"{number('no_match_recall', no_match)} of the no-matches."
    )


def _calibration(values: Mapping) -> Iterator[str]:
    gap = values["mean_confidence"] - values["scores"][MODEL]["accuracy"]["value"]
    if abs(gap) >= _OFF_BY:
        manner = "overconfident" if gap > 0 else "underconfident"
        yield (
            f"The model is {manner}: its mean confidence is"
            f" {100 * values['mean_confidence']:.1f} %, "
            f"{abs(100 * gap):.1f} points {'above' if gap > 0 else 'below'} its accuracy."
        )


def _leaks(audit: Mapping | None) -> Iterator[str]:
    if audit is None:
        yield "The splits were not audited for leaks."
        return
    leaks = audit["leaks"]
    if leaks:
        yield (
            f"Leaks between splits: {'; '.join(leaks)}. Scores are too optimistic for photos that "
            "were used for training or for choosing settings."
        )
    else:
        yield "The leak audit found no photo in two splits."
    flips = [
        f"{pair['label_flips']['count']:,} between {' and '.join(pair['splits'])}"
        for pair in audit["pairs"]
        if pair["label_flips"]["count"]
    ]
    if flips:
        yield (
            f"Captions that appear in two splits with opposite labels: {', '.join(flips)}. "
            "They penalise a model that memorises captions."
        )


def _points(difference: Mapping, sign: int = 1) -> str:
    points = f"{sign * 100 * difference['value']:.1f} points"
    if difference["low"] is None:
        return points
    low, high = sorted(sign * 100 * difference[end] for end in ("low", "high"))
    return f"{points} (95 % interval {low:.1f} to {high:.1f})"
