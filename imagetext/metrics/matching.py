"""Metrics of binary matching: accuracy, ROC AUC, calibration, ..., each with its interval.

    estimate = measure(probability, is_match, groups)["roc_auc"]
    estimate.value, estimate.low, estimate.high

Shapes: n rows, b resamples; weights are [b, n] (see `metrics.bootstrap`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from imagetext.errors import UserError
from imagetext.metrics.bootstrap import (
    RESAMPLES,
    Estimate,
    estimate_from_draws,
    resample_weights,
)

BINS = 15
#: Keeps the log loss of a certain but wrong answer finite.
_SMALLEST = 1e-7


def measure(
    probability: np.ndarray,
    is_match: np.ndarray,
    groups: Sequence,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Compute every metric of `METRICS` with its interval.

    Args:
        probability: P(match) of each row [n].
        is_match: The truth of each row [n].
        groups: The group of each row [n], such as its image; whole groups are resampled.
        resamples: Number of resamples.
        seed: Seed of the resamples.

    Returns:
        The estimate of each metric.

    Examples:
        >>> measure([0.9, 0.2], [True, False], ["a.jpg", "b.jpg"])["accuracy"].value
        1.0
    """
    scored = ScoredRows.of(probability, is_match)
    if len(groups) != scored.rows:
        raise ValueError(f"expected {scored.rows} groups, got {len(groups)}")
    once = np.ones((1, scored.rows))
    values = {name: float(metric.compute(scored, once)[0]) for name, metric in METRICS.items()}
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in METRICS}
    for weights in resample_weights(groups, resamples, seed):
        sorted_weights = weights[:, scored.order]
        for name, metric in METRICS.items():
            drawn[name].append(metric.compute(scored, sorted_weights))
    return {
        name: estimate_from_draws(
            value, np.concatenate(drawn[name]) if drawn[name] else None, METRICS[name].if_undefined
        )
        for name, value in values.items()
    }


@dataclass(frozen=True)
class ScoredRows:
    """Rows sorted by P(match), highest first, with everything that the metrics need."""

    order: np.ndarray  # [n] original row numbers
    is_match: np.ndarray  # [n] float 0 / 1
    predicted: np.ndarray  # [n] float 0 / 1
    correct: np.ndarray  # [n] float 0 / 1
    loss: np.ndarray  # [n]
    tie_starts: np.ndarray  # first row of each run of equal scores
    confidence: np.ndarray  # [n] of the predicted class
    bin: np.ndarray  # [n] calibration bin

    @classmethod
    def of(cls, probability: np.ndarray, is_match: np.ndarray) -> "ScoredRows":
        """Sort and check P(match) [n] and the truth [n]."""
        probability = np.asarray(probability, np.float64)
        is_match = np.asarray(is_match, bool)
        if probability.ndim != 1 or probability.shape != is_match.shape:
            shapes = f"{probability.shape} probabilities, {is_match.shape} labels"
            raise ValueError(f"expected two lists of the same length, got {shapes}")
        if not np.isfinite(probability).all():
            count = int((~np.isfinite(probability)).sum())
            raise UserError(
                f"{count} of {len(probability)} predictions are not numbers: the model has "
                "diverged; train again with a lower train.learning_rate"
            )
        if probability.size and not 0 <= probability.min() <= probability.max() <= 1:
            raise ValueError("probabilities must lie between 0 and 1")
        order = np.argsort(-probability, kind="stable")
        probability, is_match = probability[order], is_match[order]
        of_truth = np.clip(np.where(is_match, probability, 1 - probability), _SMALLEST, 1)
        confidence = np.maximum(probability, 1 - probability)
        predicted = probability >= 0.5
        return cls(
            order=order,
            is_match=is_match.astype(float),
            predicted=predicted.astype(float),
            correct=(predicted == is_match).astype(float),
            loss=-np.log(of_truth),
            tie_starts=np.flatnonzero(np.diff(probability, prepend=np.inf)),
            confidence=confidence,
            bin=np.minimum((confidence * BINS).astype(int), BINS - 1),
        )

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.order)

    def summed_over_ties(self, values: np.ndarray) -> np.ndarray:
        """Sum over rows with the same score: [b, n] -> [b, distinct scores]."""
        if not self.rows:
            return np.zeros((len(values), 0))
        return np.add.reduceat(values, self.tie_starts, axis=1)


def accuracy(scored: ScoredRows, weights: np.ndarray) -> np.ndarray:
    """The share of rows that are classified correctly, at a threshold of 0.5."""
    return _ratio(weights @ scored.correct, weights.sum(1))


def balanced_accuracy(scored: ScoredRows, weights: np.ndarray) -> np.ndarray:
    """The mean of the recalls of both classes."""
    return (match_recall(scored, weights) + no_match_recall(scored, weights)) / 2


def match_precision(scored: ScoredRows, weights: np.ndarray) -> np.ndarray:
    """The share of predicted matches that are matches."""
    return _ratio(weights @ (scored.predicted * scored.is_match), weights @ scored.predicted)


def match_recall(scored: ScoredRows, weights: np.ndarray) -> np.ndarray:
    """The share of matches that are predicted as such."""
    return _ratio(weights @ (scored.predicted * scored.is_match), weights @ scored.is_match)


def match_f1(scored: ScoredRows, weights: np.ndarray) -> np.ndarray:
    """The harmonic mean of precision and recall of matches."""
    correct = weights @ (scored.predicted * scored.is_match)
    return _ratio(2 * correct, weights @ (scored.predicted + scored.is_match))


def no_match_precision(scored: ScoredRows, weights: np.ndarray) -> np.ndarray:
    """The share of predicted no-matches that are no-matches."""
    return match_precision(_mirrored(scored), weights)


