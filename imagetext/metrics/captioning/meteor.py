"""METEOR 1.5 for English in pure Python, with the stages exact, stem and synonym.

    statistics = Meteor(references).statistics(candidates)     # tokens -> [n, 21]
    meteor_scores(statistics)                                  # [n]: of each image
    meteor_scores(statistics.sum(0, keepdims=True))            # [1]: of the corpus

METEOR's fourth stage needs a table of 5 million paraphrases that cannot be redistributed here.
pycocoevalcap contains it (`meteor/data/paraphrase-en.gz`); pass `Paraphrases.read(...)` to have all
four stages. Without it, captions score 0.5 to 1 point (of 100) lower than with METEOR's Java
program as pycocoevalcap runs it, so numbers with and without paraphrases are not comparable.

Each stage agrees with the Java program caption by caption, with two exceptions that change the
score of a corpus by at most 0.05 points. Synonyms are those of WordNet; the Java program also takes
some words for synonyms whose sets have the same offset in two of WordNet's files. Function words
are English words with a relative frequency above 1/1000, which is METEOR's definition, but counted
in wordfreq 3.1; METEOR counted them in news, where `year` is a function word and `like` is not.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from imagetext.metrics.captioning.alignment import PARAPHRASE, STAGES, align, count_chunks
from imagetext.metrics.captioning.paraphrases import Paraphrases

#: METEOR's parameters for ranking English, and the weight of a word matched in each stage.
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])
_FUNCTION_TEXT = """
the to and of a in i is for that you it on with this was be as are have at he not by but from
my or we an your all so his they me if one can will just like about up out what has when more do
no were who had their there her which time get been would she new people how some also them now
other its our than good only after first him into know see two make over think any then could
back these us want because go well said way most much very where
' 's s 't " ( ) -lrb- -rrb- $ ? : , . -
"""
FUNCTION_WORDS = frozenset(_FUNCTION_TEXT.split())
#: Columns of the statistics: sizes, then matched words by stage, then chunks.
_LENGTHS, _FUNCTION = slice(0, 2), slice(2, 4)
_CONTENT_MATCHES, _FUNCTION_MATCHES = slice(4, 12), slice(12, 20)
_CHUNKS = 20

_LETTER = "A-Za-z\u0160\u0161\u017d\u017e\u0178\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u017e\u0400-\u0527"
_STEPS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (rf"([^0-9{_LETTER}\s.'`,\-\u2018\u2019])", r" \1 "),
        (r"([^0-9]),([^0-9])", r"\1 , \2"),
        (r"([0-9]),([^0-9])", r"\1 , \2"),
        (r"([^0-9]),([0-9])", r"\1 , \2"),
        (r"[`\u2018\u2019]", "'"),
        (r"''", ' " '),
        (r"--", "-"),
        (rf"([0-9{_LETTER}.])-([0-9{_LETTER}])", r"\1 \2"),
        (rf"([^{_LETTER}])'([^{_LETTER}])", r"\1 ' \2"),
        (rf"([^{_LETTER}0-9])'([{_LETTER}])", r"\1 ' \2"),
        (rf"([{_LETTER}])'([^{_LETTER}])", r"\1 ' \2"),
        (rf"([{_LETTER}])'([{_LETTER}])", r"\1 '\2"),
        (r"([0-9])'(s)", r"\1 '\2"),
    )
)
_ABBREVIATED = frozenset(("v", "vs", "i.e", "rev", "e.g"))


class Meteor:
    """Aligns candidates with references.

    Args:
        references: The tokens of one or more captions for each image.
        stages: Number of stages to use; by default three, or four with `paraphrases`.
        paraphrases: The table for the fourth stage.
        function_words: Words that count less than content words.
    """

    def __init__(
        self,
        references: Sequence[Sequence[Sequence[str]]],
        *,
        stages: int | None = None,
        paraphrases: Paraphrases | None = None,
        function_words: frozenset[str] = FUNCTION_WORDS,
    ):
        self.references = [[normalize(tokens) for tokens in image] for image in references]
        self.paraphrases = paraphrases
        self.count = stages or (PARAPHRASE if paraphrases is None else len(STAGES))
        self.function_words = function_words

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the stages in use."""
        return STAGES[: self.count]

    def statistics(
        self, candidates: Sequence[Sequence[str]], images: Sequence[int] | None = None
    ) -> np.ndarray:
        """Count what METEOR needs, for each candidate and the reference that it matches best.

        Args:
            candidates: Tokens of each candidate.
            images: The image that each candidate describes; by default they are in order.

        Returns:
            [n, 21]: lengths, function words, matches by stage, and chunks.
        """
        numbers = range(len(self.references)) if images is None else images
        rows = []
        for tokens, image in zip(candidates, numbers, strict=True):
            candidate = normalize(tokens)
            counts = [self._counts(candidate, reference) for reference in self.references[image]]
            rows.append(counts[int(np.argmax(meteor_scores(np.array(counts))))])
        return np.array(rows, np.float64).reshape(-1, 21)

    def _counts(self, candidate: tuple[str, ...], reference: tuple[str, ...]) -> list[int]:
        counts = [0] * 21
        function = [word in self.function_words for word in candidate]
        reference_function = [word in self.function_words for word in reference]
        counts[_LENGTHS] = len(candidate), len(reference)
        counts[_FUNCTION] = sum(function), sum(reference_function)
        matches = align(candidate, reference, self.count, self.paraphrases)
        for stage, start, length, candidate_start, candidate_length in matches:
            for place in range(candidate_start, candidate_start + candidate_length):
                counts[(12 if function[place] else 4) + 2 * stage] += 1
            for place in range(start, start + length):
                counts[(12 if reference_function[place] else 4) + 2 * stage + 1] += 1
        count = count_chunks(matches)
        # A caption that matches as a whole in one run counts as unbroken.
        whole = sum(counts[4:20:2]) == len(candidate) and sum(counts[5:20:2]) == len(reference)
        counts[_CHUNKS] = 0 if whole and count == 1 else count
        return counts


