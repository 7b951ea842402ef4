"""N-grams of captions as numbers, so that a few array operations compare whole corpora.

    index = NgramIndex(references)                    # tokens of several captions for each image
    grams = index.count(candidates)                   # the n-grams of each candidate, with counts
    rows, reference_rows = index.match(grams, images)  # rows of both with the same n-gram

Each n-gram of the references has one number, regardless of the image; single words come first. The
key of an n-gram is the number of all but its last word, and the number of that word. Everything
that has to be sorted is packed into one integer, which NumPy sorts fastest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat

import numpy as np

LONGEST = 4
_BITS = 31  # of the last word's number within a key; the number of the words before has the rest

Tokens = Sequence[str]


@dataclass(frozen=True)
class Grams:
    """The n-grams of captions, one row [g] for each n-gram of a caption.

    Args:
        caption: Number of the caption [g].
        gram: Number of the n-gram [g]; from `index.total` on if the references do not contain it.
        order: 0 for single words to 3 for four words [g].
        count: How often it occurs in the caption [g].
        words: Length of each caption [captions].
    """

    caption: np.ndarray
    gram: np.ndarray
    order: np.ndarray
    count: np.ndarray
    words: np.ndarray


class NgramIndex:
    """The n-grams of reference captions, with their counts.

    Args:
        references: The tokens of one or more captions for each image.
    """

    def __init__(self, references: Sequence[Sequence[Tokens]]):
        captions = list(chain.from_iterable(references))
        distinct = dict.fromkeys(chain.from_iterable(captions))
        self.vocabulary = {word: number for number, word in enumerate(distinct)}
        #: Sorted keys of the n-grams of two, three and four words; their positions are the numbers.
        self.keys: list[np.ndarray] = []
        caption, gram, words = self._read(captions, learning=True)
        self.total = int(self.starts[-1])
        per_image = np.fromiter(map(len, references), np.int64, len(references))
        self.first_caption = np.append(0, per_image.cumsum())
        image = np.repeat(np.arange(len(references)), per_image)
        # Sorted by image, then n-gram, then caption: one search finds all captions that share it.
        self.bits, within_bits = self.total.bit_length(), int(per_image.max(initial=1)).bit_length()
        place = (image << self.bits)[caption] | gram
        within = np.arange(len(captions)) - self.first_caption[image]
        packed, count = _count_values(place << within_bits | within[caption])
        place = packed >> within_bits
        caption = self.first_caption[place >> self.bits] + (packed & ((1 << within_bits) - 1))
        gram = place & ((1 << self.bits) - 1)
        self.grams = Grams(caption, gram, self._order(gram), count, words)
        starts = _starts(place)
        self.places, self.place_starts = place[starts], np.append(starts, len(place))

    def count(self, captions: Sequence[Tokens]) -> Grams:
        """Count the n-grams of captions, given as tokens.

        N-grams that the references do not contain get numbers that are valid for this call only.
        """
        caption, gram, words = self._read(captions)
        bits = int(gram.max(initial=0)).bit_length()
        packed, count = _count_values(caption << bits | gram)
        caption, gram = packed >> bits, packed & ((1 << bits) - 1)
        indexed = gram < self.total
        order = np.empty(len(gram), np.int64)
        order[indexed] = self._order(gram[indexed])
        order[~indexed] = (gram[~indexed] - self.total) % LONGEST
        return Grams(caption, gram, order, count, words)

    def match(self, grams: Grams, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pair the n-grams of captions with the same n-grams in references of their images.

        Args:
            grams: The n-grams of captions, from `count`.
            images: The image that each caption describes [captions].

        Returns:
            Rows of `grams` [p] and the matching rows of `self.grams` [p].
        """
        rows = np.flatnonzero(grams.gram < self.total)
        place = images[grams.caption[rows]] << self.bits | grams.gram[rows]
        at = np.searchsorted(self.places, place)
        inside = np.minimum(at, max(len(self.places) - 1, 0))
        if len(self.places):
            same = np.flatnonzero(self.places[inside] == place)
        else:
            same = np.zeros(0, np.int64)
        rows, at = rows[same], at[same]
        start, count = self.place_starts[at], self.place_starts[at + 1] - self.place_starts[at]
        within = np.arange(count.sum()) - np.repeat(count.cumsum() - count, count)
        return np.repeat(rows, count), np.repeat(start, count) + within

    def document_frequency(self, first_image: int = 0) -> np.ndarray:
        """The number of images, from `first_image` on, in which each n-gram occurs [total]."""
        places = self.places[np.searchsorted(self.places, first_image << self.bits) :]
        return np.bincount(places & ((1 << self.bits) - 1), minlength=self.total)

    def _read(self, captions: Sequence[Tokens], learning: bool = False):
        """The caption and number of every n-gram, in order, and the length of each caption."""
        lengths = np.fromiter(map(len, captions), np.int64, len(captions))
        size = int(lengths.sum())
        words = chain.from_iterable(captions)
        word = np.fromiter(map(self.vocabulary.get, words, repeat(-1)), np.int64, size)
        if (word < 0).any():
            tokens = list(chain.from_iterable(captions))
            unknown: dict[str, int] = {}
            for at in np.flatnonzero(word < 0):
                number = len(self.vocabulary) + len(unknown)
                word[at] = unknown.setdefault(tokens[at], number)
        caption = np.repeat(np.arange(len(captions)), lengths)
        left = np.repeat(lengths.cumsum(), lengths) - np.arange(size)  # words from here on
        sizes = [len(self.vocabulary), *map(len, self.keys)]
        captions_of, grams = [], []
        gram_of: np.ndarray = word
        for order in range(LONGEST):
            places = np.flatnonzero(left > order)
            if order:
                key = gram_of[places] << _BITS | word[places + order]
                gram_of = np.zeros(size, np.int64)
                if learning:
                    keys, gram_of[places] = np.unique(key, return_inverse=True)
                    self.keys.append(keys)
                    sizes.append(len(keys))
                else:
                    gram_of[places] = _look_up(self.keys[order - 1], key)
            captions_of.append(caption[places])
            grams.append(gram_of[places])
        self.starts = np.append(0, np.cumsum(sizes))
        for order, gram in enumerate(grams):
            beyond = gram - sizes[order]
            # The remainder of an unknown n-gram's number is its order.
            total = int(self.starts[-1])
            grams[order] = np.where(
                beyond < 0, gram + self.starts[order], total + beyond * LONGEST + order
            )
        return np.concatenate(captions_of), np.concatenate(grams), lengths

    def _order(self, gram: np.ndarray) -> np.ndarray:
        return sum((gram >= start).astype(np.int64) for start in self.starts[1:-1])


def _look_up(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The position of each value among the sorted `keys`; a number beyond them if it is missing."""
    place = np.searchsorted(keys, wanted)
    missing = place == len(keys)
    if len(keys):
        missing |= keys[np.minimum(place, len(keys) - 1)] != wanted
    _, inverse = np.unique(wanted[missing], return_inverse=True)
    place[missing] = len(keys) + inverse
    return place


def _count_values(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values, sorted, and how often each occurs."""
    packed = np.sort(packed)
    starts = _starts(packed)
    return packed[starts], np.diff(starts, append=len(packed))


def _starts(values: np.ndarray) -> np.ndarray:
    """Where runs of equal values begin."""
    first = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=first[1:])
    return np.flatnonzero(first)
