"""METEOR's table of paraphrases, which its fourth stage needs, for those who have it.

    words = {word for tokens in captions for word in normalized(tokens)}   # of meteor.py
    paraphrases = Paraphrases.read("meteor/data/paraphrase-en.gz", words)

The file is gzipped text, three lines an entry: a probability, a phrase, what it may be said by.
It has 5 million of them, so only those are kept that consist of `words`: all that candidates and
references may say. Reading takes about 20 seconds.
"""

import gzip
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path

from imagetext.errors import UserError
from imagetext.metrics.captioning.alignment import PARAPHRASE, Match


class Paraphrases:
    def __init__(self, phrases: dict[tuple[str, ...], list[tuple[str, ...]]]):
        self.phrases = phrases
        self.longest = max(map(len, phrases), default=0)

    @classmethod
    def read(cls, path: str | Path, words: Collection[str]) -> "Paraphrases":
        """Those entries of the file that consist of `words` as `meteor.normalized` gives them."""
        words = frozenset(words)
        phrases: dict = {}
        try:
            with gzip.open(path, "rt", encoding="utf-8") as file:
                while entry := tuple(islice(file, 3)):
                    phrase = entry[1].split()
                    if words.issuperset(phrase) and words.issuperset(said := entry[2].split()):
                        phrases.setdefault(tuple(phrase), []).append(tuple(said))
        except (OSError, IndexError, UnicodeDecodeError) as error:
            raise UserError(
                f"cannot read paraphrases from {path}: {error}; expected METEOR's "
                "paraphrase-en.gz, which pycocoevalcap keeps in meteor/data"
            ) from error
        return cls(phrases)

    def matches(self, candidate: Sequence[str], reference: Sequence[str]) -> Iterator[Match]:
        """Phrases of the one that are said otherwise in the other, in METEOR's order."""
        for start, length, other, other_length in self._found(reference, candidate):
            yield Match(PARAPHRASE, start, length, other, other_length)
        for start, length, other, other_length in self._found(candidate, reference):
            yield Match(PARAPHRASE, other, other_length, start, length)

    def _found(self, here: Sequence[str], there: Sequence[str]) -> Iterator:
        places: dict[str, list[int]] = {}
        for place, word in enumerate(there):
            places.setdefault(word, []).append(place)
        for start in range(len(here)):
            for length in range(1, min(self.longest, len(here) - start) + 1):
                for said in self.phrases.get(tuple(here[start : start + length]), ()):
                    for place in places.get(said[0], ()):
                        if tuple(there[place : place + len(said)]) == said:
                            yield start, length, place, len(said)
