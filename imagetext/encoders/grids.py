"""Concatenate the features of several encoders, with all grids resized to the same size.

    grids = CombinedGrids([(7, 7, 1280), (9, 9, 1280)])
    grids.shape                                # (9, 9, 2560)
    grids.combine([seven, nine])               # [n, 7, 7, 1280], [n, 9, 9, 1280] -> [n, 9, 9, 2560]
    CombinedGrids([(7, 7, 1280), (9, 9, 1280)], side=5).shape    # (5, 5, 2560)

Grids are enlarged by bilinear interpolation and reduced by averaging over areas.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


class CombinedGrids:
    """Concatenates the features of several encoders along the last axis.

    Args:
        shapes: Shape of the features of each encoder: (width,) or (height, width, channels).
        side: Cells per side of the result; those of the finest grid by default.
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], side: int | None = None):
        sizes = [tuple(shape[:-1]) for shape in shapes]
        target = (side, side) if side else max(sizes)
        self.shape = (*target, sum(shape[-1] for shape in shapes))
        #: For each encoder float32 [target cells, cells]; None if the size is right already.
        self.matrices = [None if size == target else resize_matrix(size, target) for size in sizes]

    def combine(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Features [n, ...] of each encoder -> float32 [n, *shape]."""
        # NumPy took 80 times as long during training: the threads of its BLAS wait for each other
        # when the cores are busy.
        with tf.device("CPU"):
            return self.combine_in_graph([tf.cast(part, tf.float32) for part in parts]).numpy()

    def combine_in_graph(self, parts: Sequence[tf.Tensor]) -> tf.Tensor:
        """`combine` for tensors."""
        resized = []
        for part, matrix in zip(parts, self.matrices, strict=True):
            if matrix is not None:
                cells = tf.matmul(tf.constant(matrix), _flatten_cells(part))
                part = tf.reshape(cells, [-1, *self.shape[:-1], part.shape[-1]])
            resized.append(part)
        return tf.concat(resized, axis=-1)


def resize_matrix(size: tuple[int, int], target: tuple[int, int]) -> np.ndarray:
    """The matrix that resizes a flattened grid, float32 [target cells, cells]."""
    rows, columns = map(_resize_line, size, target)
    return np.kron(rows, columns).astype(np.float32)


def _resize_line(size: int, target: int) -> np.ndarray:
    """The same for one side, [target, size]; values are constant beyond the outermost centres."""
    if target < size:
        edges = np.arange(target + 1)[:, None] * size / target
        covered = np.clip(edges - np.arange(size), 0, 1)
        return np.diff(covered, axis=0) * target / size
    centres = (np.arange(target) + 0.5) * size / target - 0.5
    return np.stack([np.interp(centres, np.arange(size), unit) for unit in np.eye(size)], axis=1)


def _flatten_cells(grid: tf.Tensor) -> tf.Tensor:
    """[n, h, w, c] -> [n, h * w, c]"""
    height, width, channels = grid.shape[1:]
    return tf.reshape(grid, [-1, height * width, channels])
