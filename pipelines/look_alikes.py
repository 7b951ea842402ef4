"""Similar photos by their stored features: pairs that the perceptual hash misses, such as mirrored
copies and two shots of one scene.

features = MeanFeatures.of(store, digests)
features.across(train_digests, test_digests)     # {"count": 1, "nearest": [(0.94, a, b), ...]}
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from imagetext.pipelines.feature_store import FeatureStore

#: Two photos are similar if the cosine of their mean features is at least this. Measured on 6,999
#: photos of Flickr8k with EfficientNet-Lite0 and Lite2: of 24 million pairs, 3 and 6 are above, all
#: of the same scene or game, and the hash finds none of them. Between 0.85 and 0.9 such pairs mix
#: with unrelated photos that look similar (two racing motorcycles, two footballers). Of copies of
#: 20 photos, Lite0 finds those that were mirrored or made a fifth brighter (all), cropped by 2 % on
#: each side (19), cropped by 5 % or saved again at quality 40 (18). It misses copies of half the
#: size or without colour, which the hash finds.
ALIKE = 0.9
#: Number of the most similar pairs to list.
NEAREST = 5
#: Number of rows to read at a time, and to compare with all others at a time.
_READ, _BLOCK = 256, 1024


@dataclass(frozen=True)
class MeanFeatures:
    """The mean features of n photos.

    Args:
        vectors: Float32 [n, channels], each of length one.
        number: The row of each photo, by its SHA-256 in hexadecimal.
    """

    vectors: np.ndarray
    number: dict[str, int]

    @classmethod
    def of(cls, store: FeatureStore, digests: Iterable[str]) -> "MeanFeatures":
        """Read the features of the photos that have some in the store."""
        different = list(dict.fromkeys(digests))
        rows = store.rows(map(bytes.fromhex, different)).tolist()
        # The order of the store is the fastest to read.
        stored = sorted((r, digest) for r, digest in zip(rows, different, strict=True) if r >= 0)
        vectors = np.zeros((len(stored), store.shape[-1]), np.float32)
        for start in range(0, len(stored), _READ):
            cells = store.fetch([row for row, _ in stored[start : start + _READ]])
            cells = cells.reshape(len(cells), -1, store.shape[-1])
            vectors[start : start + len(cells)] = cells.mean(axis=1, dtype=np.float32)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return cls(vectors, {digest: number for number, (_, digest) in enumerate(stored)})

    def across(self, one: Collection[str], other: Collection[str]) -> dict:
        """Compare every photo of one side with every photo of the other side.

        Args:
            one: Digests of the photos of one side.
            other: Digests of the photos of the other side.

        Returns:
            "count", the number of similar pairs, and "nearest", the most similar pairs as (cosine,
            digest, digest). Pairs of photos that are both on both sides do not count.
        """
        sides = [[digest for digest in side if digest in self.number] for side in (one, other)]
        a, b = (self.vectors[[self.number[digest] for digest in side]] for side in sides)
        shared = set(one) & set(other)
        in_a, in_b = (np.array([digest in shared for digest in side], bool) for side in sides)
        count, nearest = 0, []
        for start in range(0, len(a) if len(b) else 0, _BLOCK):
            cosines = a[start : start + _BLOCK] @ b.T
            cosines[in_a[start : start + _BLOCK, None] & in_b] = -np.inf
            count += int((cosines >= ALIKE).sum())
            kept = min(NEAREST, cosines.size)
            for place in np.argpartition(cosines, -kept, axis=None)[-kept:].tolist():
                i, j = divmod(place, len(b))
                nearest.append((float(cosines[i, j]), sides[0][start + i], sides[1][j]))
        nearest = sorted((pair for pair in nearest if np.isfinite(pair[0])), reverse=True)
        return {"count": count, "nearest": nearest[:NEAREST]}
