"""Re-rank the searches of a split with a matching run.

    reranked = rerank(run.folder, "dev", searched, similarities, matcher, digest)

How much the matcher counts is chosen on dev and kept in the run's folder (`rerank.json`); the same
share is used on the other splits. Photos that the matcher was trained on are left out: it knows
their captions by heart.
"""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from imagetext.errors import UserError
from imagetext.files import write_text
from imagetext.metrics.retrieval.ranks import compute_ranks
from imagetext.metrics.retrieval.reranking import (
    TOP,
    Blend,
    Candidates,
    PairMatcher,
    choose_blend,
    compute_reranked_ranks,
)
from imagetext.reports.kit.tables import MODEL
from imagetext.reports.retrieval.reranking import BOTH, MATCHER, Reranking
from imagetext.reports.retrieval.search_set import SearchSet
from imagetext.training.run import Run

#: The split on which the share is chosen.
CHOSEN_ON = "dev"


def rerank(
    folder: Path,
    split: str,
    searched: SearchSet,
    similarities: np.ndarray,
    matcher: PairMatcher,
    digest: str,
) -> Reranking:
    """Re-rank the first candidates of every search.

    Args:
        folder: Folder of the run or ensemble, for `rerank.json`.
        split: The split of the photos and captions.
        searched: The photos and captions.
        similarities: float [n, m], of all photos and captions.
        matcher: The model that scores pairs.
        digest: Identifies the weights that the similarities come from.

    Returns:
        The ranks before and after, without the photos that the matcher was trained on.
    """
    used = matcher.training_photos(searched.photo)
    kept = np.array([photo not in used["train"] for photo in searched.photo])
    if kept.sum() < 2:
        raise UserError(
            f"{matcher.name}: was trained on {len(kept) - kept.sum():,} of the {len(kept):,} photos"
            f" of {split}, so nothing is left to score; choose another run for --rerank"
        )
    blend = None if split == CHOSEN_ON else read_blend(folder, matcher, digest)
    part, similarities = select_photos(searched, similarities, kept)
    candidates = Candidates.select(similarities)
    start = time.perf_counter()
    log_odds = matcher.log_odds(part.photo, part.caption, candidates.pairs)
    seconds = time.perf_counter() - start
    if not np.isfinite(log_odds).all():
        raise UserError(f"{matcher.name}: its log odds are not finite; train it again")
    scores = (similarities, candidates, log_odds)
    target = (part.owner, part.caption)
    if blend is None:
        blend, recalls = choose_blend(*scores, *target)
        write_blend(folder, matcher, digest, blend, recalls, part)
    return Reranking(
        matcher=matcher.name,
        ranks={
            MODEL: compute_ranks(similarities, *target),
            MATCHER: compute_reranked_ranks(*scores, blend.with_share(1.0), *target),
            BOTH: compute_reranked_ranks(*scores, blend, *target),
        },
        top=TOP,
        blend=blend,
        share_chosen_on=CHOSEN_ON,
        chosen_here=split == CHOSEN_ON,
        photos=len(searched.photo),
        left_out=int(len(kept) - kept.sum()),
        chosen_by=len(used["dev"] & set(part.photo)),
        pairs=len(candidates.pairs),
        seconds=seconds,
    )


def select_photos(
    searched: SearchSet, similarities: np.ndarray, kept: np.ndarray
) -> tuple[SearchSet, np.ndarray]:
    """Only the photos that are `kept`, bool [n], with their captions and similarities."""
    columns = kept[searched.owner]
    new_index = np.cumsum(kept) - 1
    part = replace(
        searched,
        photo=tuple(np.array(searched.photo, object)[kept]),
        caption=tuple(np.array(searched.caption, object)[columns]),
        owner=new_index[searched.owner[columns]],
    )
    return part, similarities[kept][:, columns]


def read_blend(folder: Path, matcher: PairMatcher, digest: str) -> Blend:
    """The blend that was chosen on dev for this matcher and these weights."""
    entry = _read_entries(folder).get(matcher.digest, {})
    if entry.get("of") != digest:
        raise UserError(
            f"{folder}: the weight of {matcher.name} must be chosen on {CHOSEN_ON} first; run:"
            f" imagetext evaluate RUN --split {CHOSEN_ON} --rerank MATCHING_RUN"
        )
    try:
        return Blend(**{key: float(value) for key, value in entry["blend"].items()})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable(folder, error) from error


def write_blend(
    folder: Path,
    matcher: PairMatcher,
    digest: str,
    blend: Blend,
    recalls: dict[float, float],
    scored: SearchSet,
) -> None:
    """Keep the blend of a matcher beside those of other matchers."""
    entry = {
        "matcher": matcher.name,
        "of": digest,
        "blend": blend.as_dict(),
        "photos": len(scored.photo),
        "scored on": scored.digest,
        "mean recall on dev, by share": recalls,
    }
    entries = _read_entries(folder) | {matcher.digest: entry}
    write_text(Run(folder).rerank_file, json.dumps(entries, indent=2))


def _read_entries(folder: Path) -> dict[str, Any]:
    path = Run(folder).rerank_file
    if not path.is_file():
        return {}
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(entries, dict):
            raise ValueError("not a JSON object")
        return entries
    except (OSError, ValueError) as error:
        raise _unreadable(folder, error) from error


def _unreadable(folder: Path, error: Exception) -> UserError:
    return UserError(
        f"{Run(folder).rerank_file}: cannot be read ({error});"
        f" delete it and evaluate on {CHOSEN_ON} again"
    )
