"""What a captioning report says, in plain words: each sentence is computed from its values.

for sentence in findings(values): print(sentence)
"""

from collections.abc import Iterator, Mapping

from imagetext.reports.captioning.character import written
from imagetext.reports.kit.tables import MODEL, compared, number, with_interval
from imagetext.terminal import counted


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
    told = {
        name: with_interval(name, values["scores"][MODEL][name])
        for name in ("cider_d", "bleu_4", "meteor", "rouge_l")
    }
    each = values["references"] / values["photos"]
    yield (
        f"CIDEr-D is {told['cider_d']}, BLEU-4 {told['bleu_4']}, METEOR {told['meteor']}, ROUGE-L "
        f"{told['rouge_l']} (in brackets 95 % intervals), against {each:.3g} references a photo."
    )
    if values["photos"] == 1:
        yield (
            "CIDEr-D counts a word the more, the fewer photos have it in their references: of one "
            "photo alone it is 0, whatever was said."
        )


def _against_others(values: Mapping) -> Iterator[str]:
    for name, differences in values["differences"].items():
        model = number("cider_d", values["scores"][MODEL]["cider_d"]["value"])
        other = number("cider_d", values["scores"][name]["cider_d"]["value"])
        who = values["names"].get(name, name)
        yield (
            f"Against {who}, CIDEr-D is {model} to {other}: "
            + {
                "above": "better.",
                "below": "WORSE.",
                "level": "the difference is within chance.",
                "unknown": "there are too few photos to tell whether the difference is chance.",
            }[compared(differences["cider_d"])]
        )


def _fit(values: Mapping) -> Iterator[str]:
    if values["fit"]:
        model = with_interval("caption_score", values["scores"][MODEL]["caption_score"])
        people, exchanged = (
            number("caption_score", measured["value"]) for measured in values["fit"].values()
        )
        yield (
            f"Without any reference, by {values['judge']}, the captions fit their photos at "
            f"{model}; what people wrote at {people}, and the same captions exchanged among the "
            f"photos at {exchanged}."
        )


def _words(values: Mapping) -> Iterator[str]:
    words = values["words"]
    if words:
        yield (
            f"Given the true words before it, the next word is foreseen in "
            f"{with_interval('token_accuracy', words['token_accuracy'])} of the cases; perplexity "
            f"{with_interval('perplexity', words['perplexity'])}."
        )


def _character(values: Mapping) -> Iterator[str]:
    model, person = values["captions"].values()
    sentence = f"{written(model, 'distinct')} of the captions are distinct"
    if model["in_training"] is not None:
        sentence += (
            f", {written(model, 'in_training')} stand word for word among the training captions "
            f"(of those that people wrote, {written(person, 'in_training')})"
        )
    used = f"; they use {counted(model['vocabulary'], 'different word')}"
    if model["vocabulary_used"] is not None:
        used += f", {written(model, 'vocabulary_used')} of those that can be said"
    yield (
        f"{sentence}{used}, and have {written(model, 'mean_words')} words each, people's "
        f"{written(person, 'mean_words')}."
    )
