"""What captions are like, whatever their photos show: how varied they are, and how original.

    character(["a dog runs", "a dog runs"], training, vocabulary=3000)["distinct"] == 0.5

A model with one caption for every photo, or one that repeats its training captions, may still score
well; the same figures for captions written by people expose it.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from imagetext.metrics.captioning.scorer import statistics
from imagetext.metrics.captioning.tokens import tokenize

#: Label and format of each figure of `character`.
DESCRIBED = {
    "distinct": ("Distinct captions", "{:.1%}"),
    "most_frequent": ("Share of the most frequent caption", "{:.1%}"),
    "in_training": ("Word for word in the training captions", "{:.1%}"),
    "vocabulary": ("Different words", "{:,}"),
    "vocabulary_used": ("... of the vocabulary", "{:.1%}"),
    "mean_words": ("Words per caption", "{:.1f}"),
}
#: With fewer captions, their variety says nothing.
_ENOUGH = 10


def character(
    captions: Sequence[str], training: Collection[str], vocabulary: int | None = None
) -> dict:
    """The metrics' statistics, with the most frequent caption and its share, and the share of
    `vocabulary` words that is used (None where a figure cannot be known)."""
    found = statistics(captions, training or None).as_dict()
    counts = Counter(" ".join(tokenize(caption)) for caption in captions)
    often, times = counts.most_common(1)[0] if counts else ("", 0)
    used = min(1.0, found["vocabulary"] / vocabulary) if vocabulary else None
    return found | {
        "most_frequent": times / max(len(captions), 1),
        "most_frequent_caption": often,
        "vocabulary_used": used,
    }


def written(figures: Mapping, name: str) -> str:
    """written(character(...), "distinct") == "50.0 %"."""
    value = figures[name]
    return "n/a" if value is None else DESCRIBED[name][1].format(value).replace("%", " %")


def character_rows(values: Mapping) -> list[list[str]]:
    """A heading row and a row a figure, of the report's `captions`."""
    rows = [["", *values["captions"]]]
    for name, (label, _) in DESCRIBED.items():
        if all(like[name] is None for like in values["captions"].values()):
            continue
        cells = [written(like, name) for like in values["captions"].values()]
        if name == "vocabulary_used":
            cells[1:] = [""] * len(cells[1:])  # does not apply to people
        rows.append([label, *cells])
    return rows


def warnings(model: Mapping, person: Mapping) -> Iterator[str]:
    """What must not be overlooked: one caption for all, repeated training captions, silence."""
    if not model["captions"]:
        return
    if not model["mean_words"]:
        yield "The captions are empty: the model generates nothing."
        return
    if model["captions"] >= _ENOUGH and (
        model["most_frequent"] > max(0.25, 5 * person["most_frequent"])
        or model["distinct"] < 0.1 * person["distinct"]
    ):
        yield (
            f"Little variety: only {written(model, 'distinct')} of the captions are distinct, and"
            f' "{model["most_frequent_caption"]}" describes {written(model, "most_frequent")} of'
            " the photos. The model hardly looks at them."
        )
    if (
        model["in_training"] is not None
        and model["in_training"] - (person["in_training"] or 0) > 0.5
    ):
        yield (
            f"Repetition: {written(model, 'in_training')} of the captions occur word for word in"
            f" the training captions (captions by people: {written(person, 'in_training')})."
        )
