"""Score the captions of several models for the same photos, with intervals over photos.

scores = score_models({"model": captions, "greedy": greedy}, references, encoder=encoder)
scores["model"].estimates["cider_d"].value, scores["model"].cider    # of all, and of each photo
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
from imagetext.metrics.captioning.corpus import CaptionScorer
from imagetext.metrics.captioning.tokens import tokenize

NO_ENCODER = (
    "MiniLM similarity is unavailable: no weights of all-MiniLM-L6-v2; set IMAGETEXT_WEIGHTS to"
    " their folder"
)


@dataclass(frozen=True)
class CaptionScores:
    """The scores of one model.

    Args:
        estimates: Each metric by name.
        cider: CIDEr-D of each photo [n].
        notes: Remarks for the reader, such as why a metric is unavailable.
    """

    estimates: dict[str, Estimate]
    cider: np.ndarray
    notes: tuple[str, ...]


@dataclass(frozen=True)
class WordScores:
    """How well a model predicts each word of the references from the true words before it.

    Args:
        words: Number of words of each photo's references [n].
        correct: How many of them were the most probable word [n].
        negative_log_likelihood: Summed over the words [n].
    """

    words: np.ndarray
    correct: np.ndarray
    negative_log_likelihood: np.ndarray


@dataclass(frozen=True)
class Judge:
    """A model that scores captions without references.

    Args:
        name: What it is called in a report.
        score: A function of paths and captions, both [n], that returns scores [n]. A path may occur
            many times.
    """

    name: str
    score: Callable[[Sequence[str], Sequence[str]], np.ndarray]


def score_models(
    captions: Mapping[str, Sequence[str]],
    references: Sequence[Sequence[str]],
    *,
    encoder: Callable[[Sequence[str]], np.ndarray] | None = None,
    resamples: int = RESAMPLES,
) -> dict[str, CaptionScores]:
    """Score the captions of each model against all references.

    Args:
        captions: By name of the model, one caption for each photo, as written.
        references: The reference captions of each photo.
        encoder: A sentence encoder (texts [n] to unit vectors [n, d]) for the similarity of
            captions and references; without one that is left out.
        resamples: Bootstrap resamples behind each interval.

    Returns:
        The scores of each model.
    """
    scorer = CaptionScorer(references)
    vectors = _encode(encoder, [*captions.values(), *references]) if encoder else {}
    notes = [f"{scorer.labels['meteor']}: METEOR's stages that are available"]
    notes += [] if encoder else [NO_ENCODER]
    scores = {}
    for name, texts in captions.items():
        estimates = scorer.score(texts, resamples=resamples, seed=SEED)
        # The reason names the metric, so a row without a number would add nothing.
        unavailable = [estimates.pop("spice").reason] if estimates["spice"].value is None else []
        if encoder:
            similarity = _similarity(texts, references, vectors)
            estimates |= {key: estimate_mean(each, resamples) for key, each in similarity.items()}
        cider = scorer.cider.scores([tokenize(text) for text in texts])
        scores[name] = CaptionScores(estimates, cider, (*notes, *unavailable))
    return scores


def score_words(scores: WordScores, resamples: int = RESAMPLES) -> dict[str, Estimate]:
    """Cross-entropy, perplexity and token accuracy over all words."""
    entropy = estimate_ratio(scores.negative_log_likelihood, scores.words, resamples)
    bounds = [entropy.value, entropy.low, entropy.high]
    perplexity = [None if value is None else float(np.exp(value)) for value in bounds]
    return {
        "cross_entropy": entropy,
        "perplexity": Estimate(perplexity[0], perplexity[1], perplexity[2], reason=entropy.reason),
        "token_accuracy": estimate_ratio(scores.correct, scores.words, resamples),
    }


def judge_captions(
    judge: Judge, photos: Sequence[str], captions: Mapping[str, Sequence[str]]
) -> dict[str, np.ndarray]:
    """Score captions without references.

    Args:
        judge: The model that scores them. It is called once, so that it reads each photo once.
        photos: Paths of the photos [n].
        captions: By name, a caption for each photo [n].

    Returns:
        The scores [n] for each name; 0 for an empty caption.
    """
    pairs = [pair for texts in captions.values() for pair in zip(photos, texts, strict=True)]
    rows = [row for row, (_, caption) in enumerate(pairs) if caption.strip()]
    scores = np.zeros(len(pairs))
    if rows:
        paths, texts = zip(*(pairs[row] for row in rows), strict=True)
        scores[rows] = judge.score(list(paths), list(texts))
    return dict(zip(captions, np.split(scores, len(captions)), strict=True))


def estimate_mean(values: np.ndarray, resamples: int) -> Estimate:
    """The mean of a figure of each photo [n], resampled by photo."""
    return estimate_ratio(values, np.ones(len(values)), resamples)


def estimate_ratio(parts: np.ndarray, wholes: np.ndarray, resamples: int) -> Estimate:
    """The sum of `parts` [n] over the sum of `wholes` [n], resampled by photo."""
    parts, wholes = np.asarray(parts, np.float64), np.asarray(wholes, np.float64)
    weights = resample_weights(np.arange(len(parts)), resamples, SEED)
    draws = [(w @ parts) / np.maximum(w @ wholes, 1e-9) for w in weights]
    value = parts.sum() / wholes.sum() if wholes.sum() else np.nan
    return estimate_from_draws(value, np.concatenate(draws) if draws else None, "no words")


def _encode(
    encoder: Callable[[Sequence[str]], np.ndarray], groups: Sequence[Sequence[str]]
) -> dict[str, np.ndarray]:
    texts = list(dict.fromkeys(text for group in groups for text in group))
    return dict(zip(texts, encoder(texts), strict=True))


def _similarity(
    captions: Sequence[str], references: Sequence[Sequence[str]], vectors: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The cosine of each caption with its references [n]: the mean and the largest."""
    cosines = [
        np.stack([vectors[text] for text in texts]) @ vectors[caption]
        for caption, texts in zip(captions, references, strict=True)
    ]
    return {
        "similarity": np.array([each.mean() for each in cosines]),
        "similarity_best": np.array([each.max() for each in cosines]),
    }
