"""Grouped batches against a plain loop over the rows."""

import numpy as np
import pytest
import tensorflow as tf

from imagetext.pipelines.batches import (
    EMPTY,
    Groups,
    batches,
    generate_batches,
    group_rows,
    shuffle,
)
from imagetext.pipelines.pixels import StoredPixels

WIDTH = 5
PHOTOS, TEXTS = 7, 11


@pytest.fixture
def rows():
    """(photo, text, label) in an order that mixes the photos; photo 2 is described most."""
    rng = np.random.default_rng(0)
    photos = [*rng.integers(0, PHOTOS, 20).tolist(), *[2] * 9]
    return [(photo, int(rng.integers(TEXTS)), int(rng.integers(2))) for photo in photos]


@pytest.fixture
def pixels():
    array = np.random.default_rng(1).integers(0, 256, (PHOTOS, 4, 3, 3), dtype=np.uint8)
    good = np.arange(PHOTOS) != 4
    return StoredPixels([f"{n}.jpg" for n in range(PHOTOS)], (4, 3), array, good, "memory")


@pytest.fixture
def vectors():
    return np.random.default_rng(2).standard_normal((TEXTS, WIDTH)).astype(np.float32)


def naive_groups(rows, widest):
    """[(photo, [(text, label), ...])], by photo in order of first appearance, cut at `widest`."""
    groups = []
    for photo in dict.fromkeys(photo for photo, _, _ in rows):
        own = [(text, label) for other, text, label in rows if other == photo]
        groups += [(photo, own[start : start + widest]) for start in range(0, len(own), widest)]
    return groups


def naive_batches(groups, pixels, vectors, batch_size):
    width = max(len(texts) for _, texts in groups)
    for start in range(0, len(groups), batch_size):
        chosen = groups[start : start + batch_size]
        shape = (len(chosen), width)
        image = np.zeros((len(chosen), *pixels.size, 3), np.uint8)
        texts, truth = np.zeros((*shape, WIDTH), np.float32), np.zeros((*shape, 2), np.float32)
        weight = np.zeros(shape, np.float32)
        for place, (photo, own) in enumerate(chosen):
            image[place] = pixels.fetch([photo])[0][0]
            for column, (text, label) in enumerate(own):
                texts[place, column] = vectors[text]
                truth[place, column, label] = 1
                weight[place, column] = pixels.fetch([photo])[1][0]
        yield image, texts, truth, weight


def flat(data):
    return [
        (inputs["image"].numpy(), inputs["texts"].numpy(), truth.numpy(), weight.numpy())
        for inputs, truth, weight in data
    ]


