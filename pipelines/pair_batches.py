"""Batches of photos with one caption each, for contrastive training.

    batches = [np.array([[0, 4], [1, 7]])]        # photo and caption numbers, int [b, 2]
    data = pair_batches(fetch, read, specs, batches, known)
    for inputs, truth in data: ...                # truth [b, b]: every photo against every caption

Photo i and caption i of a batch belong together. A caption that was drawn for one photo may also be
known to describe another photo of the batch: such a pair must not count as a mismatch.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from imagetext.pipelines.batches import generate_batches, split_evenly


def pair_batches(
    fetch: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    read: Callable[[np.ndarray], np.ndarray],
    specs: tuple[tf.TensorSpec, tf.TensorSpec],
    batches: Sequence[np.ndarray],
    known: Mapping[int, np.ndarray],
    same: int = -1,
    skip: int = 0,
) -> tf.data.Dataset:
    """Batches with the truth of all their pairs.

    Args:
        fetch: Photo numbers [b] to model inputs [b, ...], and whether each is readable, bool [b].
        read: Caption numbers [b] to model inputs.
        specs: Shapes and types of the model inputs from `fetch` and `read`.
        batches: Photo and caption numbers, int [b, 2] each.
        known: All captions that are known to describe each photo.
        same: Truth of a known caption that is not the pair's own: -1 (ignored) or 1 (a match).
        skip: Batches to leave out at the start.

    Returns:
        ({"image", "texts"}, truth float32 [b, b]): 1 for pairs, 0 for mismatches, `same` for
        captions that describe the photo as well, and -1 for all pairs with an unreadable photo.
    """

    def make(number):
        photo, caption = batches[number].T
        image, good = fetch(photo)
        truth = pair_truth(photo, caption, known, same)
        truth[~good], truth[:, ~good] = -1, -1
        return image, read(caption), truth

    truth_spec = tf.TensorSpec([None, None], tf.float32)
    data = generate_batches(make, [*specs, truth_spec], len(batches), skip)
    return data.map(lambda image, texts, truth: ({"image": image, "texts": texts}, truth))


def first_pairs(pairs: Mapping[int, Sequence[int]], size: int) -> list[np.ndarray]:
    """Each photo with the first of its captions, in order: batches int [b, 2] of at most `size`.

    Args:
        pairs: The captions of each photo, by number.
        size: Photos in a batch, at most.
    """
    rows = np.array([(photo, captions[0]) for photo, captions in pairs.items()])
    return split_evenly(rows, size)


def pair_truth(
    photo: np.ndarray, caption: np.ndarray, known: Mapping[int, np.ndarray], same: int = -1
) -> np.ndarray:
    """The truth of a batch of pairs, float32 [b, b]: 1 on the diagonal, `same` where a caption is
    known to describe another photo of the batch, else 0."""
    matches = np.stack([np.isin(caption, known[number]) for number in photo.tolist()])
    truth = matches * np.float32(same)
    np.fill_diagonal(truth, 1)
    return truth
