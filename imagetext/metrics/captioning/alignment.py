"""Which words of two captions METEOR takes for the same: exact, of one stem, of one meaning.

    align(("a", "dog", "runs"), ("two", "dogs", "run"))[0]   # Match(0, 1, 1, 1, 1): dog - dogs

The rules are those of METEOR 1.5's aligner, its roundings and ties included. Of all alignments it
seeks, with a beam, the one with the most words matched exactly, then with the fewest chunks, then
with the shortest distances; a match that nothing competes with is always taken.
"""

from collections.abc import Sequence
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple

from imagetext.metrics.captioning.stems import stem
from imagetext.metrics.captioning.synonyms import meanings

STAGES = ("exact", "stem", "synonym", "paraphrase")
EXACT, STEM, SYNONYM, PARAPHRASE = range(4)
_BEAM = 40


class Match(NamedTuple):
    """`length` words from `start` on of the reference match those of the candidate."""

    stage: int
    start: int
    length: int
    candidate_start: int
    candidate_length: int


class _Path(NamedTuple):
    """An alignment of the reference's first words. `exact` is negative, so that less is better."""

    exact: int
    chunks: int
    distance: int
    used: int  # Bits of the candidate's words.
    used_reference: int
    upto: int  # The first word of the reference not decided yet.
    end: int  # Where the last match ends in the candidate; -1 behind a gap.
    matches: tuple[Match, ...]


def align(
    candidate: Sequence[str], reference: Sequence[str], stages: int = 3, paraphrases=None
) -> list[Match]:
    """The matches, ordered by their place in the reference, from the first `stages` stages."""
    if candidate == reference:
        stages = 1  # As METEOR does: no other alignment can be better.
    options: list[list] = [[] for _ in reference]
    for start, word in enumerate(reference):
        for place, other in enumerate(candidate):
            for stage in same(other, word):
                if stage < stages:
                    options[start].append(Match(stage, start, 1, place, 1))
        options[start].sort()
    if paraphrases is not None and stages > PARAPHRASE:
        for match in paraphrases.matches(candidate, reference):
            options[match.start].append(match)
    certain = _certain(options, len(candidate), len(reference))
    return list(_search(options, certain))


@lru_cache(1 << 20)
def same(word: str, other: str) -> tuple[int, ...]:
    """The stages that hold them for the same."""
    if word == other:
        return (EXACT,)
    found = (STEM,) if stem(word) == stem(other) else ()
    return found if meanings(word).isdisjoint(meanings(other)) else (*found, SYNONYM)


def chunks(matches: Sequence[Match]) -> int:
    """How many runs of matches there are that follow each other in both captions."""
    count, end, candidate_end = 0, -1, -1
    for match in matches:
        count += match.start != end or match.candidate_start != candidate_end
        end = match.start + match.length
        candidate_end = match.candidate_start + match.candidate_length
    return count


def _certain(options: list[list[Match]], candidate: int, reference: int) -> dict[int, Match]:
    """By their start, the matches whose words no other match wants."""
    wanted, wanted_reference = [0] * candidate, [0] * reference
    for matches in options:
        for _, start, length, candidate_start, candidate_length in matches:
            for place in range(start, start + length):
                wanted_reference[place] += 1
            for place in range(candidate_start, candidate_start + candidate_length):
                wanted[place] += 1
    return {
        start: match
        for start, (match, *more) in ((s, m) for s, m in enumerate(options) if m)
        if not more
        and max(wanted_reference[start : start + match.length]) == 1
        and max(wanted[match.candidate_start :][: match.candidate_length]) == 1
    }


def _search(options: list[list[Match]], certain: dict[int, Match]) -> tuple[Match, ...]:
    used = used_reference = 0
    for match in certain.values():
        used |= _bits(match.candidate_start, match.candidate_length)
        used_reference |= _bits(match.start, match.length)
    paths = [_Path(0, 0, 0, used, used_reference, 0, -1, ())]
    for place, matches in enumerate(options):
        paths.sort(key=itemgetter(0, 1, 2))
        following = []
        for path in paths[:_BEAM]:
            if place < path.upto:
                following.append(path)
            elif place in certain:
                match = certain[place]
                far = abs(place - match.candidate_start)
                following.append(_with(path, match, path.used, path.used_reference, far))
            else:
                distance = path.distance
                for match in matches:
                    bits = _bits(match.candidate_start, match.candidate_length)
                    bits_reference = _bits(place, match.length)
                    if path.used & bits or path.used_reference & bits_reference:
                        continue
                    # As METEOR has it, a match adds to the distance of those tried after it.
                    following.append(
                        _with(
                            path,
                            match,
                            path.used | bits,
                            path.used_reference | bits_reference,
                            distance - path.distance,
                        )
                    )
                    distance += abs(place - match.candidate_start)
                following.append(
                    _Path(
                        path.exact,
                        path.chunks + (path.end != -1),
                        distance,
                        path.used,
                        path.used_reference,
                        place + 1,
                        -1,
                        path.matches,
                    )
                )
        paths = following
    paths.sort(key=itemgetter(0, 1, 2))
    # `min` keeps the first of equals, as the sorting does.
    best = min(paths[:_BEAM], key=lambda p: (p.exact, p.chunks + (p.end != -1), p.distance))
    return best.matches


def _with(path: _Path, match: Match, used: int, used_reference: int, distance: int) -> _Path:
    stage, start, length, candidate_start, candidate_length = match
    # What is not exact counts half a word, rounded down: single words nothing.
    gain = length + candidate_length if stage == EXACT else length // 2 + candidate_length // 2
    return _Path(
        path.exact - gain,
        path.chunks + (path.end not in (-1, candidate_start)),
        path.distance + distance,
        used,
        used_reference,
        start + length,
        candidate_start + candidate_length,
        (*path.matches, match),
    )


def _bits(start: int, length: int) -> int:
    return ((1 << length) - 1) << start
