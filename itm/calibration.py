"""Calibration: probabilities that fit how often the model is right, by scale and shift.

calibrate(model, data)                          # on dev, in the model's last layer
scale, shift = fit_logistic(log_odds, is_match)
"""

import keras
import numpy as np

from imagetext.itm.data import MatchingData


def calibrate(model: keras.Model, data: MatchingData, split: str = "dev") -> None:
    """Scale and shift the log odds to fit a split best, by changing the last layer.

    The order of the rows, and so the ROC AUC, stays the same. A model whose log odds would have to
    be reversed is no better than chance on the split; it is left unchanged.
    """
    last = model.get_layer("match")
    before = keras.Model(model.input, last.input)
    kernel = last.get_weights()[0].astype(np.float64)
    odds, is_match = [], []
    for inputs, truth, weight in data.batches(split):
        used = weight.numpy() > 0
        features = before(inputs, training=False).numpy()[used]
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
    middle, spread = odds.mean(), odds.std() or 1.0
    columns = np.stack([(odds - middle) / spread, np.ones_like(odds)], axis=1)

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
    return weights[0] / spread, weights[1] - weights[0] * middle / spread
