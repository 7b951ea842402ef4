"""ROUGE-L: the longest run of words, with gaps, that a caption has in common with a reference.

    rouge_l(candidates, references)                   # tokens; [n] of 0 to 1, the mean is reported

Precision and recall are the best over the references, each for itself, as COCO has it.
"""

from collections.abc import Sequence

import numpy as np

_BETA = 1.2  # how much more recall counts than precision


def rouge_l(
    candidates: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> np.ndarray:
    """[n]: ROUGE-L of each candidate against the references of its image."""
    scores = [_score(*pair) for pair in zip(candidates, references, strict=True)]
    return np.array(scores, np.float64)


def _score(candidate: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    # The reference implementation splits at spaces: a caption without words is one empty word.
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
    """Length of the longest common subsequence, a row of the usual table at once: its bits are
    those places of the candidate at which the row does not grow (Hyyro, 2004)."""
    whole = (1 << length) - 1
    row = whole
    for word in other:
        same = row & where.get(word, 0)
        row = (row + same | row - same) & whole
    return length - row.bit_count()