def assert_same(found, expected):
    expected = list(expected)
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        for a, b in zip(one, other, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("widest", [1, 4, 8, 100])
@pytest.mark.parametrize("batch_size", [3, 64])
def test_batches_are_those_of_a_plain_loop(rows, pixels, vectors, widest, batch_size):
    groups = group_rows(*zip(*rows, strict=True), widest=widest)
    expected = naive_batches(naive_groups(rows, widest), pixels, vectors, batch_size)
    assert_same(flat(batches(groups, pixels, vectors, batch_size)), expected)


def test_an_order_is_followed(rows, pixels, vectors):
    groups = group_rows(*zip(*rows, strict=True))
    order = shuffle(len(groups), seed=3, epoch=1)
    naive = naive_groups(rows, 8)
    expected = naive_batches([naive[number] for number in order], pixels, vectors, 2)
    assert_same(flat(batches(groups, pixels, vectors, 2, order)), expected)


def test_a_photo_that_could_not_be_read_and_empty_places_weigh_nothing(pixels, vectors):
    groups = group_rows([0, 0, 4], [1, 2, 3], [0, 1, 0])
    (_, texts, truth, weight) = flat(batches(groups, pixels, vectors, 2))[0]
    assert weight.tolist() == [[1, 1], [0, 0]]
    assert not texts[1, 1].any() and not truth[1, 1].any()


@pytest.mark.parametrize("skip", [0, 1, 2, 99])
def test_skipping_leaves_out_the_first_batches_without_reading_them(rows, pixels, vectors, skip):
    groups = group_rows(*zip(*rows, strict=True))
    order = shuffle(len(groups), 0, 0)
    whole = flat(batches(groups, pixels, vectors, 3, order))
    read, fetch = [], pixels.fetch
    pixels.fetch = lambda numbers: read.extend(numbers) or fetch(numbers)
    rest = flat(batches(groups, pixels, vectors, 3, order, skip=skip))
    assert len(whole) == 3
    assert len(rest) == max(0, 3 - skip)
    if rest:
        assert_same(rest, whole[skip:])
    assert sorted(read) == sorted(groups.photo[order[skip * 3 :]])


def test_rows_apart_are_the_same_rows(rows):
    groups = group_rows(*zip(*rows, strict=True))
    apart = groups.ungroup()
    assert groups.rows == apart.rows == len(apart) == len(rows)
    assert apart.text.shape == (len(rows), 1)
    found = zip(apart.photo, apart.text[:, 0], apart.label[:, 0], strict=True)
    assert sorted(tuple(map(int, row)) for row in found) == sorted(rows)


def test_a_photo_with_many_texts_becomes_several_groups():
    groups = group_rows([5, 5, 5, 1, 5, 5], [0, 1, 2, 3, 4, 5], [0, 1, 0, 1, 0, 1], widest=2)
    assert groups.photo.tolist() == [5, 5, 5, 1]
    assert groups.text.tolist() == [[0, 1], [2, 4], [5, EMPTY], [3, EMPTY]]
    assert groups.label.tolist() == [[0, 1], [0, 0], [1, EMPTY], [1, EMPTY]]


def test_an_epoch_is_shuffled_by_seed_and_epoch_alone():
    first = shuffle(50, seed=1, epoch=2)
    assert sorted(first) == list(range(50))
    assert first.tolist() == shuffle(50, seed=1, epoch=2).tolist()
    others = [shuffle(50, 1, 3), shuffle(50, 2, 2), shuffle(50, 2, 1), np.arange(50)]
    assert all(first.tolist() != other.tolist() for other in others)


def test_nothing_gives_no_batches(pixels, vectors):
    groups = group_rows([], [], [])
    assert isinstance(groups, Groups)
    assert (len(groups), groups.rows, len(groups.ungroup())) == (0, 0, 0)
    assert flat(batches(groups, pixels, vectors, 4)) == []


def test_shapes_are_known_before_the_first_batch(rows, pixels, vectors):
    groups = group_rows(*zip(*rows, strict=True))
    inputs, truth, weight = batches(groups, pixels, vectors, 4).element_spec
    width = groups.text.shape[1]
    assert inputs["image"].shape.as_list() == [None, 4, 3, 3]
    assert inputs["texts"].shape.as_list() == [None, width, WIDTH]
    assert truth.shape.as_list() == [None, width, 2]
    assert weight.shape.as_list() == [None, width]


def test_word_pieces_are_as_long_as_the_longest_of_their_batch(pixels):
    """Zeros behind the last of each text; a place without a text has nothing but zeros."""
    pieces = np.zeros((4, 9), np.int32)
    for text, length in enumerate((3, 5, 2, 9)):
        pieces[text, :length] = np.arange(1, length + 1)
    groups = group_rows([0, 0, 1, 2, 3], [0, 1, 2, 3, 2], [0, 1, 0, 1, 0])
    data = batches(groups, pixels, pieces, 2)
    assert data.element_spec[0]["texts"].shape.as_list() == [None, 2, None]
    first, second = (texts for _, texts, _, _ in flat(data))
    assert (first.dtype, first.shape, second.shape) == (np.int32, (2, 2, 5), (2, 2, 9))
    np.testing.assert_array_equal(first[0], pieces[:2, :5])
    np.testing.assert_array_equal(first[1], [pieces[2, :5], [0] * 5])
    np.testing.assert_array_equal(second[:, 0], pieces[[3, 2]])


def test_batches_without_a_single_piece_have_one_column(pixels):
    groups = group_rows([0, 1], [0, 0], [0, 1])
    (_, texts, _, _) = flat(batches(groups, pixels, np.zeros((1, 6), np.int32), 2))[0]
    assert texts.tolist() == [[[0]], [[0]]]


def test_batches_are_made_by_number_in_order_and_skipped_ones_never():
    asked = []

    def make(number):
        asked.append(int(number))
        return np.full((number, 2), number, np.float32), np.array([number])

    specs = [tf.TensorSpec([None, 2], tf.float32), tf.TensorSpec([1], tf.int64)]
    found = [
        (one.shape[0], other.numpy().tolist())
        for one, other in generate_batches(make, specs, 6, skip=2)
    ]
    assert found == [(number, [number]) for number in (2, 3, 4, 5)]
    assert sorted(asked) == [2, 3, 4, 5]
    assert list(generate_batches(make, specs, 6, skip=7)) == []
    assert generate_batches(make, specs, 6).element_spec == tuple(specs)


def test_texts_of_like_length_come_together_and_every_row_once():
    length = np.random.default_rng(0).integers(1, 40, 203)
    order = shuffle(203, 0, 0, length, size=4)
    assert sorted(order) == list(range(203))
    assert np.array_equal(order, shuffle(203, 0, 0, length, size=4))
    assert not np.array_equal(order, shuffle(203, 0, 1, length, size=4))

    def padding(order):
        chunks = np.array_split(length[order], range(4, 203, 4))
        return sum(int((chunk.max() - chunk).sum()) for chunk in chunks)

    assert padding(order) < padding(shuffle(203, 0, 0)) / 3
    # Not sorted as a whole: a batch of long ones may come first.
    tops = [chunk.max() for chunk in np.array_split(length[order], range(4, 203, 4))]
    assert np.corrcoef(tops, np.arange(len(tops)))[0, 1] < 0.5
