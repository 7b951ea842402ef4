"""BLEU-1 to BLEU-4 without smoothing, as in the COCO caption evaluation.

    counts = Bleu(references).counts(candidates)      # tokens -> [n, 10]
    bleu_scores(counts)                               # [n, 4]: of each image
    bleu_scores(counts.sum(0, keepdims=True))         # [1, 4]: of the corpus, as reported

The brevity penalty uses the reference closest in length. BLEU of a corpus is computed from the
summed counts; it is not the mean over images.
"""

from collections.abc import Sequence

import numpy as np

from imagetext.metrics.captioning.ngrams import LONGEST, NgramIndex

#: Columns of the counts.
_GUESSED, _CORRECT, _WORDS, _CLOSEST = slice(0, 4), slice(4, 8), 8, 9
#: The reference implementation adds these to avoid dividing by zero; equal numbers need them too.
_TINY, _SMALL = 1e-15, 1e-9


class Bleu:
    """Counts what BLEU needs.

    Args:
        references: The tokens of one or more captions for each image, or their index.
    """

    def __init__(self, references: Sequence[Sequence[Sequence[str]]] | NgramIndex):
        if isinstance(references, NgramIndex):
            self.index = references
        else:
            self.index = NgramIndex(references)

    def counts(
        self, candidates: Sequence[Sequence[str]], images: Sequence[int] | None = None
    ) -> np.ndarray:
        """Count the n-grams of candidates.

        Args:
            candidates: Tokens of each candidate.
            images: The image that each candidate describes; by default they are in order.

        Returns:
            [n, 10]: n-grams of the candidate (4), those that are correct (4), its words, and the
            words of the reference closest in length.
        """
        first = self.index.first_caption
        image_of = np.arange(len(first) - 1) if images is None else np.asarray(images, np.int64)
        if len(image_of) != len(candidates):
            raise ValueError(f"{len(candidates)} candidates for {len(image_of)} images")
        grams = self.index.count(candidates)
        rows, reference_rows = self.index.match(grams, image_of)
        most = np.zeros(len(grams.gram), np.int64)
        np.maximum.at(most, rows, self.index.grams.count[reference_rows])
        correct = np.minimum(most, grams.count)
        counts = np.zeros((len(candidates), 10))
        counts[:, _GUESSED] = np.maximum(grams.words[:, None] - np.arange(LONGEST), 0)
        counts[:, _CORRECT] = np.bincount(
            grams.caption * LONGEST + grams.order, correct, len(candidates) * LONGEST
        ).reshape(-1, LONGEST)
        counts[:, _WORDS] = grams.words
        words = self.index.grams.words.tolist()
        for row, (length, image) in enumerate(zip(grams.words.tolist(), image_of, strict=True)):
            lengths = words[first[image] : first[image + 1]]
            # Ties go to the shorter reference.
            counts[row, _CLOSEST] = min((abs(n - length), n) for n in lengths)[1]
        return counts


def bleu_scores(counts: np.ndarray) -> np.ndarray:
    """BLEU-1 to BLEU-4 [n, 4] of counts [n, 10]; a row may be the sum of many."""
    counts = np.asarray(counts, np.float64)
    precision = (counts[:, _CORRECT] + _TINY) / (counts[:, _GUESSED] + _SMALL)
    bleu = precision.cumprod(1) ** (1 / np.arange(1, LONGEST + 1))
    ratio = (counts[:, _WORDS] + _TINY) / (counts[:, _CLOSEST] + _SMALL)
    return bleu * np.exp(1 - 1 / np.minimum(ratio, 1))[:, None]
