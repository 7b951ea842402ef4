"""Photos that an encoder sees alike, by features that are stored already: what the perceptual hash
misses, such as mirrored copies and two shots of one scene.

seen = MeanFeatures.of(store, digests)
seen.across(digests_of_train, digests_of_test)     # {"count": 1, "nearest": [(0.94, a, b), ...]}
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from imagetext.pipelines.feature_store import FeatureStore

#: Two photos are alike whose mean features have this cosine. Measured on 6,999 photos of Flickr8k
#: with EfficientNet-Lite0 and Lite2: of their 24 million pairs 3 and 6 lie above, all of them shots
#: of one scene or game, of which the hash finds none; below, down to 0.85, such shots mix with
#: strangers that look alike (two racing motorcycles, two footballers). Of copies of 20 photos lie
#: above, by Lite0, those mirrored or a fifth brighter (all), cropped by 2 % a side (19), by 5 %, or
#: saved again at quality 40 (18). Copies of half the size or without colour do not: the hash finds
#: them.
ALIKE = 0.9
#: How many of the nearest pairs are kept.
NEAREST = 5
#: Rows read at once, and compared at once with all others.
_READ, _BLOCK = 256, 1024


@dataclass(frozen=True)
class MeanFeatures:
    """The mean features of n photos, float32 [n, channels] of length one, by digest."""

    vectors: np.ndarray
    number: dict[str, int]  # digest in hexadecimal -> row

    @classmethod
    def of(cls, store: FeatureStore, digests: Iterable[str]) -> "MeanFeatures":
        """Those of the photos that have features in the store."""
        different = list(dict.fromkeys(digests))
        rows = store.rows(map(bytes.fromhex, different)).tolist()
        # In the order of the store, which reads the quickest.
        known = sorted((r, digest) for r, digest in zip(rows, different, strict=True) if r >= 0)
        vectors = np.zeros((len(known), store.shape[-1]), np.float32)
        for start in range(0, len(known), _READ):
            cells = store.fetch([row for row, _ in known[start : start + _READ]])
            cells = cells.reshape(len(cells), -1, store.shape[-1])
            vectors[start : start + len(cells)] = cells.mean(axis=1, dtype=np.float32)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return cls(vectors, {digest: number for number, (_, digest) in enumerate(known)})

    def across(self, one: Collection[str], other: Collection[str]) -> dict:
        """How many pairs of a photo of each side are alike, and the nearest ones, alike or not;
        without pairs of photos that are both on both sides."""
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
