"""Scores of several models' captions of the same photos, each with its interval over photos.

scored = score_all({"model": said, "greedy": greedy}, references, encoder=SentenceEncoder.load())
scored["model"].measured["cider_d"].value, scored["model"].cider      # of all; of each photo
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from imagetext.metrics.bootstrap import (
    RESAMPLES,
    SEED,
    Estimate,
    estimate_from_draws,
    resample_weights,
)
from imagetext.metrics.captioning.scorer import CaptionScorer
from imagetext.metrics.captioning.tokens import tokenize

NO_ENCODER = (
    "MiniLM similarity is absent: the weights of all-MiniLM-L6-v2 are not at hand"
    " (IMAGETEXT_WEIGHTS names their folder)"
)


@dataclass(frozen=True)
class CaptionScores:
    """The figures of one model by name, CIDEr-D of each photo [n], and what there is to say about
    them, such as why one is absent."""

    measured: dict[str, Estimate]
    cider: np.ndarray
    notes: tuple[str, ...]


@dataclass(frozen=True)
class WordScores:
    """Of each photo's references, the true words before each given: how many words [n], how many
    were foreseen [n], and the negative log probability of all [n]."""

    words: np.ndarray
    right: np.ndarray
    surprise: np.ndarray


def score_all(
    said: Mapping[str, Sequence[str]],
    references: Sequence[Sequence[str]],
    *,
    encoder: Callable[[Sequence[str]], np.ndarray] | None = None,
    resamples: int = RESAMPLES,
) -> dict[str, CaptionScores]:
    """Captions [n] of each model by name, as written, against all references of each photo."""
    scorer = CaptionScorer(references)
    vectors = _vectors(encoder, [*said.values(), *references]) if encoder else {}
    notes = [f"{scorer.labels['meteor']}: the stages that it has here"]
    notes += [] if encoder else [NO_ENCODER]
    found = {}
    for name, captions in said.items():
        measured = scorer.score(captions, resamples=resamples, seed=SEED)
        # Its reason names it already, and a row without a number says no more.
        missing = [measured.pop("spice").reason] if measured["spice"].value is None else []
        if encoder:
            each = _similarity(captions, references, vectors)
            measured |= {figure: mean(values, resamples) for figure, values in each.items()}
        cider = scorer.cider.scores([tokenize(text) for text in captions])
        found[name] = CaptionScores(measured, cider, (*notes, *missing))
    return found


def score_words(scores: WordScores, resamples: int = RESAMPLES) -> dict[str, Estimate]:
    """Cross-entropy, perplexity and token accuracy, over all words there are."""
    entropy = ratio(scores.surprise, scores.words, resamples)
    bounds = [entropy.value, entropy.low, entropy.high]
    perplexity = [None if value is None else float(np.exp(value)) for value in bounds]
    return {
        "cross_entropy": entropy,
        "perplexity": Estimate(perplexity[0], perplexity[1], perplexity[2], reason=entropy.reason),
        "token_accuracy": ratio(scores.right, scores.words, resamples),
    }


@dataclass(frozen=True)
class Judge:
    """Who says how well captions fit photos without reading a reference, and what it is called.
    `score` takes paths and captions, both [n], and gives [n]; a path may stand there often."""

    name: str
    score: Callable[[Sequence[str], Sequence[str]], np.ndarray]


def judged(
    judge: Judge, photos: Sequence[str], said: Mapping[str, Sequence[str]]
) -> dict[str, np.ndarray]:
    """How well the captions [n] of each name fit the photos [n]; 0 for one that says nothing. The
    judge is asked once for all, so that it looks at each photo once."""
    pairs = [pair for captions in said.values() for pair in zip(photos, captions, strict=True)]
    told = [(photo, caption) for photo, caption in pairs if caption.strip()]
    scores = np.zeros(len(pairs))
    if told:
        places = [place for place, (_, caption) in enumerate(pairs) if caption.strip()]
        scores[places] = judge.score(*map(list, zip(*told, strict=True)))
    return dict(zip(said, np.split(scores, len(said)), strict=True))


def mean(values: np.ndarray, resamples: int) -> Estimate:
    return ratio(values, np.ones(len(values)), resamples)


def ratio(parts: np.ndarray, wholes: np.ndarray, resamples: int) -> Estimate:
    """The sum of `parts` [n] over that of `wholes` [n], resampled by photo."""
    parts, wholes = np.asarray(parts, np.float64), np.asarray(wholes, np.float64)
    weights = resample_weights(np.arange(len(parts)), resamples, SEED)
    drawn = [(w @ parts) / np.maximum(w @ wholes, 1e-9) for w in weights]
    value = parts.sum() / wholes.sum() if wholes.sum() else np.nan
    return estimate_from_draws(value, np.concatenate(drawn) if drawn else None, "no words")


def _vectors(encoder, groups: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    texts = list(dict.fromkeys(text for group in groups for text in group))
    return dict(zip(texts, encoder(texts), strict=True))


def _similarity(
    captions: Sequence[str], references: Sequence[Sequence[str]], vectors: Mapping
) -> dict[str, np.ndarray]:
    """Cosines of captions with their references: the mean [n], and that with the nearest [n]."""
    cosines = [
        np.stack([vectors[text] for text in texts]) @ vectors[caption]
        for caption, texts in zip(captions, references, strict=True)
    ]
    return {
        "similarity": np.array([each.mean() for each in cosines]),
        "similarity_best": np.array([each.max() for each in cosines]),
    }
