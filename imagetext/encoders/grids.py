"""Grids of several encoders side by side, each brought to the size of the finest, or of another.

    beside = CombinedGrids([(7, 7, 1280), (9, 9, 1280)])
    beside.shape                               # (9, 9, 2560)
    beside.combine([seven, nine])              # [n, 7, 7, 1280], [n, 9, 9, 1280] -> [n, 9, 9, 2560]
    CombinedGrids([(7, 7, 1280), (9, 9, 1280)], side=5).shape    # (5, 5, 2560)

Towards more cells values are taken in proportion between the centres (bilinear); a larger cell is
the mean of what it covers. Vectors, and grids of that size, are put together as they are.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


class CombinedGrids:
    """How the features of several encoders, of these shapes, become one array a photo."""

    def __init__(self, shapes: Sequence[tuple[int, ...]], side: int | None = None):
        places = [tuple(shape[:-1]) for shape in shapes]
        wanted = (side, side) if side else max(places)
        self.shape = (*wanted, sum(shape[-1] for shape in shapes))
        #: Of each encoder [cells wanted, its own cells]; None where its own are those.
        self.stretch = [None if own == wanted else stretching(own, wanted) for own in places]

    def combine(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Features [n, *its own shape] of each encoder -> float32 [n, *shape]."""
        # By TensorFlow: the threads of NumPy's BLAS wait for each other where cores are busy, which
        # they are beside a training, and took eighty times as long.
        with tf.device("CPU"):
            return self.combine_in_graph([tf.cast(part, tf.float32) for part in parts]).numpy()

    def combine_in_graph(self, parts: Sequence[tf.Tensor]) -> tf.Tensor:
        """The same of tensors."""
        made = []
        for part, stretch in zip(parts, self.stretch, strict=True):
            if stretch is not None:
                row = tf.matmul(tf.constant(stretch), _in_a_row(part))
                part = tf.reshape(row, [-1, *self.shape[:-1], part.shape[-1]])
            made.append(part)
        return tf.concat(made, axis=-1)


def stretching(own: tuple[int, int], wanted: tuple[int, int]) -> np.ndarray:
    """Shares float32 [wanted cells, own cells] by which the latter make up the former."""
    rows, columns = map(_line, own, wanted)
    return np.kron(rows, columns).astype(np.float32)


def _line(own: int, wanted: int) -> np.ndarray:
    """The shares [wanted, own] along one side; beyond the outermost centres nothing changes."""
    if wanted < own:
        edges = np.arange(wanted + 1)[:, None] * own / wanted
        covered = np.clip(edges - np.arange(own), 0, 1)
        return np.diff(covered, axis=0) * wanted / own
    centres = (np.arange(wanted) + 0.5) * own / wanted - 0.5
    return np.stack([np.interp(centres, np.arange(own), one) for one in np.eye(own)], axis=1)


def _in_a_row(part: tf.Tensor) -> tf.Tensor:
    """[n, h, w, c] -> [n, h w, c]"""
    height, width, channels = part.shape[1:]
    return tf.reshape(part, [-1, height * width, channels])
