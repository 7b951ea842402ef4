"""ROUGE-L: the longest common subsequence of words of a caption and a reference.

    rouge_l(candidates, references)             # tokens -> [n] from 0 to 1; the mean is reported

Precision and recall are each the best over all references, as in the COCO caption evaluation.
"""

from collections.abc import Sequence

import numpy as np

_BETA = 1.2  # the weight of recall relative to precision


def rouge_l(
    candidates: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> np.ndarray:
    """ROUGE-L of each candidate against the references of its image [n]."""
    scores = [_score(*pair) for pair in zip(candidates, references, strict=True)]
    return np.array(scores, np.float64)


def _score(candidate: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    # The reference implementation splits at spaces, so a caption without words has one empty word.
    candidate = candidate or ("",)
    where: dict[str, int] = {}
    for place, word in enumerate(candidate):
        where[word] = where.get(word, 0) | 1 << place
    precision = recall = 0.0
    for reference in references:
        common = _longest_common(where, len(candidate), reference or ("",))
        precision = max(precision, common / len(candidate))
        recall = max(recall, common / max(len(reference), 1))
    if not precision or not recall:
        return 0.0
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)


def _longest_common(where: dict[str, int], length: int, other: Sequence[str]) -> int:
    """The length of the longest common subsequence, by dynamic programming on whole rows: the bits
    of a row are the places of the candidate at which it does not grow (Hyyrö, 2004)."""
    mask = (1 << length) - 1
    row = mask
    for word in other:
        same = row & where.get(word, 0)
        row = (row + same | row - same) & mask
    return length - row.bit_count()
