"""N-grams of captions as numbers, so that whole corpora are compared by a few array operations.

    index = NgramIndex(references)                    # tokens of several captions for each image
    grams = index.count(candidates)                   # which n-grams each candidate has, how often
    here, there = index.found(grams, images)          # rows of both with the same n-gram

An n-gram of the references has one number, the same whichever image it stands in; those of one
word come first. It is found by the number of its first words and its last word. Whatever has to be
sorted is packed into one integer, which NumPy sorts quickest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat

import numpy as np

LONGEST = 4
_BITS = 31  # of a word's number within a key; the number of the words before it takes the rest

Tokens = Sequence[str]


@dataclass(frozen=True)
class Grams:
    """Rows of (caption, n-gram, how often), and how many words each caption has."""

    caption: np.ndarray  # [g]
    gram: np.ndarray  # [g]; from `index.total` on: not in the references
    order: np.ndarray  # [g] 0 for single words, 3 for runs of four
    count: np.ndarray  # [g]
    words: np.ndarray  # [captions]


class NgramIndex:
    """The n-grams of all `references`, tokens by image, and how often each caption has them."""

    def __init__(self, references: Sequence[Sequence[Tokens]]):
        captions = list(chain.from_iterable(references))
        distinct = dict.fromkeys(chain.from_iterable(captions))
        self.vocabulary = {word: number for number, word in enumerate(distinct)}
        #: Sorted keys of the n-grams of two words, three and four; their places are the numbers.
        self.keys: list[np.ndarray] = []
        caption, gram, words = self._read(captions, learning=True)
        self.total = int(self.starts[-1])
        many = np.fromiter(map(len, references), np.int64, len(references))
        self.first_caption = np.append(0, many.cumsum())
        image = np.repeat(np.arange(len(references)), many)
        # Sorted by image, then n-gram, then caption: one search finds all captions that share it.
        self.bits, within_bits = self.total.bit_length(), int(many.max(initial=1)).bit_length()
        place = (image << self.bits)[caption] | gram
        within = np.arange(len(captions)) - self.first_caption[image]
        packed, count = _counted(place << within_bits | within[caption])
        place = packed >> within_bits
        caption = self.first_caption[place >> self.bits] + (packed & ((1 << within_bits) - 1))
        gram = place & ((1 << self.bits) - 1)
        self.grams = Grams(caption, gram, self._order(gram), count, words)
        starts = _starts(place)
        self.places, self.place_starts = place[starts], np.append(starts, len(place))

    def count(self, captions: Sequence[Tokens]) -> Grams:
        """The n-grams of `captions`. Those not in the references get numbers for this call only."""
        caption, gram, words = self._read(captions)
        bits = int(gram.max(initial=0)).bit_length()
        packed, count = _counted(caption << bits | gram)
        caption, gram = packed >> bits, packed & ((1 << bits) - 1)
        known = gram < self.total
        order = np.empty(len(gram), np.int64)
        order[known] = self._order(gram[known])
        order[~known] = (gram[~known] - self.total) % LONGEST
        return Grams(caption, gram, order, count, words)

    def found(self, grams: Grams, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[p], [p]: rows of `grams` and of `self.grams` with one n-gram, the latter in references
        of the image that the former's caption is of, by `images` [captions]."""
        known = np.flatnonzero(grams.gram < self.total)
        place = images[grams.caption[known]] << self.bits | grams.gram[known]
        at = np.searchsorted(self.places, place)
        inside = np.minimum(at, max(len(self.places) - 1, 0))
        if len(self.places):
            same = np.flatnonzero(self.places[inside] == place)
        else:
            same = np.zeros(0, np.int64)
        known, at = known[same], at[same]
        start, many = self.place_starts[at], self.place_starts[at + 1] - self.place_starts[at]
        within = np.arange(many.sum()) - np.repeat(many.cumsum() - many, many)
        return np.repeat(known, many), np.repeat(start, many) + within

    def document_frequency(self, first_image: int = 0) -> np.ndarray:
        """[total]: in how many images, from `first_image` on, each n-gram occurs."""
        places = self.places[np.searchsorted(self.places, first_image << self.bits) :]
        return np.bincount(places & ((1 << self.bits) - 1), minlength=self.total)

    def _read(self, captions: Sequence[Tokens], learning: bool = False):
        """Caption and number of every n-gram, as they come; the words of each caption."""
        lengths = np.fromiter(map(len, captions), np.int64, len(captions))
        size = int(lengths.sum())
        words = chain.from_iterable(captions)
        word = np.fromiter(map(self.vocabulary.get, words, repeat(-1)), np.int64, size)
        if (word < 0).any():
            said = list(chain.from_iterable(captions))
            strangers: dict[str, int] = {}
            for at in np.flatnonzero(word < 0):
                number = len(self.vocabulary) + len(strangers)
                word[at] = strangers.setdefault(said[at], number)
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
                    gram_of[places] = _looked_up(self.keys[order - 1], key)
            captions_of.append(caption[places])
            grams.append(gram_of[places])
        self.starts = np.append(0, np.cumsum(sizes))
        for order, gram in enumerate(grams):
            strange = gram - sizes[order]
            # Numbers from `total` on tell by their remainder how long the n-gram is.
            total = int(self.starts[-1])
            grams[order] = np.where(
                strange < 0, gram + self.starts[order], total + strange * LONGEST + order
            )
        return np.concatenate(captions_of), np.concatenate(grams), lengths

    def _order(self, gram: np.ndarray) -> np.ndarray:
        return sum((gram >= start).astype(np.int64) for start in self.starts[1:-1])


def _looked_up(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The place of each among the sorted `keys`; numbers behind them for those not there."""
    place = np.searchsorted(keys, wanted)
    strange = place == len(keys)
    if len(keys):
        strange |= keys[np.minimum(place, len(keys) - 1)] != wanted
    _, inverse = np.unique(wanted[strange], return_inverse=True)
    place[strange] = len(keys) + inverse
    return place


def _counted(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values, sorted, and how often each occurs."""
    packed = np.sort(packed)
    starts = _starts(packed)
    return packed[starts], np.diff(starts, append=len(packed))


def _starts(values: np.ndarray) -> np.ndarray:
    """Where runs of equal values begin."""
    first = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=first[1:])
    return np.flatnonzero(first)
