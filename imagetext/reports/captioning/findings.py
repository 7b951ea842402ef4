"""The findings of a captioning report, in words: each sentence is computed from its values.

for sentence in findings(values): print(sentence)
"""

from collections.abc import Iterator, Mapping

from imagetext.reports.captioning.character import written
from imagetext.reports.kit.tables import MODEL, compared, number, with_interval
from imagetext.terminal import plural


def findings(values: Mapping) -> list[str]:
    """Sentences about the values of a report, the most important first."""
    if not values["photos"]:
        return ["There are no captions in this report, so there is nothing to say."]
    return [
        *_scores(values),
        *_against_others(values),
        *_fit(values),
        *_words(values),
        *_character(values),
    ]


def _scores(values: Mapping) -> Iterator[str]:
    scores = {
        name: with_interval(name, values["scores"][MODEL][name])
        for name in ("cider_d", "bleu_4", "meteor", "rouge_l")
    }
    each = values["references"] / values["photos"]
    yield (
        f"CIDEr-D is {scores['cider_d']}, BLEU-4 {scores['bleu_4']}, METEOR {scores['meteor']},"
        " ROUGE-L "
        f"{scores['rouge_l']} (95 % intervals in brackets), with {each:.3g} references per photo."
    )
    if values["photos"] == 1:
        yield (
            "CIDEr-D gives more weight to words that few photos have in their references: for a"
            " single "
            "photo it is always 0."
        )


def _against_others(values: Mapping) -> Iterator[str]:
    for name, differences in values["differences"].items():
        model = number("cider_d", values["scores"][MODEL]["cider_d"]["value"])
        other = number("cider_d", values["scores"][name]["cider_d"]["value"])
        who = values["names"].get(name, name)
        yield (
            f"Compared with {who}, CIDEr-D is {model} against {other}: "
            + {
                "above": "significantly better.",
                "below": "significantly WORSE.",
                "level": "the difference is within chance.",
                "unknown": "there are too few photos to say whether this is chance.",
            }[compared(differences["cider_d"])]
        )


def _fit(values: Mapping) -> Iterator[str]:
    if values["fit"]:
        model = with_interval("caption_score", values["scores"][MODEL]["caption_score"])
        people, exchanged = (
            number("caption_score", measured["value"]) for measured in values["fit"].values()
        )
        yield (
            f"Without references, {values['judge']} gives the captions a score of {model};"
            " captions "
            f"by people score {people}, and the same captions shuffled among the photos "
            f"{exchanged}."
        )


def _words(values: Mapping) -> Iterator[str]:
    words = values["words"]
    if words:
        yield (
            f"Given the true previous words, the model predicts the next word correctly in "
            f"{with_interval('token_accuracy', words['token_accuracy'])} of cases; its perplexity "
            f"is {with_interval('perplexity', words['perplexity'])}."
        )


def _character(values: Mapping) -> Iterator[str]:
    model, person = values["captions"].values()
    sentence = f"{written(model, 'distinct')} of the captions are distinct"
    if model["in_training"] is not None:
        sentence += (
            f", and {written(model, 'in_training')} occur word for word in the training captions "
            f"(captions by people: {written(person, 'in_training')})"
        )
    used = f"; they use {plural(model['vocabulary'], 'different word')}"
    if model["vocabulary_used"] is not None:
        used += f", {written(model, 'vocabulary_used')} of the vocabulary"
    yield (
        f"{sentence}{used} and have {written(model, 'mean_words')} words on average (by people: "
        f"{written(person, 'mean_words')})."
    )
