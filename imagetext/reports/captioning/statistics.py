"""Statistics of captions, whatever their photos show: how varied they are, and how original.

    describe_captions(["a dog runs", "a dog runs"], training, vocabulary=3000)["distinct"] == 0.5

A model that gives every photo the same caption, or repeats its training captions, may still score
well. The same statistics for captions by people expose it.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from imagetext.metrics.captioning.corpus import caption_statistics
from imagetext.metrics.captioning.tokens import tokenize

#: Label and format of each statistic.
STATISTICS = {
    "distinct": ("Distinct captions", "{:.1%}"),
    "most_frequent": ("Share of the most frequent caption", "{:.1%}"),
    "in_training": ("Word for word in the training captions", "{:.1%}"),
    "vocabulary": ("Different words", "{:,}"),
    "vocabulary_used": ("Share of the vocabulary used", "{:.1%}"),
    "mean_words": ("Words per caption", "{:.1f}"),
}
#: With fewer captions, their variety says nothing.
_ENOUGH = 10


def describe_captions(
    captions: Sequence[str], training: Collection[str], vocabulary: int | None = None
) -> dict[str, Any]:
    """Compute the statistics of captions.

    Args:
        captions: The captions.
        training: The captions that the model was trained on.
        vocabulary: How many words the model can generate.

    Returns:
        The `STATISTICS` by name, None if one is unknown, and the most frequent caption.
    """
    values = caption_statistics(captions, training or None).as_dict()
    counts = Counter(" ".join(tokenize(caption)) for caption in captions)
    most_frequent, count = counts.most_common(1)[0] if counts else ("", 0)
    used = min(1.0, values["vocabulary"] / vocabulary) if vocabulary else None
    return values | {
        "most_frequent": count / max(len(captions), 1),
        "most_frequent_caption": most_frequent,
        "vocabulary_used": used,
    }


def format_statistic(values: Mapping[str, Any], name: str) -> str:
    """format_statistic(describe_captions(...), "distinct") == "50.0 %"."""
    value = values[name]
    return "n/a" if value is None else STATISTICS[name][1].format(value).replace("%", " %")


def statistic_rows(captions: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """A table of the statistics of several sets of captions, by name; the model's come first."""
    rows = [["", *captions]]
    for name, (label, _) in STATISTICS.items():
        if all(values[name] is None for values in captions.values()):
            continue
        cells = [format_statistic(values, name) for values in captions.values()]
        if name == "vocabulary_used":
            cells[1:] = [""] * len(cells[1:])  # does not apply to people
        rows.append([label, *cells])
    return rows


def find_warnings(model: Mapping[str, Any], people: Mapping[str, Any]) -> Iterator[str]:
    """Warnings about one caption for all photos, repeated training captions, and empty captions.

    Args:
        model: Statistics of the model's captions.
        people: Statistics of captions by people.
    """
    if not model["captions"]:
        return
    if not model["mean_words"]:
        yield "The captions are empty: the model generates no words."
        return
    if model["captions"] >= _ENOUGH and (
        model["most_frequent"] > max(0.25, 5 * people["most_frequent"])
        or model["distinct"] < 0.1 * people["distinct"]
    ):
        yield (
            f"Little variety: only {format_statistic(model, 'distinct')} of the captions are "
            f"distinct, and {format_statistic(model, 'most_frequent')} of the photos are captioned "
            f'"{model["most_frequent_caption"]}". The model hardly uses the photos.'
        )
    if (
        model["in_training"] is not None
        and model["in_training"] - (people["in_training"] or 0) > 0.5
    ):
        yield (
            f"Repetition: {format_statistic(model, 'in_training')} of the captions occur word for "
            "word in the training captions (captions by people: "
            f"{format_statistic(people, 'in_training')})."
        )
