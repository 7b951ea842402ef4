"""All metrics of a corpus: intervals, unavailable metrics, statistics of captions."""

import subprocess
import sys
import types

import numpy as np
import pytest

from imagetext.errors import UserError
from imagetext.metrics.bootstrap import difference
from imagetext.metrics.captioning import spice
from imagetext.metrics.captioning.corpus import (
    METRICS,
    CaptionScorer,
    caption_statistics,
    score_captions,
)

WORDS = ["dog", "cat", "man", "woman", "runs", "jumps", "red", "blue", "grass", "road"]


def some_photos(images=30, seed=0):
    rng = np.random.default_rng(seed)

    def caption():
        return "A " + " ".join(rng.choice(WORDS, rng.integers(3, 8))) + "."

    references = [[caption() for _ in range(5)] for _ in range(images)]
    candidates = [image[0][:-8] if rng.random() < 0.5 else caption() for image in references]
    return candidates, references


@pytest.fixture(autouse=True)
def no_pycocoevalcap(monkeypatch):
    monkeypatch.setattr(spice.importlib.util, "find_spec", lambda name: None)


def test_every_metric_has_a_value_within_its_interval():
    candidates, references = some_photos()
    estimates = score_captions(candidates, references, resamples=200)
    assert tuple(estimates) == METRICS
    for name in METRICS[:-1]:
        assert estimates[name].low < estimates[name].value < estimates[name].high, name
    assert estimates["spice"].value is None
    assert "pip install" in estimates["spice"].reason


def test_intervals_are_those_of_scoring_resampled_images_one_by_one():
    """The naive twin scores each resample as a corpus (which CIDEr-D does not allow)."""
    candidates, references = some_photos(12)
    names = ("bleu_1", "bleu_4", "rouge_l", "meteor")
    estimates = score_captions(candidates, references, resamples=15, seed=3, metrics=names)
    rng = np.random.default_rng(3)
    drawn = rng.multinomial(12, np.full(12, 1 / 12), size=15)
    for draw, counts in enumerate(drawn):
        images = np.repeat(np.arange(12), counts)
        again = score_captions(
            [candidates[i] for i in images],
            [references[i] for i in images],
            resamples=0,
            metrics=names,
        )
        for name in names:
            assert estimates[name].draws[draw] == pytest.approx(again[name].value, abs=1e-12), name


def test_the_corpus_is_the_mean_of_each_where_it_is_a_mean():
    candidates, references = some_photos()
    scorer = CaptionScorer(references)
    of_each, estimates = scorer.score_images(candidates), scorer.score(candidates, resamples=0)
    for name in ("rouge_l", "cider_d"):
        assert of_each[name].mean() == pytest.approx(estimates[name].value)
    assert of_each["bleu_4"].mean() != pytest.approx(estimates["bleu_4"].value)
    assert "spice" not in of_each


def test_models_are_compared_in_pairs():
    candidates, references = some_photos()
    scorer = CaptionScorer(references, metrics=["cider_d"])
    better = scorer.score([image[1] for image in references])["cider_d"]
    worse = scorer.score(candidates)["cider_d"]
    assert difference(better, worse).low > 0
    assert list(scorer.labels.items()) == [("cider_d", "CIDEr-D")]


def test_one_image_has_no_interval_and_none_no_value():
    estimate = score_captions(["a dog"], [["a dog"]], metrics=["rouge_l"])["rouge_l"]
    assert (estimate.value, estimate.low, estimate.reason) == (
        1.0,
        None,
        "one image alone has no interval",
    )
    assert score_captions([], [], metrics=["cider_d"])["cider_d"].reason == "no images"


def test_mistakes_are_reported():
    with pytest.raises(UserError, match=r"1 of 2 images have no reference caption, first number 1"):
        score_captions(["a", "b"], [["a"], []])
    with pytest.raises(UserError, match="unknown metric cider: expected bleu_1"):
        score_captions(["a"], [["a"]], metrics=["cider"])
    with pytest.raises(ValueError, match="1 captions for 2 images"):
        score_captions(["a"], [["a"], ["b"]])


def test_metric_labels_say_which_stages_meteor_had():
    assert CaptionScorer([["a"]]).labels["meteor"] == "METEOR (exact, stem, synonym)"


def test_spice_comes_from_pycocoevalcap_where_it_is(monkeypatch, capsys):
    module = types.ModuleType("pycocoevalcap.spice.spice")

    class Spice:
        def compute_score(self, references, candidates):
            assert candidates == {0: ["a dog"], 1: ["a cat"], 2: [""]}
            assert references[1] == ["the cat", "two cats"]
            print("chatter")
            return 0.5, [{"All": {"f": f}} for f in (0.25, 0.75, float("nan"))]

    module.Spice = Spice
    for name in ("pycocoevalcap", "pycocoevalcap.spice"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "pycocoevalcap.spice.spice", module)
    monkeypatch.setattr(spice, "why_unavailable", lambda: "")
    references = [["A dog."], ["The cat.", "Two cats"], ["x"]]
    [estimate] = score_captions(
        ["A dog", "a cat", "."], references, metrics=["spice"], resamples=20
    ).values()
    assert estimate.value == 0.5  # the caption without a score is left out
    assert capsys.readouterr().out == ""

    def fails(self, references, candidates):
        raise subprocess.CalledProcessError(1, ["java"])

    monkeypatch.setattr(Spice, "compute_score", fails)
    [estimate] = score_captions(["A dog"], [["a dog"]], metrics=["spice"]).values()
    assert "SPICE failed" in estimate.reason


def test_what_spice_lacks_is_reported(monkeypatch, tmp_path):
    package = types.SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(spice.importlib.util, "find_spec", lambda name: package)
    monkeypatch.setattr(spice.shutil, "which", lambda name: None)
    assert "no java" in spice.why_unavailable()
    monkeypatch.setattr(spice.shutil, "which", lambda name: "/usr/bin/java")
    assert "CoreNLP" in spice.why_unavailable()
    (tmp_path / "spice" / "lib").mkdir(parents=True)
    (tmp_path / "spice" / "lib" / "stanford-corenlp-3.6.0-models.jar").touch()
    assert spice.why_unavailable() == ""


def test_statistics_say_what_captions_are_like():
    results = caption_statistics(
        ["a dog .", "A dog", "a red cat", ""], training=["A dog!", "the cat"]
    )
    assert results.as_dict() == {
        "captions": 4,
        "distinct": 0.75,
        "in_training": 0.5,
        "vocabulary": 4,
        "mean_words": 7 / 4,
    }
    assert caption_statistics(["a"]).in_training is None
    assert caption_statistics([]).mean_words == 0
