"""What a captioning report says, as sentences computed from its values.

for sentence in describe_findings(values):
    print(sentence)
"""

from collections.abc import Iterator, Mapping
from typing import Any

from imagetext.reports.captioning.figures import BASELINE, BASELINE_NAME, FIGURES
from imagetext.reports.captioning.statistics import format_statistic
from imagetext.reports.kit.findings import compare_with
from imagetext.reports.kit.tables import MODEL
from imagetext.terminal import plural

#: What sentences call some of the scorers.
_IN_WORDS = {"greedy": "greedy decoding", BASELINE: f"a {BASELINE_NAME}"}


def describe_findings(values: Mapping[str, Any]) -> list[str]:
    """Sentences about the values of a report, the most important first."""
    if not values["photos"]:
        return ["This report contains no captions."]
    return [
        *_describe_scores(values),
        *(
            compare_with(values, scorer, "cider_d", FIGURES["cider_d"], _IN_WORDS.get(scorer, ""))
            for scorer in values["differences"]
        ),
        *_describe_caption_score(values),
        *_describe_words(values),
        *_describe_captions(values),
    ]


def _describe_scores(values: Mapping[str, Any]) -> Iterator[str]:
    cider, bleu, meteor, rouge = (
        f"{FIGURES[name].label} {FIGURES[name].format_estimate(values['scores'][MODEL][name])}"
        for name in ("cider_d", "bleu_4", "meteor", "rouge_l")
    )
    references = values["references"] / values["photos"]
    yield (
        f"The model reaches {cider}, {bleu}, {meteor} and {rouge} (95 % CI in parentheses), with "
        f"{references:.3g} references per photo."
    )
    if values["photos"] == 1:
        yield (
            "CIDEr-D weights words by how few photos they occur with, so it is always 0 for a "
            "single photo."
        )


def _describe_caption_score(values: Mapping[str, Any]) -> Iterator[str]:
    if values["fit"]:
        figure = FIGURES["caption_score"]
        model = figure.format_estimate(values["scores"][MODEL]["caption_score"])
        people, shuffled = (figure.format(each["value"]) for each in values["fit"].values())
        yield (
            f"Without references, according to {values['judge']}, the captions score {model}, "
            f"captions by people {people}, and the model's captions of other photos {shuffled}."
        )


def _describe_words(values: Mapping[str, Any]) -> Iterator[str]:
    words = values["words"]
    if words:
        accuracy, perplexity = (
            FIGURES[name].format_estimate(words[name]) for name in ("token_accuracy", "perplexity")
        )
        yield (
            f"With teacher forcing, the model predicts {accuracy} of the words correctly; its "
            f"perplexity is {perplexity}."
        )


def _describe_captions(values: Mapping[str, Any]) -> Iterator[str]:
    model, people = values["captions"].values()
    sentence = f"{format_statistic(model, 'distinct')} of the captions are distinct"
    if model["in_training"] is not None:
        sentence += (
            f", and {format_statistic(model, 'in_training')} occur word for word in the training "
            f"captions (captions by people: {format_statistic(people, 'in_training')})"
        )
    yield f"{sentence}."
    words = f"They use {plural(model['vocabulary'], 'different word')}"
    if model["vocabulary_used"] is not None:
        words += f" ({format_statistic(model, 'vocabulary_used')} of the vocabulary)"
    yield (
        f"{words} and are {format_statistic(model, 'mean_words')} words long on average (captions "
        f"by people: {format_statistic(people, 'mean_words')})."
    )
