"""Synonyms of English words: the single words of WordNet 3.0, in a file of 300 kB.

    meanings("photo") & meanings("picture")   # not empty: they share a set of synonyms

`wordnet.txt.xz` was made from WordNet's database (Debian package `wordnet-base`) with

    python -m imagetext.metrics.captioning.synonyms /usr/share/wordnet

and is distributed under WORDNET_LICENSE.txt. It has three sections, separated by empty lines: sets
of synonyms, one per line; words without synonyms; irregular forms with their base forms.
"""

import lzma
import re
import sys
from functools import cache, lru_cache
from pathlib import Path

from imagetext.files import replacing

FILE = Path(__file__).with_name("wordnet.txt.xz")
_PARTS_OF_SPEECH = ("noun", "verb", "adj", "adv")
#: METEOR's words have no other characters: it splits words at hyphens and all other signs.
_SINGLE = re.compile(r"[a-z0-9]+\Z")
#: WordNet's regular endings with their replacements; the first that results in a word is used.
_ENDINGS = (
    *(("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh")),
    *(("men", "man"), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", "")),
    *(("ing", "e"), ("ing", ""), ("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
)


@lru_cache(1 << 17)
def meanings(word: str) -> frozenset:
    """The meanings of a word and of its base form.

    Returns:
        The numbers of synonym sets, and the words themselves, so that forms of a word without
        synonyms have a meaning in common.
    """
    sets, irregular = _read()
    bases = [word, *irregular.get(word, (() if word in irregular else (_base(word, sets),)))]
    results: set = set()
    for base in bases:
        if base in sets:
            results.update((base, *sets[base]))
    return frozenset(results)


def _base(word: str, sets: dict) -> str:
    if len(word) > 2 and not word.endswith("ss"):
        for ending, replacement in _ENDINGS:
            if word.endswith(ending) and word.removesuffix(ending) + replacement in sets:
                return word.removesuffix(ending) + replacement
    return ""


@cache
def _read() -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[str, ...]]]:
    """The synonym sets of each word, and the base forms of each irregular form."""
    with lzma.open(FILE, "rt", encoding="ascii") as file:
        groups, single, forms = (part.split("\n") for part in file.read().strip().split("\n\n"))
    sets: dict[str, tuple[int, ...]] = dict.fromkeys(single, ())
    for number, group in enumerate(groups):
        for word in group.split():
            sets[word] = (*sets.get(word, ()), number)
    irregular: dict[str, tuple[str, ...]] = {}
    for line in forms:
        form, *bases = line.split()
        irregular[form] = tuple(bases)
    return sets, irregular


def write(wordnet: str | Path, path: str | Path = FILE) -> None:
    """Make the file from WordNet's database.

    Args:
        wordnet: The folder with index.noun, noun.exc and so on.
        path: The file to write.
    """
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
    single = sorted(words - {word for group in groups for word in group.split()})
    forms = sorted(" ".join((form, *sorted(bases))) for form, bases in irregular.items())
    text = "\n\n".join("\n".join(part) for part in (groups, single, forms)) + "\n"
    with replacing(path) as temporary:
        temporary.write_bytes(lzma.compress(text.encode("ascii"), preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    write(sys.argv[1])
