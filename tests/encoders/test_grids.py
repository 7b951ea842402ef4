"""Grids of several sizes side by side: stretched as images are, and the rest untouched."""

import numpy as np
import pytest
import tensorflow as tf

from imagetext.encoders.grids import CombinedGrids, resize_matrix


@pytest.mark.parametrize("own", [(1, 1), (2, 3), (7, 7), (8, 8)])
def test_a_grid_is_stretched_as_an_image_is(own):
    wanted = (9, 9)
    part = np.random.default_rng(0).normal(size=(2, *own, 4)).astype(np.float32)
    found = resize_matrix(own, wanted) @ part.reshape(2, -1, 4)
    expected = tf.image.resize(part, wanted, "bilinear").numpy()
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1e-5)


def test_every_encoder_has_its_channels_and_the_finest_its_own_values():
    rng = np.random.default_rng(1)
    shapes = [(2, 2, 3), (4, 4, 5), (3, 3, 1)]
    parts = [rng.normal(size=(2, *shape)).astype(np.float16) for shape in shapes]
    beside = CombinedGrids(shapes)
    found = beside.combine(parts)
    assert (beside.shape, found.dtype) == ((4, 4, 9), np.float32)
    np.testing.assert_array_equal(found[..., 3:8], parts[1])
    small = tf.image.resize(parts[2].astype(np.float32), (4, 4)).numpy()
    np.testing.assert_allclose(found[..., 8:], small, atol=1e-6)
    graph = tf.function(beside.combine_in_graph)
    in_graph = graph([tf.constant(part, tf.float32) for part in parts])
    np.testing.assert_allclose(in_graph, found, atol=1e-6)


def test_a_larger_cell_is_the_mean_of_what_it_covers():
    part = np.random.default_rng(2).normal(size=(2, 9, 9, 4)).astype(np.float32)
    thirds = CombinedGrids([(9, 9, 4)], side=3).combine([part])
    np.testing.assert_allclose(thirds, part.reshape(2, 3, 3, 3, 3, 4).mean(axis=(2, 4)), atol=1e-6)
    odd = CombinedGrids([(9, 9, 4), (4, 4, 4)], side=5)
    found = odd.combine([part, np.ones((2, 4, 4, 4), np.float16)])
    assert odd.shape == (5, 5, 8) and np.allclose(found[..., 4:], 1)
    np.testing.assert_allclose(found[..., :4].mean((1, 2)), part.mean((1, 2)), atol=1e-6)


def test_vectors_are_put_together_as_they_are():
    beside = CombinedGrids([(3,), (2,)])
    parts = [np.ones((4, 3), np.float16), np.zeros((4, 2), np.float16)]
    assert beside.shape == (5,)
    np.testing.assert_array_equal(beside.combine(parts), np.concatenate(parts, axis=1))
