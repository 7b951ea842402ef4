"""CIDEr-D: the similarity of n-grams in a caption and its references, weighted by rarity.

    cider = Cider(references)                         # tokens of several captions for each image
    cider.scores(candidates)                          # [n] from 0 to 10; the corpus has their mean
    cider.scores(samples, images)                     # any captions of any of the images

It is fast enough for self-critical training: references are counted once, and a batch takes a few
array operations. With 5,000 images of five references, on one core, that is about 20 microseconds
per candidate in batches of 320, and 0.2 seconds once for the references
(`benchmarks/caption_metrics.py`).
"""

from collections.abc import Sequence

import numpy as np

from imagetext.metrics.captioning.ngrams import LONGEST, NgramIndex

_SIGMA = 6.0  # of the penalty for differing from the reference in length
_SCALE = 10.0

Tokens = Sequence[str]


class Cider:
    """Scores captions by CIDEr-D.

    Args:
        references: The tokens of one or more captions for each image.
        document_frequency_from: References of other images, such as the training set, that decide
            how rare an n-gram is; by default `references`, as in the COCO evaluation.
    """

    def __init__(
        self,
        references: Sequence[Sequence[Tokens]],
        document_frequency_from: Sequence[Sequence[Tokens]] | None = None,
    ):
        corpus = document_frequency_from
        self.images = len(references)
        self.index = NgramIndex([*references, *(corpus or ())])
        frequency = self.index.document_frequency(self.images if corpus else 0)
        size = float(len(corpus or references))
        # The last number stands for all n-grams that no reference contains.
        self.rarity = np.log(max(size, 1)) - np.log(np.maximum(np.append(frequency, 1), 1.0))
        grams = self.index.grams
        self.weight = grams.count * self.rarity[grams.gram]
        self.norm = _norms(grams.caption, grams.order, self.weight, len(grams.words))

    def scores(
        self, candidates: Sequence[Tokens], images: Sequence[int] | None = None
    ) -> np.ndarray:
        """Score candidates.

        Args:
            candidates: Tokens of each candidate.
            images: The image that each candidate describes; by default they are in order.

        Returns:
            CIDEr-D of each candidate [n].
        """
        image_of = np.arange(self.images) if images is None else np.asarray(images, np.int64)
        if len(image_of) != len(candidates):
            raise ValueError(f"{len(candidates)} candidates for {len(image_of)} images")
        if len(image_of) and not 0 <= image_of.min() <= image_of.max() < self.images:
            raise ValueError(f"images are numbered from 0 to {self.images - 1}")
        grams = self.index.count(candidates)
        weight = grams.count * self.rarity[np.minimum(grams.gram, self.index.total)]
        norm = _norms(grams.caption, grams.order, weight, len(candidates))
        # One row for each pair of a candidate and a reference of its image.
        first = self.index.first_caption[image_of]
        count = self.index.first_caption[image_of + 1] - first
        before = np.cumsum(count) - count
        candidate = np.repeat(np.arange(len(candidates)), count)
        reference = np.arange(count.sum()) - np.repeat(before - first, count)
        rows, reference_rows = self.index.match(grams, image_of)
        caption = grams.caption[rows]
        pair = before[caption] + self.index.grams.caption[reference_rows] - first[caption]
        reference_weight = self.weight[reference_rows]
        product = np.minimum(weight[rows], reference_weight) * reference_weight
        common = np.bincount(
            pair * LONGEST + grams.order[rows], product, len(candidate) * LONGEST
        ).reshape(-1, LONGEST)
        norms = norm[candidate] * self.norm[reference]
        cosine = np.divide(common, norms, out=np.zeros(common.shape), where=norms > 0)
        # The reference implementation counts bigrams, so zero words and one have equal length.
        longer = np.maximum(grams.words - 1, 0)[candidate]
        longer = longer - np.maximum(self.index.grams.words - 1, 0)[reference]
        similarity = cosine.mean(1) * np.exp(-(longer**2) / (2 * _SIGMA**2))
        return _SCALE * np.bincount(candidate, similarity, len(candidates)) / np.maximum(count, 1)


def _norms(caption, order, weight, captions: int) -> np.ndarray:
    """The norm of each caption's vector of weights [captions, 4], by length of n-gram."""
    place = caption * LONGEST + order
    return np.sqrt(np.bincount(place, weight**2, captions * LONGEST)).reshape(-1, LONGEST)
