"""Several texts of each photo through layers that know one axis of texts: two axes folded into one.

    rows = fold(words, layers.Reshape([-1, width]))     # [b, k, t, width] -> [b k, t, width]
    unfold(gru(rows), tokens)                           # [b k, t, n] -> [b, k, t, n]

How many photos and how many texts is open in a functional model, and none can reshape two open axes
into one, nor one into two. Tensors may be symbolic or real, in a graph or not.
"""

from keras import layers, ops


def fold(x, in_a_row: layers.Reshape):
    """[b, k, t, ...] -> [b k, t, ...].

    `in_a_row` reshapes to [-1, ...]: unlike an operation, a layer keeps the first axis as it is.
    """
    others = list(range(3, len(x.shape)))
    rows = in_a_row(ops.transpose(x, [2, 0, 1, *others]))
    return ops.transpose(rows, [1, 0, *(axis - 1 for axis in others)])


def unfold(x, like):
    """[b k, t, n] -> [b, k, t, n], of as many photos, texts and tokens as `like` [b, k, t] has.

    Scattered, since no reshape of a functional model can find two open axes in one; this costs no
    more than a copy, forwards and backwards.
    """
    ones = ops.ones_like(like[..., 0])
    rows = ops.stack([ops.cumsum(ones, axis=0) - 1, ops.cumsum(ones, axis=1) - 1], axis=-1)
    each = ops.expand_dims(ops.cast(like, x.dtype), axis=-1)
    empty = ops.zeros_like(ops.repeat(each, x.shape[-1], axis=-1))
    return ops.scatter_update(empty, ops.reshape(rows, [-1, 2]), x)
