"""Grids of several sizes are resized like images and concatenated."""

import numpy as np
import pytest
import tensorflow as tf

from imagetext.encoders.grids import CombinedGrids, resize_matrix


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 7), (8, 8)])
def test_grids_are_resized_like_images(size):
    target = (9, 9)
    part = np.random.default_rng(0).normal(size=(2, *size, 4)).astype(np.float32)
    actual = resize_matrix(size, target) @ part.reshape(2, -1, 4)
    expected = tf.image.resize(part, target, "bilinear").numpy()
    np.testing.assert_allclose(actual.reshape(expected.shape), expected, atol=1e-5)


def test_channels_are_concatenated_and_the_finest_grid_is_unchanged():
    rng = np.random.default_rng(1)
    shapes = [(2, 2, 3), (4, 4, 5), (3, 3, 1)]
    parts = [rng.normal(size=(2, *shape)).astype(np.float16) for shape in shapes]
    grids = CombinedGrids(shapes)
    actual = grids.combine(parts)
    assert (grids.shape, actual.dtype) == ((4, 4, 9), np.float32)
    np.testing.assert_array_equal(actual[..., 3:8], parts[1])
    small = tf.image.resize(parts[2].astype(np.float32), (4, 4)).numpy()
    np.testing.assert_allclose(actual[..., 8:], small, atol=1e-6)
    graph = tf.function(grids.combine_in_graph)
    in_graph = graph([tf.constant(part, tf.float32) for part in parts])
    np.testing.assert_allclose(in_graph, actual, atol=1e-6)


def test_a_larger_cell_is_the_mean_of_the_area():
    part = np.random.default_rng(2).normal(size=(2, 9, 9, 4)).astype(np.float32)
    thirds = CombinedGrids([(9, 9, 4)], side=3).combine([part])
    np.testing.assert_allclose(thirds, part.reshape(2, 3, 3, 3, 3, 4).mean(axis=(2, 4)), atol=1e-6)
    odd = CombinedGrids([(9, 9, 4), (4, 4, 4)], side=5)
    actual = odd.combine([part, np.ones((2, 4, 4, 4), np.float16)])
    assert odd.shape == (5, 5, 8) and np.allclose(actual[..., 4:], 1)
    np.testing.assert_allclose(actual[..., :4].mean((1, 2)), part.mean((1, 2)), atol=1e-6)


def test_vectors_are_concatenated():
    grids = CombinedGrids([(3,), (2,)])
    parts = [np.ones((4, 3), np.float16), np.zeros((4, 2), np.float16)]
    assert grids.shape == (5,)
    np.testing.assert_array_equal(grids.combine(parts), np.concatenate(parts, axis=1))
