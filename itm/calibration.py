"""Platt scaling: scale and shift the log odds so that probabilities match observed frequencies.

calibrate(model, data)                          # on dev, in the model's last layer
scale, shift = fit_logistic(log_odds, is_match)
"""

import keras
import numpy as np

from imagetext.itm.data import MatchingData


def calibrate(model: keras.Model, data: MatchingData, split: str = "dev") -> None:
    """Fit scale and shift of the log odds on a split, and fold them into the last layer.

    The order of the rows, and so the ROC AUC, stays the same. If the fitted scale is negative, the
    model is no better than chance on the split; it is left unchanged.

    Args:
        model: The matching model; changed in place.
        data: The data.
        split: The split to fit on.
    """
    last = model.get_layer("match")
    backbone = keras.Model(model.input, last.input)
    kernel = last.get_weights()[0].astype(np.float64)
    odds, is_match = [], []
    for inputs, truth, weight in data.batches(split):
        used = weight.numpy() > 0
        features = backbone(inputs, training=False).numpy()[used]
        odds.append(features @ (kernel[:, 0] - kernel[:, 1]))
        is_match.append(truth.numpy()[used][:, 0])
    scale, shift = fit_logistic(np.concatenate(odds), np.concatenate(is_match))
    if scale > 0:
        last.set_weights([kernel * scale, np.array([shift / 2, -shift / 2])])


def fit_logistic(odds: np.ndarray, truth: np.ndarray, ridge: float = 1e-3) -> tuple[float, float]:
    """Fit sigmoid(scale * odds + shift) to the truth by log loss, with Newton's method.

    Args:
        odds: Log odds [n].
        truth: 1 or 0, [n].
        ridge: Penalty that keeps both results finite if the classes are separable.

    Returns:
        Scale and shift.
    """
    mean, std = odds.mean(), odds.std() or 1.0
    columns = np.stack([(odds - mean) / std, np.ones_like(odds)], axis=1)

    def cost(weights: np.ndarray) -> float:
        logits = columns @ weights
        return np.logaddexp(0, logits).sum() - truth @ logits + ridge / 2 * weights @ weights

    weights = np.zeros(2)
    for _ in range(50):
        probability = np.exp(-np.logaddexp(0, -columns @ weights))
        gradient = columns.T @ (probability - truth) + ridge * weights
        hessian = (columns * (probability * (1 - probability))[:, None]).T @ columns
        hessian += ridge * np.eye(2)
        step, current = np.linalg.solve(hessian, gradient), cost(weights)
        while cost(weights - step) > current and np.abs(step).max() > 1e-9:
            step = step / 2  # a full step overshoots where the cost is flat
        weights = weights - step
    return weights[0] / std, weights[1] - weights[0] * mean / std
