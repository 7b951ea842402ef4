"""What a retrieval report says of its searches once a matcher has put their first candidates into
order: a part of its own, since it may be of fewer photos than the rest.

    values = reranked_values(reranked, resamples=1000)
    for sentence in told(values): print(sentence)
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from imagetext.metrics.bootstrap import RESAMPLES, difference
from imagetext.metrics.retrieval.ranks import Ranks
from imagetext.metrics.retrieval.reranking import Blend
from imagetext.metrics.retrieval.scores import MEAN, score
from imagetext.reports.kit.tables import MODEL, compared, number
from imagetext.terminal import plural

TITLE = "Re-ranked"
MATCHER, BOTH = "matcher", "both"


@dataclass(frozen=True)
class Reranked:
    """The places of the right ones before (as "model"), by the matcher alone and by both.

    `left_out` photos of all `photos` are not among them, because the matcher was trained on them;
    by `chosen_by` of those that are it was chosen. `share_chosen_on` names the split.
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


def reranked_values(reranked: Reranked, resamples: int = RESAMPLES) -> dict:
    """All of it for report.json; "scores", "names" and "differences" as those of a whole report."""
    measured = {name: score(ranks, resamples) for name, ranks in reranked.ranks.items()}
    before, places = measured[MODEL], reranked.ranks[MODEL]
    percent = round(100 * reranked.blend.share)
    return {
        "matcher": reranked.matcher,
        "top": reranked.top,
        "blend": reranked.blend.as_dict(),
        "share_chosen_on": reranked.share_chosen_on,
        "chosen_here": reranked.chosen_here,
        "photos": len(places.caption_ranks),
        "references": len(places.photo_ranks),
        "photos_of_the_split": reranked.photos,
        "left_out": reranked.left_out,
        "chosen_by": reranked.chosen_by,
        "reachable": {
            "text": float((places.photo_ranks <= reranked.top).mean()),
            "photo": float((places.caption_ranks <= reranked.top).mean()),
        },
        "pairs": reranked.pairs,
        "seconds": round(reranked.seconds, 2),
        "pairs_per_second": round(reranked.pairs / max(reranked.seconds, 1e-9), 1),
        "names": {
            MODEL: "as found",
            MATCHER: "by the matcher alone",
            BOTH: f"by both, {percent} % matcher",
        },
        "scores": {
            name: {figure: value.as_dict() for figure, value in each.items()}
            for name, each in measured.items()
        },
        # after minus before, on the same resamples
        "differences": {
            name: {figure: difference(each[figure], before[figure]).as_dict() for figure in before}
            for name, each in measured.items()
            if name != MODEL
        },
    }


def told(values: Mapping) -> list[str]:
    """How it was done, on which photos, and what that is worth, in sentences."""
    return [*_order(values), *_share(values), *_photos(values), *_cost(values)]


def finding(values: Mapping) -> str:
    """What came of it, in one sentence."""
    before = number(MEAN, values["scores"][MODEL][MEAN]["value"])
    after = number(MEAN, values["scores"][BOTH][MEAN]["value"])
    verdict = {
        "above": "better",
        "below": "WORSE",
        "level": "a difference within chance",
        "unknown": "with too few photos to tell whether that is chance",
    }[compared(values["differences"][BOTH][MEAN])]
    caveat = ", but the share was chosen on these searches" if values["chosen_here"] else ""
    return (
        f"With the first {values['top']} of each search re-ranked by {values['matcher']}, the mean"
        f" of the six recalls goes from {before} to {after}: {verdict}{caveat}."
    )


def _order(values: Mapping) -> Iterator[str]:
    text, photo = (f"{100 * values['reachable'][side]:.1f} %" for side in ("text", "photo"))
    yield (
        f"The first {values['top']} of each search, in the order of {values['matcher']}: by its log"
        " odds of a match alone, and by a sum of these and the similarity, each divided by its "
        f"spread. The right one is among them in {text} of the searches by text and {photo} of "
        "those by photo; no order of them can find more."
    )


def _share(values: Mapping) -> Iterator[str]:
    split, percent = values["share_chosen_on"], round(100 * values["blend"]["share"])
    if values["chosen_here"]:
        yield (
            f"Of the sum the matcher's share, {percent} %, was chosen on {split}, by these very "
            "searches: that column is too good. The matcher alone was given no such choice; on "
            "test the share stays as it is."
        )
    else:
        yield f"Of the sum the matcher's share, {percent} %, was chosen on {split}, not here."


def _photos(values: Mapping) -> Iterator[str]:
    every, kept = values["photos_of_the_split"], values["photos"]
    if values["left_out"]:
        yield (
            f"The matcher was trained on {values['left_out']:,} of the {every:,} photos, or on "
            "copies of them. They and their captions are left out here, before and after: these "
            f"figures are of {kept:,} photos with {values['references']:,} captions, and do not "
            "compare with those of all."
        )
    else:
        yield f"The matcher was trained on none of the {every:,} photos, nor on copies of them."
    if values["chosen_by"]:
        yield (
            f"The matcher's best epoch was chosen by its own dev split, which has "
            f"{plural(values['chosen_by'], 'photo')} of these: that makes it look a little better."
        )


def _cost(values: Mapping) -> Iterator[str]:
    yield (
        f"{values['pairs']:,} pairs in {values['seconds']:,.1f} s: "
        f"{values['pairs_per_second']:,.0f} pairs a second."
    )
