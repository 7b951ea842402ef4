"""METEOR 1.5 for English, with its stages exact, stem and synonym, in Python alone.

    statistics = Meteor(references).statistics(candidates)     # tokens; [n, 21]
    score_of(statistics)                                       # [n]: a score for each image
    score_of(statistics.sum(0, keepdims=True))                 # [1]: of all together

What METEOR's jar has and this has not is its table of 5 million paraphrases, its fourth stage: it
is not ours to pass on. Whoever has it (pycocoevalcap brings `meteor/data/paraphrase-en.gz`) gives
`Paraphrases.read(...)` and has METEOR whole. Without it captions score 0.5 to 1 point of 100 lower
than by the jar as pycocoevalcap calls it, so numbers with and without must not stand side by side.

Each stage agrees with the jar's caption for caption, but for two things that move the score of a
corpus by 0.05 points at most. Synonyms are WordNet's: the jar also holds some words for synonyms
whose sets happen to lie at one place of two of WordNet's files. Function words are those of English
whose relative frequency is above 1/1000, METEOR's definition, as counted in wordfreq 3.1; METEOR
counted in news, where `year` is such a word and `like` is not.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from imagetext.metrics.captioning.alignment import PARAPHRASE, STAGES, align, chunks
from imagetext.metrics.captioning.paraphrases import Paraphrases

#: METEOR's parameters for ranking English, and what a word counts that each stage matched.
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
    (re.compile(pattern), instead)
    for pattern, instead in (
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
    """Scores candidates against these references, as often as one likes.

    `references` are the tokens of several captions for each image. Without `stages` all are used
    that the data allow: three, or four with `paraphrases`.
    """

    def __init__(
        self,
        references: Sequence[Sequence[Sequence[str]]],
        *,
        stages: int | None = None,
        paraphrases: Paraphrases | None = None,
        function_words: frozenset[str] = FUNCTION_WORDS,
    ):
        self.references = [[normalized(tokens) for tokens in image] for image in references]
        self.paraphrases = paraphrases
        self.count = stages or (PARAPHRASE if paraphrases is None else len(STAGES))
        self.function_words = function_words

    @property
    def stages(self) -> tuple[str, ...]:
        return STAGES[: self.count]

    def statistics(
        self, candidates: Sequence[Sequence[str]], images: Sequence[int] | None = None
    ) -> np.ndarray:
        """[n, 21]: for each candidate the counts beside the reference that it matches best.

        `images` [n] says which image each candidate describes; without it, they come in order.
        """
        numbers = range(len(self.references)) if images is None else images
        rows = []
        for tokens, image in zip(candidates, numbers, strict=True):
            candidate = normalized(tokens)
            against = [self._counts(candidate, one) for one in self.references[image]]
            rows.append(against[int(np.argmax(score_of(np.array(against))))])
        return np.array(rows, np.float64).reshape(-1, 21)

    def _counts(self, candidate: tuple[str, ...], reference: tuple[str, ...]) -> list[int]:
        counts = [0] * 21
        small = [word in self.function_words for word in candidate]
        small_reference = [word in self.function_words for word in reference]
        counts[_LENGTHS] = len(candidate), len(reference)
        counts[_FUNCTION] = sum(small), sum(small_reference)
        matches = align(candidate, reference, self.count, self.paraphrases)
        for stage, start, length, candidate_start, candidate_length in matches:
            for place in range(candidate_start, candidate_start + candidate_length):
                counts[(12 if small[place] else 4) + 2 * stage] += 1
            for place in range(start, start + length):
                counts[(12 if small_reference[place] else 4) + 2 * stage + 1] += 1
        pieces = chunks(matches)
        # A caption all of whose words match in one run counts as not broken at all.
        whole = sum(counts[4:20:2]) == len(candidate) and sum(counts[5:20:2]) == len(reference)
        counts[_CHUNKS] = 0 if whole and pieces == 1 else pieces
        return counts


def score_of(statistics: np.ndarray) -> np.ndarray:
    """[n, 21] -> [n]: METEOR of each row, where a row may be the sum of many."""
    statistics = np.asarray(statistics, np.float64)
    lengths, small = statistics[:, _LENGTHS], statistics[:, _FUNCTION]
    content = statistics[:, _CONTENT_MATCHES].reshape(-1, 4, 2)
    function = statistics[:, _FUNCTION_MATCHES].reshape(-1, 4, 2)
    weighted = np.einsum("nsc,s->nc", DELTA * content + (1 - DELTA) * function, WEIGHTS)
    matched = content.sum(1) + function.sum(1)
    found = matched.min(1) > 0
    shares = weighted / np.maximum(DELTA * (lengths - small) + (1 - DELTA) * small, 1e-300)
    precision, recall = np.where(found[:, None], shares, 1).T
    mean = 1 / ((1 - ALPHA) / precision + ALPHA / recall)
    broken = statistics[:, _CHUNKS] / np.where(found, matched.mean(1), 1)
    penalty = GAMMA * broken**BETA
    return np.where(found, mean * (1 - penalty), 0)


def normalized(tokens: Sequence[str]) -> tuple[str, ...]:
    """METEOR's own words of a tokenized caption: parted at hyphens and apostrophes.

    normalized(["black-and-white", "dog", "'s"]) == ("black", "and", "white", "dog", "'", "s")
    """
    if all(token.isalnum() and token.isascii() for token in tokens):
        return tuple(tokens)
    words = [word for token in tokens for word in _parted(token)]
    answer = []
    for word, after in zip(words, [*words, ""][1:], strict=True):
        stump = word[:-1]
        if len(word) < 2 or word[-1] != ".":
            answer.append(word)
        elif "." in stump and re.search(f"[{_LETTER}]", stump):
            answer.append(word.replace(".", ""))  # u.s. -> us
        elif stump in _ABBREVIATED or "a" <= after[:1] <= "z":
            answer.append(word)
        else:
            answer += [stump, "."]
    return tuple(answer)


@lru_cache(1 << 16)
def _parted(token: str) -> tuple[str, ...]:
    if token.isalnum() and token.isascii():
        return (token,)
    token = f" {token} "
    for pattern, instead in _STEPS:
        token = pattern.sub(instead, token)
    return tuple(token.split())
