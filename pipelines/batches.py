"""Batches grouped by photo: each photo goes through the image tower once for all its texts.

groups = Groups(photo=[0, 1], text=[[4, 9], [2, -1]], label=[[0, 1], [1, -1]])
for batch in batches(groups, photos, vectors, batch_size=16, order=shuffled(2, seed=0, epoch=0)):
    inputs, truth, weight = batch
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from imagetext.pipelines.features import Features
from imagetext.pipelines.pixels import Pixels

EMPTY = -1
#: Texts are sorted by length within so many batches.
SORTED_BATCHES = 8


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
    parts = [(photo, chunk) for photo, chunks in by_photo.items() for chunk in chunks]
    width = max((len(chunk) for _, chunk in parts), default=1)
    text_table = np.full((len(parts), width), EMPTY, np.int32)
    label_table = np.full((len(parts), width), EMPTY, np.int32)
    for place, (_, chunk) in enumerate(parts):
        columns = np.transpose(chunk)
        text_table[place, : len(chunk)], label_table[place, : len(chunk)] = columns
    numbers = np.array([number for number, _ in parts], np.int32)
    return Groups(numbers, text_table, label_table)


def shuffled(
    count: int, seed: int, epoch: int, length: np.ndarray | None = None, size: int = 1
) -> np.ndarray:
    """The order of an epoch: of seed and epoch alone, so that a resumed run repeats it.

    With a `length` for each, those within a batch of `size` are of like length, so that little of
    it is padding: they are sorted within some batches, and those are dealt in any order.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(count)
    if length is None:
        return order
    window = np.arange(count) // (SORTED_BATCHES * size)
    order = order[np.lexsort([length[order], window])]
    full = count // size
    dealt = order[: full * size].reshape(full, size)[rng.permutation(full)]
    return np.concatenate([dealt.ravel(), order[full * size :]])


def batches(
    groups: Groups,
    photos: Pixels | Features,
    texts: np.ndarray,
    batch_size: int,
    order: np.ndarray | None = None,
    skip: int = 0,
    classes: int = 2,
) -> tf.data.Dataset:
    """One pass over the groups as ({"image", "texts"}, truth, weight), prefetched, in exact order.

    image [b, *photos.shape], texts [b, k, d], truth one-hot float32 [b, k, classes], weight
    float32 [b, k]: 0 where there is no text or the photo could not be read. `texts` [n, d] holds
    a row a text: float vectors, or int32 word pieces with zeros behind the last.
    `skip` leaves out that many batches from the front without reading them.
    """
    order = np.arange(len(groups)) if order is None else order
    known = with_empty(texts)
    one_hot = np.concatenate(
        [np.eye(classes, dtype=np.float32), np.zeros((1, classes), np.float32)]
    )

    def gather(number):
        chosen = order[number * batch_size :][:batch_size]
        image, good = photos.fetch(groups.photo[chosen])
        text, label = groups.text[chosen], groups.label[chosen]
        weight = ((text != EMPTY) & good[:, None]).astype(np.float32)
        return image, trimmed(known[text]), one_hot[label], weight

    width = groups.text.shape[1]
    specs = [
        tf.TensorSpec([None, *photos.shape], photos.dtype),
        text_spec(known, width),
        tf.TensorSpec([None, width, classes], tf.float32),
        tf.TensorSpec([None, width], tf.float32),
    ]
    data = made(gather, specs, -(-len(order) // batch_size), skip)
    return data.map(
        lambda image, text, truth, weight: ({"image": image, "texts": text}, truth, weight)
    )


def with_empty(texts: np.ndarray) -> np.ndarray:
    """A row of zeros at the end, which EMPTY = -1 finds; vectors as float32."""
    kind = np.int32 if texts.dtype.kind in "iu" else np.float32
    return np.concatenate([texts, np.zeros((1, texts.shape[1]), kind)], dtype=kind)


def trimmed(texts: np.ndarray) -> np.ndarray:
    """Word pieces [..., t] without the last columns where none has any; vectors as they are."""
    if texts.dtype.kind != "i":
        return texts
    used = np.flatnonzero(texts.reshape(-1, texts.shape[-1]).any(axis=0))
    return texts[..., : used[-1] + 1 if len(used) else 1]


def text_spec(known: np.ndarray, width: int) -> tf.TensorSpec:
    """What `trimmed` gives for `width` texts a photo: word pieces are as long as they are."""
    pieces = known.dtype.kind == "i"
    return tf.TensorSpec([None, width, None if pieces else known.shape[1]], known.dtype)


def made(
    make: Callable[[int], tuple[np.ndarray, ...]],
    specs: Sequence[tf.TensorSpec],
    count: int,
    skip: int = 0,
) -> tf.data.Dataset:
    """`count` batches made by number, in order, some ahead; the first `skip` are never made."""

    def typed(number):
        found = tf.numpy_function(make, [number], [spec.dtype for spec in specs], stateful=False)
        for array, spec in zip(found, specs, strict=True):
            array.set_shape(spec.shape)
        return tuple(found)

    data = tf.data.Dataset.range(min(skip, count), count)
    data = data.map(typed, num_parallel_calls=2, deterministic=True).prefetch(4)
    # Nothing is left to tune, and the tuner's thread holds up the end of every pass by seconds.
    options = tf.data.Options()
    options.autotune.enabled = False
    return data.with_options(options)
