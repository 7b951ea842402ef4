"""What a retrieval report says, in plain words: each sentence is computed from its values.

for sentence in findings(values): print(sentence)
"""

from collections.abc import Iterator, Mapping

from imagetext.metrics.retrieval.scores import MEAN
from imagetext.reports.kit.tables import MODEL, compared, number, with_interval
from imagetext.reports.retrieval.reranked_section import finding

#: A search that finds in the right place the text, or the photo.
_SIDES = {"text": "A caption finds its photo", "photo": "A photo finds a caption of its own"}


def findings(values: Mapping) -> list[str]:
    """Sentences about the values of a report, the most important first."""
    reranked = [finding(values["reranked"])] if values["reranked"] else []
    return [*_recall(values), *_against_others(values), *reranked]


def _recall(values: Mapping) -> Iterator[str]:
    scores = values["scores"][MODEL]
    for side, sentence in _SIDES.items():
        told = {k: with_interval(f"{side}_r{k}", scores[f"{side}_r{k}"]) for k in (1, 5, 10)}
        median = number(f"{side}_median", scores[f"{side}_median"]["value"])
        among = values["photos"] if side == "text" else values["references"]
        yield (
            f"{sentence}, among {among:,}, in the first place in {told[1]} of the searches, in the "
            f"first five in {told[5]}, in the first ten in {told[10]} (in brackets 95 % "
            f"intervals); the median place is {median}."
        )


def _against_others(values: Mapping) -> Iterator[str]:
    for name, differences in values["differences"].items():
        model = number(MEAN, values["scores"][MODEL][MEAN]["value"])
        other = number(MEAN, values["scores"][name][MEAN]["value"])
        yield (
            f"Against {values['names'].get(name, name)}, the mean of the six recalls is {model} to "
            f"{other}: "
            + {
                "above": "better.",
                "below": "WORSE.",
                "level": "the difference is within chance.",
                "unknown": "there are too few photos to tell whether the difference is chance.",
            }[compared(differences[MEAN])]
        )
