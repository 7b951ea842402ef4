"""Batches grouped by photo: each photo passes through the image tower once for all its texts.

groups = Groups(photo=[0, 1], text=[[4, 9], [2, -1]], label=[[0, 1], [1, -1]])
for batch in batches(groups, photos, vectors, batch_size=16, order=shuffle(2, seed=0, epoch=0)):
    inputs, truth, weight = batch
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from imagetext.pipelines.features import Features
from imagetext.pipelines.pixels import Pixels

#: Marks the unused places in the rows of `Groups`.
EMPTY = -1
#: Texts are sorted by length within this many batches.
SORTED_BATCHES = 8
#: Token ids in a batch of `encode_by_length`, padding included: enough to keep two cores busy.
TOKENS_PER_BATCH = 4096


@dataclass(frozen=True)
class Groups:
    """Photos with their texts, by number.

    Args:
        photo: int [g].
        text: int [g, k]; EMPTY in the places of photos with fewer texts.
        label: Index of the label of each text, int [g, k].
    """

    photo: np.ndarray
    text: np.ndarray
    label: np.ndarray

    def __len__(self) -> int:
        return len(self.photo)

    @property
    def rows(self) -> int:
        """Number of texts."""
        return int((self.text != EMPTY).sum())

    def ungroup(self) -> "Groups":
        """The same rows, one to a group: every photo is then encoded again for each text."""
        group, place = np.nonzero(self.text != EMPTY)
        return Groups(
            self.photo[group], self.text[group, place][:, None], self.label[group, place][:, None]
        )


def group_rows(
    photos: Sequence[int], texts: Sequence[int], labels: Sequence[int], widest: int = 8
) -> Groups:
    """Group rows by photo, in order of first appearance.

    Args:
        photos: Photo number of each row.
        texts: Text number of each row.
        labels: Label index of each row.
        widest: A photo with more texts than this becomes several groups, so that it does not add
            padding to all the others.

    Returns:
        The groups.
    """
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


def shuffle(
    count: int, seed: int, epoch: int, length: np.ndarray | None = None, size: int = 1
) -> np.ndarray:
    """The order of an epoch. It depends on seed and epoch only, so that a resumed run repeats it.

    Args:
        count: Number of items.
        seed: Seed of the run.
        epoch: Number of the epoch.
        length: Length of each item [count]. Items of similar length then share a batch, so that
            little of it is padding; the order of the batches remains random.
        size: Items in a batch.

    Returns:
        A permutation, int [count].
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(count)
    if length is None:
        return order
    order = order[sort_in_windows(length[order], size)]
    full = count // size
    batches = order[: full * size].reshape(full, size)[rng.permutation(full)]
    return np.concatenate([batches.ravel(), order[full * size :]])


def sort_in_windows(length: np.ndarray, size: int) -> np.ndarray:
    """An order int [n] that sorts by length [n] within windows of a few batches of this size."""
    window = np.arange(len(length)) // (SORTED_BATCHES * size)
    return np.lexsort([length, window])


