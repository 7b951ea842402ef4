"""BLEU-1 to BLEU-4 against the reference closest in length, without smoothing, as COCO has it.

    counts = Bleu(references).counts(candidates)      # tokens; [n, 10]
    bleu_of(counts)                                   # [n, 4]: of each image
    bleu_of(counts.sum(0, keepdims=True))             # [1, 4]: of the corpus, as reported

The corpus's BLEU is that of the summed counts, not the mean over images.
"""

from collections.abc import Sequence

import numpy as np

from imagetext.metrics.captioning.ngrams import LONGEST, NgramIndex

#: Columns of the counts.
_GUESSED, _CORRECT, _WORDS, _CLOSEST = slice(0, 4), slice(4, 8), 8, 9
#: The reference implementation's guards against dividing by zero, kept for equal numbers.
_TINY, _SMALL = 1e-15, 1e-9


class Bleu:
    """`references` are the tokens of one or more captions for each image, or their index."""

    def __init__(self, references: Sequence[Sequence[Sequence[str]]] | NgramIndex):
        if isinstance(references, NgramIndex):
            self.index = references
        else:
            self.index = NgramIndex(references)

    def counts(
        self, candidates: Sequence[Sequence[str]], images: Sequence[int] | None = None
    ) -> np.ndarray:
        """[n, 10]: n-grams said, n-grams right, words, words of the reference closest in length.

        `images` [n] says which image each candidate describes; without it, they come in order.
        """
        first = self.index.first_caption
        image_of = np.arange(len(first) - 1) if images is None else np.asarray(images, np.int64)
        if len(image_of) != len(candidates):
            raise ValueError(f"{len(candidates)} candidates for {len(image_of)} images")
        grams = self.index.count(candidates)
        here, there = self.index.found(grams, image_of)
        most = np.zeros(len(grams.gram), np.int64)
        np.maximum.at(most, here, self.index.grams.count[there])
        right = np.minimum(most, grams.count)
        counts = np.zeros((len(candidates), 10))
        counts[:, _GUESSED] = np.maximum(grams.words[:, None] - np.arange(LONGEST), 0)
        counts[:, _CORRECT] = np.bincount(
            grams.caption * LONGEST + grams.order, right, len(candidates) * LONGEST
        ).reshape(-1, LONGEST)
        counts[:, _WORDS] = grams.words
        words = self.index.grams.words.tolist()
        for row, (own, image) in enumerate(zip(grams.words.tolist(), image_of, strict=True)):
            lengths = words[first[image] : first[image + 1]]
            # Of two equally close, the shorter.
            counts[row, _CLOSEST] = min((abs(n - own), n) for n in lengths)[1]
        return counts


def bleu_of(counts: np.ndarray) -> np.ndarray:
    """[n, 10] -> [n, 4]: BLEU-1 to BLEU-4 of each row, where a row may be the sum of many."""
    counts = np.asarray(counts, np.float64)
    precision = (counts[:, _CORRECT] + _TINY) / (counts[:, _GUESSED] + _SMALL)
    bleu = precision.cumprod(1) ** (1 / np.arange(1, LONGEST + 1))
    ratio = (counts[:, _WORDS] + _TINY) / (counts[:, _CLOSEST] + _SMALL)
    return bleu * np.exp(1 - 1 / np.minimum(ratio, 1))[:, None]