def meteor_scores(statistics: np.ndarray) -> np.ndarray:
    """METEOR [n] of statistics [n, 21]; a row may be the sum of many."""
    statistics = np.asarray(statistics, np.float64)
    lengths, small = statistics[:, _LENGTHS], statistics[:, _FUNCTION]
    content = statistics[:, _CONTENT_MATCHES].reshape(-1, 4, 2)
    function = statistics[:, _FUNCTION_MATCHES].reshape(-1, 4, 2)
    weighted = np.einsum("nsc,s->nc", DELTA * content + (1 - DELTA) * function, WEIGHTS)
    matched = content.sum(1) + function.sum(1)
    valid = matched.min(1) > 0
    fractions = weighted / np.maximum(DELTA * (lengths - small) + (1 - DELTA) * small, 1e-300)
    precision, recall = np.where(valid[:, None], fractions, 1).T
    mean = 1 / ((1 - ALPHA) / precision + ALPHA / recall)
    fragmentation = statistics[:, _CHUNKS] / np.where(valid, matched.mean(1), 1)
    penalty = GAMMA * fragmentation**BETA
    return np.where(valid, mean * (1 - penalty), 0)


def normalize(tokens: Sequence[str]) -> tuple[str, ...]:
    """Split tokens further at hyphens and apostrophes, as METEOR does.

    Examples:
        >>> normalize(["black-and-white", "dog", "'s"])
        ('black', 'and', 'white', 'dog', "'", 's')
    """
    if all(token.isalnum() and token.isascii() for token in tokens):
        return tuple(tokens)
    words = [word for token in tokens for word in _split(token)]
    results = []
    for word, after in zip(words, [*words, ""][1:], strict=True):
        stem = word[:-1]
        if len(word) < 2 or word[-1] != ".":
            results.append(word)
        elif "." in stem and re.search(f"[{_LETTER}]", stem):
            results.append(word.replace(".", ""))  # u.s. -> us
        elif stem in _ABBREVIATED or "a" <= after[:1] <= "z":
            results.append(word)
        else:
            results += [stem, "."]
    return tuple(results)


@lru_cache(1 << 16)
def _split(token: str) -> tuple[str, ...]:
    if token.isalnum() and token.isascii():
        return (token,)
    token = f" {token} "
    for pattern, replacement in _STEPS:
        token = pattern.sub(replacement, token)
    return tuple(token.split())
