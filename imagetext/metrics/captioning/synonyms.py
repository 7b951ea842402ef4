"""Which English words share a meaning: the single words of WordNet 3.0, in a file of 300 kB.

    meanings("photo") & meanings("picture")   # not empty: they share a set of synonyms

`wordnet.txt.xz` was written from WordNet's own files (Debian's package `wordnet-base`) by

    python -m imagetext.metrics.captioning.synonyms /usr/share/wordnet

and may be passed on under the licence beside it, `WORDNET_LICENSE.txt`. Its three parts are parted
by empty lines: sets of synonyms, one a line; words without any; irregular forms with their bases.
"""

import lzma
import re
import sys
from functools import cache, lru_cache
from pathlib import Path

from imagetext.files import replacing

FILE = Path(__file__).with_name("wordnet.txt.xz")
_PARTS_OF_SPEECH = ("noun", "verb", "adj", "adv")
#: METEOR's words hold nothing else: it parts words at hyphens and every other sign.
_SINGLE = re.compile(r"[a-z0-9]+\Z")
#: WordNet's regular endings and what takes their place; the first that makes a word counts.
_ENDINGS = (
    *(("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh")),
    *(("men", "man"), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", "")),
    *(("ing", "e"), ("ing", ""), ("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
)


@lru_cache(1 << 17)
def meanings(word: str) -> frozenset:
    """All that `word` and its base form can mean: numbers of synonym sets, and the words
    themselves, so that forms of a word without synonyms still share something."""
    sets, irregular = _read()
    bases = [word, *irregular.get(word, (() if word in irregular else (_base(word, sets),)))]
    found: set = set()
    for base in bases:
        if base in sets:
            found.update((base, *sets[base]))
    return frozenset(found)


def _base(word: str, sets: dict) -> str:
    if len(word) > 2 and not word.endswith("ss"):
        for ending, instead in _ENDINGS:
            if word.endswith(ending) and word.removesuffix(ending) + instead in sets:
                return word.removesuffix(ending) + instead
    return ""


@cache
def _read() -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[str, ...]]]:
    """Word -> numbers of its sets; irregular form -> bases."""
    with lzma.open(FILE, "rt", encoding="ascii") as file:
        groups, alone, forms = (part.split("\n") for part in file.read().strip().split("\n\n"))
    sets: dict[str, tuple[int, ...]] = dict.fromkeys(alone, ())
    for number, group in enumerate(groups):
        for word in group.split():
            sets[word] = (*sets.get(word, ()), number)
    irregular: dict[str, tuple[str, ...]] = {}
    for line in forms:
        form, *bases = line.split()
        irregular[form] = tuple(bases)
    return sets, irregular


def write(wordnet: str | Path, path: str | Path = FILE) -> None:
    """Make the file from the folder `wordnet` with index.noun, noun.exc and so on."""
    members: dict = {}
    words: set = set()
    irregular: dict = {}
    for kind in _PARTS_OF_SPEECH:
        for line in (Path(wordnet) / f"index.{kind}").read_text("ascii").splitlines():
            word, _, count, *rest = line.split() if line[0] != " " else (" ", "", "0")
            if _SINGLE.match(word):
                words.add(word)
                for offset in rest[-int(count) :]:
                    members.setdefault((kind, offset), []).append(word)
        for line in (Path(wordnet) / f"{kind}.exc").read_text("ascii").splitlines():
            form, *bases = line.split()
            if _SINGLE.match(form):
                irregular.setdefault(form, set()).update(filter(_SINGLE.match, bases))
    groups = sorted({" ".join(sorted(group)) for group in members.values() if len(group) > 1})
    alone = sorted(words - {word for group in groups for word in group.split()})
    forms = sorted(" ".join((form, *sorted(bases))) for form, bases in irregular.items())
    text = "\n\n".join("\n".join(part) for part in (groups, alone, forms)) + "\n"
    with replacing(path) as temporary:
        temporary.write_bytes(lzma.compress(text.encode("ascii"), preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    write(sys.argv[1])
