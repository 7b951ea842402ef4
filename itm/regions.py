"""Which parts of a photo support a sentence, found by covering one part after another.

copies = cover_windows(pixels)                   # [49, s, s, 3], one window covered in each
drops = log_odds(whole) - log_odds(of_copies)    # what covering each window costs
spread_over_cells(drops.reshape(7, 7))           # [8, 8]
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
        effect: float [rows, columns]; how much the log odds of a match fall when a cell is covered.
        covered: The lowest P(match) that covering any one window leaves.
    """

    probability: float
    effect: np.ndarray
    covered: float


def cover_windows(pixels: np.ndarray) -> np.ndarray:
    """Copies of a photo with one window each painted in the photo's mean colour.

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


def spread_over_cells(windows: np.ndarray) -> np.ndarray:
    """Values of windows [n - 1, n - 1] -> of cells [n, n], each the mean of the windows over it."""
    size = len(windows) + 1
    total, count = np.zeros((size, size)), np.zeros((size, size))
    for down in (0, 1):
        for right in (0, 1):
            window = slice(down, down + size - 1), slice(right, right + size - 1)
            total[window] += windows
            count[window] += 1
    return (total / count).astype(np.float32)


def log_odds(probabilities: np.ndarray) -> np.ndarray:
    """P(match) and P(no match) [n, 2] -> log odds [n].

    Uses both, because a float32 close to 1 has lost the digits that say how close. The result is
    finite even where one of the two is 0.
    """
    logs = np.log(np.maximum(np.asarray(probabilities, np.float64), np.finfo(np.float32).tiny))
    return logs[:, 0] - logs[:, 1]
