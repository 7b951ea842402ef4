"""Fold the axes of photos and texts into one, for layers that accept only one such axis.

    rows = fold(words, layers.Reshape([-1, width]))     # [b, k, t, width] -> [b k, t, width]
    unfold(gru(rows), tokens)                           # [b k, t, n] -> [b, k, t, n]

In a functional model neither the number of photos nor that of texts is fixed, and no reshape can
merge two open axes or split one into two. Tensors may be symbolic or eager, in a graph or not.
"""

from keras import layers, ops


def fold(x, reshape: layers.Reshape):
    """Merge the first two axes: [b, k, t, ...] -> [b k, t, ...].

    Args:
        x: A tensor [b, k, t, ...].
        reshape: A layer that reshapes to [-1, ...]. Unlike an operation, a layer keeps the first
            axis as it is.
    """
    others = list(range(3, len(x.shape)))
    rows = reshape(ops.transpose(x, [2, 0, 1, *others]))
    return ops.transpose(rows, [1, 0, *(axis - 1 for axis in others)])


def unfold(x, like):
    """Split the first axis again: [b k, t, n] -> [b, k, t, n].

    The rows are scattered into place, because a functional model cannot reshape one open axis into
    two. This costs no more than a copy, forward and backward.

    Args:
        x: A tensor [b k, t, n].
        like: A tensor [b, k, t] with the numbers of photos, texts and tokens.
    """
    ones = ops.ones_like(like[..., 0])
    rows = ops.stack([ops.cumsum(ones, axis=0) - 1, ops.cumsum(ones, axis=1) - 1], axis=-1)
    tokens = ops.expand_dims(ops.cast(like, x.dtype), axis=-1)
    empty = ops.zeros_like(ops.repeat(tokens, x.shape[-1], axis=-1))
    return ops.scatter_update(empty, ops.reshape(rows, [-1, 2]), x)
