"""Batches grouped by photo: each photo goes through the image tower once for all its texts.

groups = Groups(photo=[0, 1], text=[[4, 9], [2, -1]], label=[[0, 1], [1, -1]])
for batch in batches(groups, pixels, vectors, batch_size=16, order=shuffled(2, seed=0, epoch=0)):
    inputs, truth, weight = batch
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from pipelines.pixels import Pixels

EMPTY = -1


@dataclass(frozen=True)
class Groups:
    """Photos with their texts, as numbers; EMPTY fills the places of photos with fewer texts.

    photo: int [g], text: int [g, k], label: int [g, k] (index into the labels).
    """

    photo: np.ndarray
    text: np.ndarray
    label: np.ndarray

    def __len__(self) -> int:
        return len(self.photo)

    @property
    def rows(self) -> int:
        return int((self.text != EMPTY).sum())

    def apart(self) -> "Groups":
        """The same rows, one a group: every photo is decoded and encoded again for each text."""
        group, place = np.nonzero(self.text != EMPTY)
        return Groups(
            self.photo[group], self.text[group, place][:, None], self.label[group, place][:, None]
        )


def group_rows(
    photos: Sequence[int], texts: Sequence[int], labels: Sequence[int], widest: int = 8
) -> Groups:
    """Gather rows by photo, in order of first appearance; photos with more than `widest` texts
    become several groups, so that one much-described photo does not pad all the others."""
    by_photo: dict[int, list[list[tuple[int, int]]]] = {}
    for photo, text, label in zip(photos, texts, labels, strict=True):
        chunks = by_photo.setdefault(photo, [[]])
        if len(chunks[-1]) == widest:
            chunks.append([])
        chunks[-1].append((text, label))
    chunks = [(photo, chunk) for photo, found in by_photo.items() for chunk in found]
    width = max((len(chunk) for _, chunk in chunks), default=1)
    text = np.full((len(chunks), width), EMPTY, np.int32)
    label = np.full((len(chunks), width), EMPTY, np.int32)
    for place, (_, chunk) in enumerate(chunks):
        text[place, : len(chunk)], label[place, : len(chunk)] = np.transpose(chunk)
    return Groups(np.array([photo for photo, _ in chunks], np.int32), text, label)


def shuffled(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order of an epoch: of seed and epoch alone, so that a resumed run repeats it."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def batches(
    groups: Groups,
    pixels: Pixels,
    vectors: np.ndarray,
    batch_size: int,
    order: np.ndarray | None = None,
    skip: int = 0,
    classes: int = 2,
) -> tf.data.Dataset:
    """One pass over the groups as ({"image", "texts"}, truth, weight), prefetched, in exact order.

    image uint8 [b, height, width, 3], texts float32 [b, k, d], truth one-hot float32
    [b, k, classes], weight float32 [b, k]: 0 where there is no text or the photo could not be read.
    `skip` leaves out that many batches from the front without reading them.
    """
    order = np.arange(len(groups)) if order is None else order
    starts = np.arange(skip * batch_size, len(order), batch_size)
    none = np.zeros((1, vectors.shape[1]), np.float32)
    known = np.concatenate([vectors, none], dtype=np.float32)  # EMPTY = -1 finds the zero row
    one_hot = np.concatenate(
        [np.eye(classes, dtype=np.float32), np.zeros((1, classes), np.float32)]
    )

    def gather(start):
        chosen = order[start : start + batch_size]
        image, good = pixels.fetch(groups.photo[chosen])
        text, label = groups.text[chosen], groups.label[chosen]
        weight = ((text != EMPTY) & good[:, None]).astype(np.float32)
        return image, known[text], one_hot[label], weight

    def typed(start):
        kinds = [tf.uint8, tf.float32, tf.float32, tf.float32]
        image, texts, truth, weight = tf.numpy_function(gather, [start], kinds, stateful=False)
        width = groups.text.shape[1]
        image.set_shape([None, *pixels.size, 3])
        texts.set_shape([None, width, vectors.shape[1]])
        truth.set_shape([None, width, classes])
        weight.set_shape([None, width])
        return {"image": image, "texts": texts}, truth, weight

    data = tf.data.Dataset.from_tensor_slices(starts)
    data = data.map(typed, num_parallel_calls=2, deterministic=True).prefetch(4)
    # Nothing is left to tune, and the tuner's thread holds up the end of every pass by seconds.
    options = tf.data.Options()
    options.autotune.enabled = False
    return data.with_options(options)
