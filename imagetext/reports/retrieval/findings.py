"""What a retrieval report says, as sentences computed from its values.

for sentence in describe_findings(values):
    print(sentence)
"""

from collections.abc import Iterator, Mapping
from typing import Any

from imagetext.metrics.retrieval.scores import MEAN
from imagetext.reports.kit.findings import compare_with
from imagetext.reports.kit.tables import MODEL
from imagetext.reports.retrieval.figures import FIGURES
from imagetext.reports.retrieval.reranking import summarize


def describe_findings(values: Mapping[str, Any]) -> list[str]:
    """Sentences about the values of a report, the most important first."""
    reranking = [summarize(values["reranked"])] if values["reranked"] else []
    return [
        *_describe_recall(values),
        *(compare_with(values, scorer, MEAN, FIGURES[MEAN]) for scorer in values["differences"]),
        *reranking,
    ]


def _describe_recall(values: Mapping[str, Any]) -> Iterator[str]:
    scores = values["scores"][MODEL]
    for side, direction, result, count in (
        ("text", "Text to photo", "the correct photo", values["photos"]),
        ("photo", "Photo to text", "a correct caption", values["references"]),
    ):
        first, five, ten = (
            FIGURES[f"{side}_r{k}"].format_estimate(scores[f"{side}_r{k}"]) for k in (1, 5, 10)
        )
        median = FIGURES[f"{side}_median"].format(scores[f"{side}_median"]["value"])
        yield (
            f"{direction}: {result} ranks first among {count:,} in {first} of the searches, in the "
            f"top 5 in {five}, and in the top 10 in {ten}; the median rank is {median}."
        )
