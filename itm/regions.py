"""Which parts of a photo support a sentence: occlusion of one part after another.

copies = cover_windows(pixels)                       # [49, s, s, 3], one covered window each
drops = log_odds(whole) - log_odds(covered)          # decrease by each window
average_over_cells(drops.reshape(7, 7))              # [8, 8]
"""

from dataclasses import dataclass

import numpy as np

#: A photo is divided into CELLS x CELLS cells and covered by windows of 2 x 2 cells.
CELLS = 8
WINDOWS = CELLS - 1


@dataclass(frozen=True)
class Regions:
    """How much each part of a photo contributes to a match.

    Args:
        probability: P(match) of the whole photo.
        effect: Decrease of the log odds when a cell is covered, float32 [rows, columns].
        covered: The lowest P(match) with one window covered.
    """

    probability: float
    effect: np.ndarray
    covered: float


def cover_windows(pixels: np.ndarray) -> np.ndarray:
    """Copies of a photo, each with one window painted in the photo's mean colour.

    Args:
        pixels: uint8 [s, s, 3].

    Returns:
        uint8 [WINDOWS ** 2, s, s, 3], row by row.
    """
    edges = np.linspace(0, len(pixels), CELLS + 1).round().astype(int)
    mean, copies = pixels.mean(axis=(0, 1)).round(), []
    for row in range(WINDOWS):
        for column in range(WINDOWS):
            copy = pixels.copy()
            copy[edges[row] : edges[row + 2], edges[column] : edges[column + 2]] = mean
            copies.append(copy)
    return np.stack(copies)


def average_over_cells(windows: np.ndarray) -> np.ndarray:
    """The mean over all windows that cover a cell, for each cell.

    Args:
        windows: A value for each window [n - 1, n - 1].

    Returns:
        A value for each cell, float32 [n, n].
    """
    size = len(windows) + 1
    total, count = np.zeros((size, size)), np.zeros((size, size))
    for down in (0, 1):
        for right in (0, 1):
            window = slice(down, down + size - 1), slice(right, right + size - 1)
            total[window] += windows
            count[window] += 1
    return (total / count).astype(np.float32)


def log_odds(probabilities: np.ndarray) -> np.ndarray:
    """The log odds of a match [n], from P(match) and P(no match) [n, 2].

    Both are needed, as 1 - p loses all precision in float32 if p is close to 1. The result is
    finite even if one of them is 0.
    """
    logs = np.log(np.maximum(np.asarray(probabilities, np.float64), np.finfo(np.float32).tiny))
    return logs[:, 0] - logs[:, 1]