def batches(
    groups: Groups,
    photos: Pixels | Features,
    texts: np.ndarray,
    batch_size: int,
    order: np.ndarray | None = None,
    skip: int = 0,
    classes: int = 2,
) -> tf.data.Dataset:
    """One pass over the groups, prefetched, in exactly this order.

    Args:
        groups: The groups.
        photos: The photos that the groups number.
        texts: One row for each text [n, d]: float vectors, or int32 token ids padded with zeros.
        batch_size: Groups in a batch.
        order: The order of the groups; that of `groups` by default.
        skip: Batches to leave out at the start, without reading them.
        classes: Number of labels.

    Returns:
        ({"image" [b, ...], "texts" [b, k, d]}, truth one-hot float32 [b, k, classes], weight
        float32 [b, k]); the weight is 0 where there is no text or the photo is unreadable.
    """
    order = np.arange(len(groups)) if order is None else order
    table = append_empty(texts)
    one_hot = np.concatenate(
        [np.eye(classes, dtype=np.float32), np.zeros((1, classes), np.float32)]
    )

    def make(number):
        rows = order[number * batch_size :][:batch_size]
        image, good = photos.fetch(groups.photo[rows])
        text, label = groups.text[rows], groups.label[rows]
        weight = ((text != EMPTY) & good[:, None]).astype(np.float32)
        return image, trim_padding(table[text]), one_hot[label], weight

    width = groups.text.shape[1]
    specs = [
        photo_spec(photos),
        text_spec(table, width),
        tf.TensorSpec([None, width, classes], tf.float32),
        tf.TensorSpec([None, width], tf.float32),
    ]
    data = generate_batches(make, specs, -(-len(order) // batch_size), skip)
    return data.map(
        lambda image, text, truth, weight: ({"image": image, "texts": text}, truth, weight)
    )


def photo_batches(photos: Pixels | Features, numbers: np.ndarray, size: int) -> tf.data.Dataset:
    """Photos by number [n], in order, without captions.

    Args:
        photos: The photos that are numbered.
        numbers: The photos to read, int [n].
        size: Photos in a batch, at most.

    Returns:
        Batches of image [b, ...] and whether each is readable, bool [b].
    """
    chosen = split_evenly(numbers, size)
    specs = [photo_spec(photos), tf.TensorSpec([None], tf.bool)]
    return generate_batches(lambda number: photos.fetch(chosen[number]), specs, len(chosen))


def split_evenly(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """Split rows [n, ...] into as few batches as possible of at most `size`, of nearly equal
    length."""
    return np.array_split(rows, -(-len(rows) // size))


def append_empty(texts: np.ndarray) -> np.ndarray:
    """Append a row of zeros, which EMPTY = -1 then refers to; vectors become float32."""
    kind = np.int32 if texts.dtype.kind in "iu" else np.float32
    return np.concatenate([texts, np.zeros((1, texts.shape[1]), kind)], dtype=kind)


def trim_padding(texts: np.ndarray) -> np.ndarray:
    """Token ids [..., t] without the last columns if they are all zero; vectors unchanged."""
    if texts.dtype.kind != "i":
        return texts
    used = np.flatnonzero(texts.reshape(-1, texts.shape[-1]).any(axis=0))
    return texts[..., : used[-1] + 1 if len(used) else 1]


def encode_by_length(
    encode: Callable[[np.ndarray], dict[str, np.ndarray]],
    texts: np.ndarray,
    lengths: np.ndarray,
    per_word: Container[str] = (),
) -> dict[str, np.ndarray]:
    """Encode many texts, those of similar length in one batch, so that little of it is padding.

    Args:
        encode: From a batch of texts to named arrays [b, ...].
        texts: Token ids int [n, t], zeros for padding, or vectors float32 [n, d].
        lengths: Number of tokens of each text, int [n]; zeros for vectors.
        per_word: The names of the arrays whose second axis is that of the tokens.

    Returns:
        The arrays for all texts in their order, [n, ...]; zeros for padding.
    """
    order = np.argsort(-lengths, kind="stable")
    results: dict[str, np.ndarray] = {}
    start = 0
    while start < len(order):
        size = max(1, TOKENS_PER_BATCH // max(1, int(lengths[order[start]])))
        rows = order[start : start + size]
        for name, part in encode(trim_padding(texts[rows])).items():
            if name not in results:  # the first batch has the longest texts
                results[name] = np.zeros((len(texts), *part.shape[1:]), part.dtype)
            if name in per_word:
                results[name][rows, : part.shape[1]] = part
            else:
                results[name][rows] = part
        start += size
    return results


def photo_spec(photos: Pixels | Features) -> tf.TensorSpec:
    """The spec of a batch of photos as `photos.fetch` returns them."""
    return tf.TensorSpec([None, *photos.shape], photos.dtype)


def text_spec(table: np.ndarray, width: int) -> tf.TensorSpec:
    """The spec of `trim_padding(table[...])` with `width` texts for each photo."""
    is_ids = table.dtype.kind == "i"
    return tf.TensorSpec([None, width, None if is_ids else table.shape[1]], table.dtype)


def generate_batches(
    make: Callable[[int], tuple[np.ndarray, ...]],
    specs: Sequence[tf.TensorSpec],
    count: int,
    skip: int = 0,
) -> tf.data.Dataset:
    """A dataset of batches made by number, in order, some of them ahead of time.

    Args:
        make: The arrays of a batch, by its number.
        specs: Shapes and types of the arrays.
        count: Number of batches.
        skip: The first batches, which are never made.

    Returns:
        Batches as tuples of tensors.
    """

    def generate(number):
        arrays = tf.numpy_function(make, [number], [spec.dtype for spec in specs], stateful=False)
        for array, spec in zip(arrays, specs, strict=True):
            array.set_shape(spec.shape)
        return tuple(arrays)

    data = tf.data.Dataset.range(min(skip, count), count)
    data = data.map(generate, num_parallel_calls=2, deterministic=True).prefetch(4)
    # There is nothing to tune, and the tuner's thread delays the end of every pass by seconds.
    options = tf.data.Options()
    options.autotune.enabled = False
    return data.with_options(options)
