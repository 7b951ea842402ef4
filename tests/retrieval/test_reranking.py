"""A tiny run re-ranked by a toy matcher, and where the chosen share applies."""

import json

import numpy as np
import pytest

from imagetext.errors import UserError
from imagetext.metrics.retrieval.reranking import SHARES, PairMatcher
from imagetext.reports.retrieval.search_set import SearchSet
from imagetext.retrieval.evaluate import evaluate
from imagetext.retrieval.reranking import rerank
from imagetext.retrieval.searches import search_split
from tests.retrieval.tiny_runs import untrained
from tests.scenes import write_scenes


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    scenes = write_scenes(folder / "data", {"train": 12, "dev": 8, "test": 6})
    return untrained(scenes, folder, report__gallery=0)


def knowing(seen=(), chosen_by=(), digest="0" * 16, odds=None) -> PairMatcher:
    """A toy matcher, trained on the photos whose paths contain some words."""

    def log_odds(photos, captions, pairs):
        rng = np.random.default_rng(0)
        own = [ord(captions[c][-2]) % 5 == len(photos[p]) % 5 for p, c in pairs.tolist()]
        return np.array(own) * 2.0 + rng.normal(0, 1, len(pairs)) if odds is None else odds(pairs)

    def training_photos(photos):
        return {
            split: {photo for photo in photos if any(word in photo for word in words)}
            for split, words in (("train", seen), ("dev", chosen_by))
        }

    return PairMatcher("the matcher m", digest, log_odds, training_photos)


def naive_reranked(actual, matcher, share, spreads):
    """Recall@1 in both directions, pair by pair and search by search."""
    similarities, searched = actual.similarities["model"], actual.searched
    pairs = np.argwhere(np.ones_like(similarities, bool))
    odds = matcher.log_odds(searched.photo, searched.caption, pairs).reshape(similarities.shape)
    scores = (1 - share) * similarities / spreads[0] + share * odds / spreads[1]
    right = np.arange(len(searched.photo))[:, None] == searched.owner
    text = [right[scores[:, c].argmax(), c] for c in range(scores.shape[1])]
    return np.mean(text), np.mean([right[p, scores[p].argmax()] for p in range(len(scores))])


def test_a_report_shows_re_ranked_searches_separately(run):
    """All of a few photos are candidates, so the order is that of the sum alone."""
    alone = evaluate(run, "dev").values
    assert alone["reranked"] is None
    matcher = knowing()
    values = evaluate(run, "dev", matcher=matcher).values
    assert values["scores"] == alone["scores"]
    part, actual = values["reranked"], search_split(run, "dev")
    assert part["matcher"] == "the matcher m" and part["pairs"] == 8 * 24
    assert part["scores"]["model"] == alone["scores"]["model"]
    spreads = [part["blend"][name] for name in ("similarity_spread", "odds_spread")]
    assert spreads[0] == pytest.approx(actual.similarities["model"].std(), rel=1e-4)
    for who, share in (("matcher", 1.0), ("both", part["blend"]["share"])):
        r1 = [part["scores"][who][f"{side}_r1"]["value"] for side in ("text", "photo")]
        assert r1 == pytest.approx(naive_reranked(actual, matcher, share, spreads))
    kept = json.loads((run.folder / "rerank.json").read_text())["0" * 16]
    assert kept["blend"] == part["blend"] and kept["of"] == actual.model.digest
    tried = kept["mean recall on dev, by share"]
    assert list(tried) == [str(share) for share in SHARES]
    assert tried[str(part["blend"]["share"])] == max(tried.values())
    assert tried["0.0"] == pytest.approx(part["scores"]["model"]["mean_recall"]["value"])


@pytest.fixture
def actual():
    """Similarities of 8 photos with 3 captions each, without a run."""
    owner = np.repeat(np.arange(8), 3)
    photos = tuple(f"{'x' * number}/dev_{number}.png" for number in range(8))
    searched = SearchSet(photos, tuple(f"caption {n:02} ." for n in range(24)), owner)
    noise = np.random.default_rng(0).normal(0, 1, (8, 24))
    return searched, (noise + 1.5 * (np.arange(8)[:, None] == owner)).astype(np.float32)


def test_test_uses_the_share_chosen_on_dev(actual, tmp_path):
    matcher = knowing()
    with pytest.raises(
        UserError, match="the matcher m must be chosen on dev first; run: imagetext"
    ):
        rerank(tmp_path, "test", *actual, matcher, "weights")
    on_dev = rerank(tmp_path, "dev", *actual, matcher, "weights")
    other = knowing(odds=lambda pairs: pairs.sum(axis=1) % 7.0)
    on_test = rerank(tmp_path, "test", *actual, other, "weights")
    assert on_test.blend == on_dev.blend and on_test.share_chosen_on == "dev"
    assert on_dev.chosen_here and not on_test.chosen_here
    for whose in ((matcher, "other weights"), (knowing(digest="1" * 16), "weights")):
        with pytest.raises(UserError, match="must be chosen on dev first"):
            rerank(tmp_path, "test", *actual, *whose)
    rerank(tmp_path, "dev", *actual, knowing(digest="1" * 16), "weights")  # each has its own
    assert rerank(tmp_path, "test", *actual, matcher, "weights").blend == on_dev.blend
    (tmp_path / "rerank.json").write_text("{")
    with pytest.raises(UserError, match=r"rerank\.json: cannot be read"):
        rerank(tmp_path, "test", *actual, matcher, "weights")


def test_photos_of_the_matchers_training_are_left_out(actual, tmp_path):
    searched, similarities = actual
    seen = [f"dev_{number}." for number in (0, 3, 7)]
    matcher = knowing(seen, chosen_by=["dev_1.", "dev_7."])
    part = rerank(tmp_path, "dev", *actual, matcher, "weights")
    assert (part.photos, part.left_out, part.chosen_by, part.pairs) == (8, 3, 1, 5 * 15)
    keep = np.array([1, 2, 4, 5, 6])
    columns = np.isin(searched.owner, keep)
    first = keep[similarities[keep][:, columns].argmax(axis=0)] == searched.owner[columns]
    assert (part.ranks["model"].photo_ranks == 1).tolist() == first.tolist()
    assert part.ranks["both"].owner.tolist() == np.repeat(np.arange(5), 3).tolist()
    with pytest.raises(UserError, match=r"trained on 8 of the 8 photos of dev, so nothing is left"):
        rerank(tmp_path, "dev", *actual, knowing(["dev"]), "weights")
    diverged = knowing(odds=lambda pairs: np.full(len(pairs), np.nan))
    with pytest.raises(UserError, match="log odds are not finite"):
        rerank(tmp_path, "dev", *actual, diverged, "weights")
