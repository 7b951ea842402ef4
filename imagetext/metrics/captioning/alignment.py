"""METEOR's alignment of two captions: words that are equal, or share their stem or a meaning.

    align(("a", "dog", "runs"), ("two", "dogs", "run"))[0]   # Match(1, 1, 1, 1, 1): dog - dogs

This follows the aligner of METEOR 1.5, including its rounding and its ties. A beam search looks for
the alignment with the most exactly matched words, then the fewest chunks, then the shortest
distances; a match without competitors is always part of it.
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
    """Words of the reference (`length` from `start` on) that match words of the candidate."""

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
    used: int  # A bit for each word of the candidate.
    used_reference: int
    next: int  # The first word of the reference that is undecided.
    end: int  # The end of the last match in the candidate; -1 after a gap.
    matches: tuple[Match, ...]


def align(
    candidate: Sequence[str], reference: Sequence[str], stages: int = 3, paraphrases=None
) -> list[Match]:
    """Align two captions.

    Args:
        candidate: Words of the candidate.
        reference: Words of the reference.
        stages: Number of stages to use, in the order of `STAGES`.
        paraphrases: The table for the fourth stage.

    Returns:
        The matches, in the order of the reference.
    """
    if candidate == reference:
        stages = 1  # As in METEOR: no other alignment can be better.
    options: list[list] = [[] for _ in reference]
    for start, word in enumerate(reference):
        for place, other in enumerate(candidate):
            for stage in matching_stages(other, word):
                if stage < stages:
                    options[start].append(Match(stage, start, 1, place, 1))
        options[start].sort()
    if paraphrases is not None and stages > PARAPHRASE:
        for match in paraphrases.matches(candidate, reference):
            options[match.start].append(match)
    certain = _certain(options, len(candidate), len(reference))
    return list(_search(options, certain))


@lru_cache(1 << 20)
def matching_stages(word: str, other: str) -> tuple[int, ...]:
    """The stages in which two words match."""
    if word == other:
        return (EXACT,)
    stages = (STEM,) if stem(word) == stem(other) else ()
    return stages if meanings(word).isdisjoint(meanings(other)) else (*stages, SYNONYM)


def count_chunks(matches: Sequence[Match]) -> int:
    """The number of runs of matches that are contiguous in both captions."""
    count, end, candidate_end = 0, -1, -1
    for match in matches:
        count += match.start != end or match.candidate_start != candidate_end
        end = match.start + match.length
        candidate_end = match.candidate_start + match.candidate_length
    return count


def _certain(options: list[list[Match]], candidate: int, reference: int) -> dict[int, Match]:
    """By their start, the matches whose words occur in no other match."""
    uses, reference_uses = [0] * candidate, [0] * reference
    for matches in options:
        for _, start, length, candidate_start, candidate_length in matches:
            for place in range(start, start + length):
                reference_uses[place] += 1
            for place in range(candidate_start, candidate_start + candidate_length):
                uses[place] += 1
    return {
        start: match
        for start, (match, *more) in ((s, m) for s, m in enumerate(options) if m)
        if not more
        and max(reference_uses[start : start + match.length]) == 1
        and max(uses[match.candidate_start :][: match.candidate_length]) == 1
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
            if place < path.next:
                following.append(path)
            elif place in certain:
                match = certain[place]
                distance = abs(place - match.candidate_start)
                following.append(_extend(path, match, path.used, path.used_reference, distance))
            else:
                distance = path.distance
                for match in matches:
                    bits = _bits(match.candidate_start, match.candidate_length)
                    bits_reference = _bits(place, match.length)
                    if path.used & bits or path.used_reference & bits_reference:
                        continue
                    # As in METEOR, a match adds to the distance of those tried after it.
                    following.append(
                        _extend(
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
    # `min` returns the first of equal ones, like the sorting.
    best = min(paths[:_BEAM], key=lambda p: (p.exact, p.chunks + (p.end != -1), p.distance))
    return best.matches


def _extend(path: _Path, match: Match, used: int, used_reference: int, distance: int) -> _Path:
    stage, start, length, candidate_start, candidate_length = match
    # A word that does not match exactly counts half, rounded down, so single words count nothing.
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
