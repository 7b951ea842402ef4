"""CIDEr-D: how far a caption's n-grams agree with those of several people, rare ones above all.

    cider = Cider(references)                         # tokens of several captions for each image
    cider.scores(candidates)                          # [n] of 0 to 10; their mean is the corpus's
    cider.scores(samples, images)                     # any captions of any of the images

Made for asking often: the references are counted once, a batch costs a few array operations. With
5,000 images of five references, on one core, that is about 20 microseconds a candidate in batches
of 320, and 0.2 seconds once for the references (`benchmarks/caption_metrics.py`).
"""

from collections.abc import Sequence

import numpy as np

from imagetext.metrics.captioning.ngrams import LONGEST, NgramIndex

_SIGMA = 6.0  # of the penalty for a length other than the reference's
_SCALE = 10.0

Tokens = Sequence[str]


class Cider:
    """`references` are the tokens of one or more captions for each image.

    How rare an n-gram is says `document_frequency_from`, references of other images, those of the
    training set for example; without it `references` themselves, as in the COCO evaluation.
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
        # The last number stands for whatever no reference holds.
        self.rarity = np.log(max(size, 1)) - np.log(np.maximum(np.append(frequency, 1), 1.0))
        grams = self.index.grams
        self.weight = grams.count * self.rarity[grams.gram]
        self.norm = _norms(grams.caption, grams.order, self.weight, len(grams.words))

    def scores(
        self, candidates: Sequence[Tokens], images: Sequence[int] | None = None
    ) -> np.ndarray:
        """[n]: CIDEr-D of each candidate, which describes image number `images` [n]; without
        `images` the candidates come in the order of the references."""
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
        many = self.index.first_caption[image_of + 1] - first
        before = np.cumsum(many) - many
        candidate = np.repeat(np.arange(len(candidates)), many)
        reference = np.arange(many.sum()) - np.repeat(before - first, many)
        here, there = self.index.found(grams, image_of)
        one = grams.caption[here]
        pair = before[one] + self.index.grams.caption[there] - first[one]
        product = np.minimum(weight[here], self.weight[there]) * self.weight[there]
        common = np.bincount(
            pair * LONGEST + grams.order[here], product, len(candidate) * LONGEST
        ).reshape(-1, LONGEST)
        norms = norm[candidate] * self.norm[reference]
        similar = np.divide(common, norms, out=np.zeros(common.shape), where=norms > 0)
        # The reference implementation counts pairs of words, so none and one are of one length.
        longer = np.maximum(grams.words - 1, 0)[candidate]
        longer = longer - np.maximum(self.index.grams.words - 1, 0)[reference]
        alike = similar.mean(1) * np.exp(-(longer**2) / (2 * _SIGMA**2))
        return _SCALE * np.bincount(candidate, alike, len(candidates)) / np.maximum(many, 1)


def _norms(caption, order, weight, captions: int) -> np.ndarray:
    """[captions, 4]: length of each caption's vector of weights, by length of n-gram."""
    place = caption * LONGEST + order
    return np.sqrt(np.bincount(place, weight**2, captions * LONGEST)).reshape(-1, LONGEST)
