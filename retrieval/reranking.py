"""Searches of a split put into order by a matching run, by a share of its say chosen on dev.

    reranked = rerank(run.folder, "dev", searched, similarities, matcher, of="a digest")

The share is kept beside the run, in `rerank.json`, and is the one that counts on other splits. No
photo is scored that the matcher was trained on: its captions are what it has learned by heart.
"""

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from imagetext.errors import UserError
from imagetext.files import write_text
from imagetext.metrics.retrieval.ranks import ranks_of
from imagetext.metrics.retrieval.reranking import (
    TOP,
    Blend,
    Candidates,
    PairMatcher,
    chosen,
    reranked,
)
from imagetext.reports.retrieval.report import Searched
from imagetext.reports.retrieval.reranked_section import BOTH, MATCHER, Reranked
from imagetext.reports.tables import MODEL

#: Where the share is chosen, and for which splits it counts.
CHOSEN_ON = "dev"


def rerank(
    folder: Path,
    split: str,
    searched: Searched,
    similarities: np.ndarray,
    matcher: PairMatcher,
    of: str,
) -> Reranked:
    """Similarities [n, m] of all photos and captions; `of` names the weights that they come from.
    `folder` is that of the run."""
    learned = matcher.learned_from(searched.photo)
    kept = np.array([photo not in learned["train"] for photo in searched.photo])
    if kept.sum() < 2:
        raise UserError(
            f"{matcher.name}: was trained on {len(kept) - kept.sum():,} of the {len(kept):,} photos"
            f" of {split}, and nothing is left to score -- name a run of other photos as --rerank"
        )
    stored = None if split == CHOSEN_ON else read_blend(folder, matcher, of)
    part, similarities = without(searched, similarities, kept)
    candidates = Candidates.of(similarities)
    start = time.perf_counter()
    odds = matcher.log_odds(part.photo, part.caption, candidates.pairs)
    seconds = time.perf_counter() - start
    if not np.isfinite(odds).all():
        raise UserError(f"{matcher.name}: gives log odds that are no numbers -- train it anew")
    given = (similarities, candidates, odds)
    whose = (part.owner, part.caption)
    if stored is None:
        stored, tried = chosen(*given, *whose)
        write_blend(folder, matcher, of, stored, tried, part)
    return Reranked(
        matcher=matcher.name,
        ranks={
            MODEL: ranks_of(similarities, *whose),
            MATCHER: reranked(*given, stored.with_share(1.0), *whose),
            BOTH: reranked(*given, stored, *whose),
        },
        top=TOP,
        blend=stored,
        share_chosen_on=CHOSEN_ON,
        chosen_here=split == CHOSEN_ON,
        photos=len(searched.photo),
        left_out=int(len(kept) - kept.sum()),
        chosen_by=len(learned["dev"] & set(part.photo)),
        pairs=len(candidates.pairs),
        seconds=seconds,
    )


def without(
    searched: Searched, similarities: np.ndarray, kept: np.ndarray
) -> tuple[Searched, np.ndarray]:
    """The photos that are `kept`, bool [n], with their captions, and the similarities of these."""
    columns = kept[searched.owner]
    place = np.cumsum(kept) - 1
    part = replace(
        searched,
        photo=tuple(np.array(searched.photo, object)[kept]),
        caption=tuple(np.array(searched.caption, object)[columns]),
        owner=place[searched.owner[columns]],
    )
    return part, similarities[kept][:, columns]


def blend_file(folder: Path) -> Path:
    return folder / "rerank.json"


def read_blend(folder: Path, matcher: PairMatcher, of: str) -> Blend:
    """That which was chosen on dev, of this matcher and this model."""
    told = _read(folder).get(matcher.digest, {})
    if told.get("of") != of:
        raise UserError(
            f"{folder}: the say of {matcher.name} must be chosen on {CHOSEN_ON} before -- imagetext"
            f" evaluate RUN --split {CHOSEN_ON} --rerank MATCHING_RUN"
        )
    try:
        return Blend(**{key: float(value) for key, value in told["blend"].items()})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable(folder, error) from error


def write_blend(
    folder: Path,
    matcher: PairMatcher,
    of: str,
    blend: Blend,
    tried: dict[float, float],
    scored: Searched,
) -> None:
    told = {
        "matcher": matcher.name,
        "of": of,
        "blend": blend.as_dict(),
        "photos": len(scored.photo),
        "scored on": scored.digest,
        "mean recall on dev, by share": tried,
    }
    write_text(blend_file(folder), json.dumps(_read(folder) | {matcher.digest: told}, indent=2))


def _read(folder: Path) -> dict:
    path = blend_file(folder)
    if not path.is_file():
        return {}
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(told, dict):
            raise ValueError("no table")
        return told
    except (OSError, ValueError) as error:
        raise _unreadable(folder, error) from error


def _unreadable(folder: Path, error: Exception) -> UserError:
    path = blend_file(folder)
    return UserError(f"{path}: cannot be read ({error}) -- remove it, and evaluate on {CHOSEN_ON}")
