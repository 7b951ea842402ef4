"""METEOR's table of paraphrases, for its fourth stage. It is not shipped.

    words = {word for tokens in captions for word in normalize(tokens)}    # from meteor.py
    paraphrases = Paraphrases.read("meteor/data/paraphrase-en.gz", words)

The file is gzipped text with three lines per entry: a probability, a phrase and its paraphrase. It
has 5 million entries, so only those are kept that consist of `words`, the words of all candidates
and references. Reading takes about 20 seconds.
"""

import gzip
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path

from imagetext.errors import UserError
from imagetext.metrics.captioning.alignment import PARAPHRASE, Match


class Paraphrases:
    """Paraphrases of phrases, both as words.

    Args:
        phrases: The paraphrases of each phrase.
    """

    def __init__(self, phrases: dict[tuple[str, ...], list[tuple[str, ...]]]):
        self.phrases = phrases
        self.longest = max(map(len, phrases), default=0)

    @classmethod
    def read(cls, path: str | Path, words: Collection[str]) -> "Paraphrases":
        """Read the entries of a file that consist of certain words.

        Args:
            path: METEOR's paraphrase-en.gz.
            words: The words, as `meteor.normalize` returns them.

        Raises:
            UserError: If the file cannot be read.
        """
        words = frozenset(words)
        phrases: dict = {}
        try:
            with gzip.open(path, "rt", encoding="utf-8") as file:
                while entry := tuple(islice(file, 3)):
                    phrase = entry[1].split()
                    if words.issuperset(phrase) and words.issuperset(other := entry[2].split()):
                        phrases.setdefault(tuple(phrase), []).append(tuple(other))
        except (OSError, IndexError, UnicodeDecodeError) as error:
            raise UserError(
                f"{path}: cannot be read as paraphrases: {error}; expected METEOR's"
                " paraphrase-en.gz, which pycocoevalcap has in meteor/data"
            ) from error
        return cls(phrases)

    def matches(self, candidate: Sequence[str], reference: Sequence[str]) -> Iterator[Match]:
        """Phrases of one caption with a paraphrase in the other, in METEOR's order."""
        for start, length, other, other_length in self._find(reference, candidate):
            yield Match(PARAPHRASE, start, length, other, other_length)
        for start, length, other, other_length in self._find(candidate, reference):
            yield Match(PARAPHRASE, other, other_length, start, length)

    def _find(self, words: Sequence[str], others: Sequence[str]) -> Iterator:
        places: dict[str, list[int]] = {}
        for place, word in enumerate(others):
            places.setdefault(word, []).append(place)
        for start in range(len(words)):
            for length in range(1, min(self.longest, len(words) - start) + 1):
                for phrase in self.phrases.get(tuple(words[start : start + length]), ()):
                    for place in places.get(phrase[0], ()):
                        if tuple(others[place : place + len(phrase)]) == phrase:
                            yield start, length, place, len(phrase)
