"""Between a network before its training and after it (Wortsman et al. 2022, WiSE-FT).

    start = weights_of(model)
    ...                                                     # training
    scores = settle(model, start, [0.0, 0.5, 1.0], score)   # {0.0: 0.41, 0.5: 0.47, 1.0: 0.45}

A network tuned on little data finds there what it was tuned on, and forgets what else it knew. The
mean of its weights and of those it had before often does better at both.
"""

from collections.abc import Callable, Sequence

import keras
import numpy as np


def weights_of(model: keras.Model) -> list[np.ndarray]:
    """All that is trained of a model, as it is now."""
    return [np.array(variable.numpy()) for variable in model.trainable_variables]


def settle(
    model: keras.Model, start: Sequence[np.ndarray], shares: Sequence[float], score: Callable
) -> dict[float, float]:
    """Score a model between `start` and its weights at each of the shares, of which 1 are the
    latter, and leave it at the best: of equal ones, at the nearest to the start.

    Returns share -> score, the best first.
    """
    end, scores = weights_of(model), {}
    for share in sorted(set(shares)):
        _put(model, start, end, share)
        scores[share] = float(score())
    best = max(scores, key=scores.get)
    _put(model, start, end, best)
    return {best: scores.pop(best), **scores}


def _put(
    model: keras.Model, start: Sequence[np.ndarray], end: Sequence[np.ndarray], share: float
) -> None:
    for variable, before, after in zip(model.trainable_variables, start, end, strict=True):
        # At either end nothing may be rounded.
        between = before if share == 0 else (1 - share) * before + share * after
        variable.assign(after if share == 1 else between)