def no_match_recall(scored: ScoredRows, weights: np.ndarray) -> np.ndarray:
    """The share of no-matches that are predicted as such."""
    return match_recall(_mirrored(scored), weights)


def no_match_f1(scored: ScoredRows, weights: np.ndarray) -> np.ndarray:
    """The harmonic mean of precision and recall of no-matches."""
    return match_f1(_mirrored(scored), weights)


def roc_auc(scored: ScoredRows, weights: np.ndarray) -> np.ndarray:
    """How often a random match scores above a random no-match; a tie counts half."""
    match = scored.summed_over_ties(weights * scored.is_match)
    no_match = scored.summed_over_ties(weights * (1 - scored.is_match))
    not_above = no_match.sum(1, keepdims=True) - no_match.cumsum(1)
    won = (match * (not_above + no_match / 2)).sum(1)
    return _ratio(won, match.sum(1) * no_match.sum(1))


def average_precision(scored: ScoredRows, weights: np.ndarray) -> np.ndarray:
    """Precision averaged over recall, one step for each distinct score."""
    match = scored.summed_over_ties(weights * scored.is_match)
    everything = scored.summed_over_ties(weights).cumsum(1)
    hits = match.cumsum(1)
    precision = np.divide(hits, everything, out=np.zeros_like(hits), where=everything > 0)
    total = match.sum(1)
    # With matches only, every ranking is perfect: the metric is undefined.
    total = np.where(weights @ (1 - scored.is_match) > 0, total, 0)
    return _ratio((match * precision).sum(1), total)


def calibration_error(scored: ScoredRows, weights: np.ndarray) -> np.ndarray:
    """ECE: |confidence - accuracy| of the predicted class, averaged over 15 even bins of [0, 1]."""
    surplus = np.zeros((scored.rows, BINS))
    surplus[np.arange(scored.rows), scored.bin] = scored.confidence - scored.correct
    return _ratio(np.abs(weights @ surplus).sum(1), weights.sum(1))


def log_loss(scored: ScoredRows, weights: np.ndarray) -> np.ndarray:
    """The mean negative log probability of the true class."""
    return _ratio(weights @ scored.loss, weights.sum(1))


@dataclass(frozen=True)
class Metric:
    """One row of the report's table."""

    label: str
    compute: Callable[[ScoredRows, np.ndarray], np.ndarray]
    percent: bool
    higher_is_better: bool = True
    if_undefined: str = "no rows"


_ONE_CLASS = "only one class among the rows"
METRICS: dict[str, Metric] = {
    "accuracy": Metric("Accuracy", accuracy, True),
    "balanced_accuracy": Metric(
        "Balanced accuracy", balanced_accuracy, True, if_undefined=_ONE_CLASS
    ),
    "roc_auc": Metric("ROC AUC", roc_auc, False, if_undefined=_ONE_CLASS),
    "average_precision": Metric(
        "Average precision", average_precision, False, if_undefined=_ONE_CLASS
    ),
    "match_precision": Metric(
        "Match: precision", match_precision, True, if_undefined="match was never predicted"
    ),
    "match_recall": Metric("Match: recall", match_recall, True, if_undefined="no match rows"),
    "match_f1": Metric("Match: F1", match_f1, True, if_undefined="no match, predicted or true"),
    "no_match_precision": Metric(
        "No-match: precision", no_match_precision, True, if_undefined="no-match was never predicted"
    ),
    "no_match_recall": Metric(
        "No-match: recall", no_match_recall, True, if_undefined="no no-match rows"
    ),
    "no_match_f1": Metric(
        "No-match: F1", no_match_f1, True, if_undefined="no no-match, predicted or true"
    ),
    "calibration_error": Metric("Calibration error (ECE)", calibration_error, False, False),
    "log_loss": Metric("Log loss", log_loss, False, False),
}


def confusion(probability: np.ndarray, is_match: np.ndarray) -> np.ndarray:
    """Counts [truth, predicted], match first: [0, 1] counts matches called no-match."""
    scored = ScoredRows.of(probability, is_match)
    counts = np.zeros((2, 2), int)
    np.add.at(counts, (1 - scored.is_match.astype(int), 1 - scored.predicted.astype(int)), 1)
    return counts


def roc_curve(
    probability: np.ndarray, is_match: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """False and true positive rates, one step for each distinct score; None with one class."""
    scored = ScoredRows.of(probability, is_match)
    match = scored.summed_over_ties(scored.is_match[None])[0].cumsum()
    no_match = scored.summed_over_ties(1 - scored.is_match[None])[0].cumsum()
    if not scored.rows or not match[-1] or not no_match[-1]:
        return None
    return np.insert(no_match / no_match[-1], 0, 0), np.insert(match / match[-1], 0, 0)


def calibration_bins(
    probability: np.ndarray, is_match: np.ndarray
) -> list[tuple[float, float, int]]:
    """(mean confidence, accuracy, rows) of each bin of `calibration_error` that has rows."""
    scored = ScoredRows.of(probability, is_match)
    inside = [scored.bin == index for index in range(BINS)]
    return [
        (float(scored.confidence[rows].mean()), float(scored.correct[rows].mean()), int(rows.sum()))
        for rows in inside
        if rows.any()
    ]


def _mirrored(scored: ScoredRows) -> ScoredRows:
    """The same rows with classes exchanged, for the metrics at the threshold of 0.5."""
    flipped = {"is_match": 1 - scored.is_match, "predicted": 1 - scored.predicted}
    return ScoredRows(**{**vars(scored), **flipped})


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole; NaN where whole is zero."""
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
