"""Interpolate between the weights before and after fine-tuning (WiSE-FT, Wortsman et al. 2022).

    start = copy_weights(model)
    ...                                                     # training
    scores = choose_share(model, start, [0.0, 0.5, 1.0], score)   # {0.5: 0.47, 0.0: 0.41, ...}

A network tuned on little data does better on it and forgets some of what it knew before. The mean
of its weights before and after is often better at both.
"""

from collections.abc import Callable, Sequence

import keras
import numpy as np


def copy_weights(model: keras.Model) -> list[np.ndarray]:
    """Copies of the trainable weights."""
    return [np.array(variable.numpy()) for variable in model.trainable_variables]


def choose_share(
    model: keras.Model,
    start: Sequence[np.ndarray],
    shares: Sequence[float],
    score: Callable[[], float],
) -> dict[float, float]:
    """Score a model between `start` and its present weights, and leave it at the best share.

    Args:
        model: The model after training.
        start: Its weights before training, from `copy_weights`.
        shares: Shares of the present weights, from 0 to 1.
        score: Scores the model as it is; higher is better.

    Returns:
        The score of every share, the best first; among equal ones the smallest share.
    """
    end, scores = copy_weights(model), {}
    for share in sorted(set(shares)):
        _interpolate(model, start, end, share)
        scores[share] = float(score())
    best = max(scores, key=lambda share: scores[share])
    _interpolate(model, start, end, best)
    return {best: scores.pop(best), **scores}


def _interpolate(
    model: keras.Model, start: Sequence[np.ndarray], end: Sequence[np.ndarray], share: float
) -> None:
    for variable, before, after in zip(model.trainable_variables, start, end, strict=True):
        # Without rounding at either end.
        between = before if share == 0 else (1 - share) * before + share * after
        variable.assign(after if share == 1 else between)
