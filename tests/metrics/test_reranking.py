"""Re-ranking against sorting each search, and what a report says about it."""

import numpy as np
import pytest

from imagetext.metrics.retrieval.ranks import Ranks, compute_ranks
from imagetext.metrics.retrieval.reranking import (
    Blend,
    Candidates,
    choose_blend,
    compute_reranked_ranks,
)
from imagetext.reports.kit.tables import MODEL
from imagetext.reports.retrieval.report import write_report
from imagetext.reports.retrieval.reranking import (
    BOTH,
    MATCHER,
    Reranking,
    describe_reranking,
    reranking_values,
)
from imagetext.reports.retrieval.search_set import SearchSet

PHOTOS, TOP = 12, 4


def searches(seed: int, own: int = 3):
    """Informative similarities and log odds [n, m], owners, and captions, some of which two photos
    share word for word."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(PHOTOS), own)
    right = np.arange(PHOTOS)[:, None] == owner
    similarities = (rng.normal(0, 1, right.shape) + 1.0 * right).astype(np.float32)
    odds = (rng.normal(0, 3, right.shape) + 4.0 * right).astype(np.float32)
    captions = [f"caption {n}" for n in range(len(owner))]
    for one, other in ((0, 5), (7, 30)):
        captions[other] = captions[one]
        similarities[:, other], odds[:, other] = similarities[:, one], odds[:, one]
    return similarities, odds, owner, captions


def naive_places(similarities, scores, owner, captions, top):
    """Search by search: the first `top` by similarity, sorted by score, then the others."""

    def right(photo, caption):
        return captions[caption] in [c for c, p in zip(captions, owner, strict=True) if p == photo]

    def place(row, new, good):
        before = sorted(range(len(row)), key=lambda n: -row[n])
        order = sorted(before[:top], key=lambda n: (-new[n], good(n))) + before[top:]
        return next(place for place, n in enumerate(order, 1) if good(n))

    count, many = similarities.shape
    of_photos = [
        place(similarities[:, c], scores[:, c], lambda n, c=c: right(n, c)) for c in range(many)
    ]
    of_captions = [
        place(similarities[p], scores[p], lambda n, p=p: right(p, n)) for p in range(count)
    ]
    return of_photos, of_captions


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("top", [1, TOP, 100])
def test_ranks_equal_sorting_each_search(share, top):
    blend = Blend(share, 0.7, 2.0)
    for seed in range(4):
        similarities, odds, owner, _ = searches(seed)
        captions = [f"caption {n}" for n in range(len(owner))]
        similarities += np.random.default_rng(9).normal(0, 1e-3, similarities.shape)  # no ties
        candidates = Candidates.select(similarities, top)
        given = odds[tuple(candidates.pairs.T)]
        actual = compute_reranked_ranks(similarities, candidates, given, blend, owner, captions)
        scores = (1 - share) / 0.7 * similarities + share / 2.0 * odds
        expected = naive_places(similarities, scores, owner, captions, top)
        assert actual.photo_ranks.tolist() == expected[0]
        assert actual.caption_ranks.tolist() == expected[1]


def test_candidates_are_the_best_of_both_directions_without_duplicates():
    similarities, *_ = searches(0)
    candidates = Candidates.select(similarities, TOP)
    by_text = {(p, c) for c in range(36) for p in np.argsort(-similarities[:, c])[:TOP].tolist()}
    by_photo = {(p, c) for p in range(PHOTOS) for c in candidates.captions[p].tolist()}
    for photo, actual in enumerate(candidates.captions):
        assert len(set(actual.tolist())) == TOP
        assert similarities[photo, actual].min() == np.sort(similarities[photo])[-TOP]
    pairs = list(map(tuple, candidates.pairs.tolist()))
    assert set(pairs) == by_text | by_photo and len(set(pairs)) == len(pairs)


def test_shared_captions_are_correct_for_both_photos():
    similarities, odds, owner, captions = searches(1)
    candidates = Candidates.select(similarities, 100)
    actual = compute_reranked_ranks(
        similarities, candidates, odds[tuple(candidates.pairs.T)], Blend(1, 1, 1), owner, captions
    )
    whole = compute_ranks(odds, owner, captions)
    assert actual.photo_ranks.tolist() == whole.photo_ranks.tolist()
    assert actual.caption_ranks.tolist() == whole.caption_ranks.tolist()


def test_the_best_share_is_chosen_and_zero_for_an_uninformative_matcher():
    similarities, odds, owner, captions = searches(2)
    candidates = Candidates.select(similarities, TOP)
    given = odds[tuple(candidates.pairs.T)]
    blend, tried = choose_blend(similarities, candidates, given, owner, captions)
    assert list(tried) == [n / 10 for n in range(11)]
    assert blend.similarity_spread == pytest.approx(
        similarities[tuple(candidates.pairs.T)].std(), rel=1e-5
    )
    for share in (0.0, 0.3, 1.0):
        ranks = compute_reranked_ranks(
            similarities, candidates, given, blend.with_share(share), owner, captions
        )
        assert tried[share] == ranks.mean_recall
    assert tried[0.0] == compute_ranks(similarities, owner, captions).mean_recall
    assert blend.share > 0 and tried[blend.share] == max(tried.values()) > tried[0.0]
    silent, _ = choose_blend(similarities, candidates, np.zeros_like(given), owner, captions)
    assert silent.share == 0.0


def reranking(**given) -> Reranking:
    similarities, odds, owner, captions = searches(3)
    candidates = Candidates.select(similarities, TOP)
    pairs = odds[tuple(candidates.pairs.T)]

    def by(blend: Blend) -> Ranks:
        return compute_reranked_ranks(similarities, candidates, pairs, blend, owner, captions)

    known = {
        "matcher": "the matcher <b> (abc)",
        "ranks": {
            MODEL: compute_ranks(similarities, owner, captions),
            MATCHER: by(Blend(1.0, 1.0, 3.0)),
            BOTH: by(Blend(0.6, 1.0, 3.0)),
        },
        "top": TOP,
        "blend": Blend(0.6, 1.0, 3.0),
        "share_chosen_on": "dev",
        "chosen_here": False,
        "photos": PHOTOS,
        "left_out": 0,
        "chosen_by": 0,
        "pairs": len(pairs),
        "seconds": 2.0,
    }
    return Reranking(**known | given)


def test_reported_values_are_those_of_the_re_ranking():
    values = reranking_values(reranking(), resamples=40)
    text = " ".join(describe_reranking(values))
    assert "The weight of the matcher, 60 %, was chosen on dev." in text
    assert "trained on none of the 12 photos" in text and "best epoch" not in text
    reach = np.mean(reranking().ranks[MODEL].photo_ranks <= TOP)
    assert f"among them in {100 * reach:.1f} % of the searches by text" in text
    assert values["pairs_per_second"] == len(Candidates.select(searches(3)[0], TOP).pairs) / 2
    gain = values["differences"][BOTH]["mean_recall"]["value"]
    scores = [values["scores"][name]["mean_recall"]["value"] for name in (BOTH, MODEL)]
    assert gain == pytest.approx(scores[0] - scores[1])
    values = reranking_values(reranking(chosen_here=True, photos=20, left_out=8, chosen_by=1), 40)
    text = " ".join(describe_reranking(values))
    assert "on these very searches, so the combined scores are too optimistic" in text
    assert "trained on 8 of the 20 photos" in text
    assert "scores cover 12 photos with 36 captions and cannot be compared" in text
    assert "its own dev split, which contains 1 photo of these" in text


def test_the_report_has_a_section_for_it(tmp_path):
    from PIL import Image

    similarities, _, owner, captions = searches(3)
    photos = [tmp_path / f"{number}.png" for number in range(PHOTOS)]
    for photo in photos:
        Image.new("RGB", (8, 8)).save(photo)
    report = write_report(
        tmp_path / "report",
        title="a on dev",
        search_set=SearchSet(tuple(map(str, photos)), tuple(captions), owner),
        similarities={MODEL: similarities},
        reranking=reranking(),
        history=[],
        about={},
        resamples=20,
        examples=0,
    )
    values = report.values
    assert list(values["scores"]) == [MODEL, "chance"]  # apart from what the model finds alone
    assert list(values["reranked"]["scores"]) == [MODEL, MATCHER, BOTH]
    assert any("of each search with the matcher <b> (abc)" in line for line in values["findings"])
    page = report.html_path.read_text()
    assert "<h2>Re-ranking</h2>" in page and "combined (60 % matcher)" in page
    assert "<b> (abc)" not in page
    markdown = (report.folder / "report.md").read_text()
    assert "## Re-ranking" in markdown and "without re-ranking (95 % CI)" in markdown
    assert "Re-ranking\n----------\n" in report.summary
    assert "pairs per second" in report.summary and "pairs per second" in markdown
