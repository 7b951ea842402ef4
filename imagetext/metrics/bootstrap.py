"""Estimates with 95 % bootstrap intervals, from plain arrays.

    weights = resample_weights(groups, RESAMPLES, SEED)
    estimate = estimate_from_draws(value, draws, "only one class among the rows")
    estimate.value, estimate.low, estimate.high

Rows of one group (such as a photo) are not independent, so whole groups are resampled. A metric is
defined once, with row weights: weights of one give its value, resampled weights its interval.
Shapes: n rows, b resamples; weights are [b, n].
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

RESAMPLES = 1000
SEED = 0
#: Elements of a weight matrix at a time: 16 MB, and a few times that for intermediate results.
_CHUNK = 2_000_000


@dataclass(frozen=True)
class Estimate:
    """A metric with its interval.

    Args:
        value: The metric, or None if it is undefined.
        low: Lower end of the interval, if there is one.
        high: Upper end of the interval.
        reason: Why there is no value, or no interval.
        draws: Values on the resamples, [b].
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""
    draws: np.ndarray | None = field(default=None, repr=False)

    def as_dict(self) -> dict:
        """For JSON, without the draws; the reason is called "why" in reports."""
        values = {"value": self.value, "low": self.low, "high": self.high}
        return {**values, "why": self.reason} if self.reason else values


def estimate_from_draws(value: float, draws: np.ndarray | None, if_undefined: str) -> Estimate:
    """A value with the interval spanned by its resamples [b].

    Args:
        value: The metric on all rows; not finite if it is undefined.
        draws: The metric on each resample; None if there was nothing to resample.
        if_undefined: The reason, if the value is undefined.
    """
    if not np.isfinite(value):
        return Estimate(None, reason=if_undefined)
    if draws is None:
        return Estimate(value, reason="one image alone has no interval")
    defined = draws[np.isfinite(draws)]
    # An interval over the few resamples that happen to define the metric would be too narrow.
    if len(defined) < 0.9 * len(draws):
        return Estimate(value, reason="too few rows for an interval", draws=draws)
    low, high = np.percentile(defined, [2.5, 97.5])
    return Estimate(value, float(low), float(high), draws=draws)


def difference(first: Estimate, second: Estimate) -> Estimate:
    """`first` minus `second`, paired: both must come from the same rows and seed.

    difference(model["roc_auc"], text_only["roc_auc"]).low > 0   # the model is better
    """
    if first.value is None or second.value is None:
        return Estimate(None, reason=first.reason or second.reason)
    if first.draws is None or second.draws is None:
        return Estimate(first.value - second.value)
    return estimate_from_draws(first.value - second.value, first.draws - second.draws, "")


def as_dicts(estimates: Mapping[str, Estimate]) -> dict[str, dict]:
    """Estimates by name, for JSON."""
    return {name: estimate.as_dict() for name, estimate in estimates.items()}


def subtract(first: Mapping[str, Estimate], second: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """`first` minus `second` for every metric of `first`, paired as in `difference`."""
    return {name: difference(first[name], second[name]) for name in first}


def resample_weights(
    groups: Sequence | np.ndarray, resamples: int, seed: int
) -> Iterator[np.ndarray]:
    """Draw groups with replacement: how often each row is drawn, in chunks of [b, n].

    The draws depend only on the number of groups, `resamples` and `seed`, so two models scored on
    the same rows are resampled alike. With fewer than two groups there is nothing to draw.
    """
    names, group_of_row = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        return
    rng = np.random.default_rng(seed)
    even = np.full(len(names), 1 / len(names))
    chunk = max(1, _CHUNK // len(group_of_row))
    for start in range(0, resamples, chunk):
        counts = rng.multinomial(len(names), even, size=min(chunk, resamples - start))
        yield counts[:, group_of_row].astype(np.float64)
