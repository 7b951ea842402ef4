"""The part of a retrieval report about re-ranking.

    values = reranking_values(reranking, resamples=1000)
    for sentence in describe_reranking(values):
        print(sentence)

It is a section of its own, since it may cover fewer photos than the rest.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from imagetext.metrics.bootstrap import RESAMPLES, as_dicts, subtract
from imagetext.metrics.retrieval.ranks import Ranks
from imagetext.metrics.retrieval.reranking import Blend
from imagetext.metrics.retrieval.scores import MEAN, score
from imagetext.reports.kit.findings import judge_difference
from imagetext.reports.kit.tables import MODEL
from imagetext.reports.retrieval.figures import FIGURES
from imagetext.terminal import plural

TITLE = "Re-ranking"
MATCHER, BOTH = "matcher", "both"


@dataclass(frozen=True)
class Reranking:
    """The result of re-ranking.

    Args:
        matcher: What the report calls the matcher.
        ranks: Ranks before ("model"), by the matcher alone ("matcher"), and by both ("both").
        top: How many results of each search are re-ranked.
        blend: How similarity and log odds are combined.
        share_chosen_on: The split on which the matcher's weight was chosen.
        chosen_here: Whether these are the searches on which it was chosen.
        photos: Photos of the split.
        left_out: Photos left out because the matcher was trained on them.
        chosen_by: Remaining photos on which the matcher's best epoch was chosen.
        pairs: Pairs that the matcher scored.
        seconds: Time that took.
    """

    matcher: str
    ranks: Mapping[str, Ranks]
    top: int
    blend: Blend
    share_chosen_on: str
    chosen_here: bool
    photos: int
    left_out: int
    chosen_by: int
    pairs: int
    seconds: float


def reranking_values(reranking: Reranking, resamples: int = RESAMPLES) -> dict[str, Any]:
    """All values for report.json; "scores", "names" and "differences" are those of a report."""
    estimates = {name: score(ranks, resamples) for name, ranks in reranking.ranks.items()}
    before, ranks = estimates[MODEL], reranking.ranks[MODEL]
    return {
        "matcher": reranking.matcher,
        "top": reranking.top,
        "blend": reranking.blend.as_dict(),
        "share_chosen_on": reranking.share_chosen_on,
        "chosen_here": reranking.chosen_here,
        "photos": len(ranks.caption_ranks),
        "references": len(ranks.photo_ranks),
        "photos_of_the_split": reranking.photos,
        "left_out": reranking.left_out,
        "chosen_by": reranking.chosen_by,
        "reachable": {
            "text": float((ranks.photo_ranks <= reranking.top).mean()),
            "photo": float((ranks.caption_ranks <= reranking.top).mean()),
        },
        "pairs": reranking.pairs,
        "seconds": round(reranking.seconds, 2),
        "pairs_per_second": round(reranking.pairs / max(reranking.seconds, 1e-9), 1),
        "names": {
            MODEL: "without re-ranking",
            MATCHER: "matcher alone",
            BOTH: f"combined ({100 * reranking.blend.share:.0f} % matcher)",
        },
        "scores": {name: as_dicts(each) for name, each in estimates.items()},
        # After minus before, on the same resamples.
        "differences": {
            name: as_dicts(subtract(each, before))
            for name, each in estimates.items()
            if name != MODEL
        },
    }


def summarize(values: Mapping[str, Any]) -> str:
    """The result in one sentence."""
    before, after = (
        FIGURES[MEAN].format(values["scores"][name][MEAN]["value"]) for name in (MODEL, BOTH)
    )
    verdict = {
        "better": "a significant improvement",
        "worse": "a significant LOSS",
        "level": "not a significant difference",
        "unknown": "with too few photos to tell whether the difference is significant",
    }[judge_difference(values["differences"][BOTH][MEAN])]
    caveat = "; note that its weight was chosen on these searches" if values["chosen_here"] else ""
    return (
        f"Re-ranking the first {values['top']} results of each search with {values['matcher']} "
        f"changes mean recall from {before} to {after}, {verdict}{caveat}."
    )


def describe_reranking(values: Mapping[str, Any]) -> list[str]:
    """What was done, on which photos, and what to make of it."""
    return [
        *_describe_order(values),
        *_describe_weight(values),
        *_describe_photos(values),
        *_describe_cost(values),
    ]


def _describe_order(values: Mapping[str, Any]) -> Iterator[str]:
    text, photo = (f"{100 * values['reachable'][side]:.1f} %" for side in ("text", "photo"))
    yield (
        f"The first {values['top']} results of each search are reordered by the log odds of "
        f"{values['matcher']}: alone, or added to the similarity, each divided by its standard "
        f"deviation. The correct result is among them in {text} of the searches by text and in "
        f"{photo} of those by photo, the upper limit of what re-ranking can reach."
    )


def _describe_weight(values: Mapping[str, Any]) -> Iterator[str]:
    split, percent = values["share_chosen_on"], f"{100 * values['blend']['share']:.0f} %"
    if values["chosen_here"]:
        yield (
            f"The weight of the matcher, {percent}, was chosen on {split}, on these very searches, "
            "so the combined scores are too optimistic; those of the matcher alone are not "
            "affected. Evaluations on test use the same weight."
        )
    else:
        yield f"The weight of the matcher, {percent}, was chosen on {split}."


def _describe_photos(values: Mapping[str, Any]) -> Iterator[str]:
    total, kept = values["photos_of_the_split"], values["photos"]
    if values["left_out"]:
        yield (
            f"The matcher was trained on {values['left_out']:,} of the {total:,} photos, or on "
            "copies of them. These and their captions are left out of this section: its scores "
            f"cover {kept:,} photos with {values['references']:,} captions and cannot be compared "
            "with the scores above."
        )
    else:
        yield f"The matcher was trained on none of the {total:,} photos, nor on copies of them."
    if values["chosen_by"]:
        yield (
            f"The matcher's best epoch was chosen on its own dev split, which contains "
            f"{plural(values['chosen_by'], 'photo')} of these; its scores are slightly optimistic."
        )


def _describe_cost(values: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"The matcher scored {values['pairs']:,} pairs in {values['seconds']:,.1f} s "
        f"({values['pairs_per_second']:,.0f} pairs per second)."
    )
