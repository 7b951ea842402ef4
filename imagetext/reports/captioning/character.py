"""What captions are like, whatever their photos show: are they all the same, are they an echo?

    character(["a dog runs", "a dog runs"], training, vocabulary=3000)["distinct"] == 0.5

A model that says one caption of every photo, or only captions it was trained on, may still score;
beside the same figures of captions that people wrote it is seen for what it is.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from imagetext.metrics.captioning.scorer import statistics
from imagetext.metrics.captioning.tokens import tokenize

#: How a figure of `character` is called and written.
DESCRIBED = {
    "distinct": ("Distinct captions", "{:.1%}"),
    "most_frequent": ("The most frequent caption's share", "{:.1%}"),
    "in_training": ("Word for word among the training captions", "{:.1%}"),
    "vocabulary": ("Different words", "{:,}"),
    "vocabulary_used": ("... of those that can be said", "{:.1%}"),
    "mean_words": ("Words a caption", "{:.1f}"),
}
#: Fewer captions than these say nothing about sameness.
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
            cells[1:] = [""] * len(cells[1:])  # people are not bound to it
        rows.append([label, *cells])
    return rows


def warnings(model: Mapping, person: Mapping) -> Iterator[str]:
    """What must not be overlooked: one caption for all, an echo, silence."""
    if not model["captions"]:
        return
    if not model["mean_words"]:
        yield "The captions are empty: the model says nothing."
        return
    if model["captions"] >= _ENOUGH and (
        model["most_frequent"] > max(0.25, 5 * person["most_frequent"])
        or model["distinct"] < 0.1 * person["distinct"]
    ):
        yield (
            f"The same for all: only {written(model, 'distinct')} of the captions are distinct, and"
            f' "{model["most_frequent_caption"]}" is said of {written(model, "most_frequent")} of'
            " the photos. The model hardly looks at them."
        )
    if (
        model["in_training"] is not None
        and model["in_training"] - (person["in_training"] or 0) > 0.5
    ):
        yield (
            f"An echo: {written(model, 'in_training')} of the captions stand word for word among"
            f" the training captions ({written(person, 'in_training')} of those that people wrote)."
        )
