"""The findings of a retrieval report, in words: each sentence is computed from its values.

for sentence in findings(values): print(sentence)
"""

from collections.abc import Iterator, Mapping

from imagetext.metrics.retrieval.scores import MEAN
from imagetext.reports.kit.tables import MODEL, compared, number, with_interval
from imagetext.reports.retrieval.reranked_section import finding

#: Searches by text, and by photo.
_SIDES = {"text": "Text to photo", "photo": "Photo to text"}


def findings(values: Mapping) -> list[str]:
    """Sentences about the values of a report, the most important first."""
    reranked = [finding(values["reranked"])] if values["reranked"] else []
    return [*_recall(values), *_against_others(values), *reranked]


def _recall(values: Mapping) -> Iterator[str]:
    scores = values["scores"][MODEL]
    for side, sentence in _SIDES.items():
        recall = {k: with_interval(f"{side}_r{k}", scores[f"{side}_r{k}"]) for k in (1, 5, 10)}
        median = number(f"{side}_median", scores[f"{side}_median"]["value"])
        among = values["photos"] if side == "text" else values["references"]
        yield (
            f"{sentence}: the right result, among {among:,}, ranks first in {recall[1]} of the "
            f"searches, in the first five in {recall[5]}, and in the first ten in {recall[10]} "
            f"(95 % intervals in brackets); its median rank is {median}."
        )


def _against_others(values: Mapping) -> Iterator[str]:
    for name, differences in values["differences"].items():
        model = number(MEAN, values["scores"][MODEL][MEAN]["value"])
        other = number(MEAN, values["scores"][name][MEAN]["value"])
        yield (
            f"Compared with {values['names'].get(name, name)}, the mean of the six recalls is "
            f"{model} against {other}: "
            + {
                "above": "significantly better.",
                "below": "significantly WORSE.",
                "level": "the difference is within chance.",
                "unknown": "there are too few photos to say whether this is chance.",
            }[compared(differences[MEAN])]
        )
