"""Split captions into words as the Penn Treebank and the COCO caption evaluation do.

    tokenize('A man\\'s dog is "up", isn\\'t it?')
    # ["a", "man", "'s", "dog", "is", "up", "is", "n't", "it"]

The reference is `PTBTokenizer` of pycocoevalcap, which runs Stanford CoreNLP 3.4.1 in Java. Results
are identical for every caption of Flickr8k, both as written and without the spaces before
punctuation; rare cases (telephone numbers, markup) may differ. Like the reference, this drops
quotes, commas, full stops and dashes, but keeps brackets as `-lrb-` and `-rrb-`, and runs such as
`!!`.
"""

import re
import unicodedata
from functools import lru_cache

#: One letter or digit of any script, with the accents that may follow it.
_CHAR = r"[^\W_][\u0300-\u036f]*"
_WORD = rf"(?:{_CHAR})+"
_LETTERS = r"(?:[^\W\d_][\u0300-\u036f]*)+"
_APOSTROPHE = r"['\u2019]"
_ELIDED = rf"[dDoOlL]{_APOSTROPHE}(?=[^\W\d_])"  # d'oeuvres, o'clock, l'orange
_JOINED = r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}"
_NOT = rf"[nN](?:{_APOSTROPHE}|`)[tT](?!{_CHAR})"

#: Abbreviations that always keep their full stop.
_ABBREVIATIONS = """
jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs fri
mr mrs ms messrs dr drs prof gen col maj capt cpl sgt lt cmdr adm gov sen rep rev hon pres st
mt ft ave blvd rd jr sr bros co corp inc ltd dept univ assn est etc vs al ph.d
ala ariz ark calif colo conn fla ga ill kan ky mass mich minn miss mo mont neb nev okla ore
pa penn tenn tex va vt wash wis wyo
"""
#: Abbreviations that keep it only before a number.
_NUMBERED = "no nos art fig figs p pp sec"

_HAS = rf"{_APOSTROPHE}(?:[msdMSD]|re|ve|ll|RE|VE|LL)(?!{_CHAR})"
# Words that end where a contraction starts come first: does|n't, man|'s, 't|is, y'|all.
_CUT = re.compile(
    rf"{_LETTERS}?(?={_NOT}|{_HAS})"
    rf"|{_APOSTROPHE}[tT](?=(?i:is|was)(?!{_CHAR}))|[yY]{_APOSTROPHE}(?={_CHAR})"
)
# The longest match wins; ties go to the first rule.
_RULES = [
    re.compile(rule)
    for rule in (
        r"</?[A-Za-z][A-Za-z0-9]*/?>",
        r"(?:https?://|www\.)[^\s\"<>|()]*[^\s\"<>|().,?!:;-]",
        r"[A-Za-z0-9][^\s\"<>|(){}@]*@(?:[^\s\"<>|().{}]+\.)*[^\s\"<>|().{}]+",
        r"@[A-Za-z_][A-Za-z0-9_]*|#[A-Za-z]+",
        r"[<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]](?![A-Za-z0-9])",
        # Contractions: 's, 'n', 'em, '90s, ol', c'mon, ma'am, D'Arcy.
        _NOT,
        _HAS,
        rf"{_APOSTROPHE}[nN](?:{_APOSTROPHE}|(?!{_CHAR}))",
        rf"{_APOSTROPHE}(?:em|[Tt]ill?|cause|[2-9]0s)(?!{_CHAR})|(?<!\w){_APOSTROPHE}[0-9]{{2}}(?!\w)",
        rf"(?:[oO]l|[sS]omethin|[dD]unkin){_APOSTROPHE}(?!{_CHAR})",
        rf"[cC]{_APOSTROPHE}mon|[sS]{_APOSTROPHE}mores|[eE]v{_APOSTROPHE}ry|[lL]i{_APOSTROPHE}l",
        rf"{_LETTERS}(?<=[aeiouyAEIOUY]){_APOSTROPHE}[aeiouA-Z](?:{_LETTERS})?(?!{_CHAR})",
        rf"[A-HJ-XZn]{_APOSTROPHE}(?:{_LETTERS}){{2,}}",
        # Words: hyphens, initials, abbreviations, names with periods, AT&T, and/or.
        rf"(?:{_ELIDED})?{_WORD}(?:[-\u2010\u2011_](?:{_ELIDED})?{_WORD})*",
        rf"[A-Za-z](?:\.[A-Za-z])+\.(?![A-Za-z])(?:-{_WORD})*|[A-Za-z]\.",
        rf"(?i:{'|'.join(map(re.escape, _ABBREVIATIONS.split()))})\.",
        rf"(?i:{'|'.join(_NUMBERED.split())})\.(?=\s?[0-9])",
        rf"{_LETTERS}(?:\.{_LETTERS})+",
        r"[A-Z]+(?:[&+][A-Z]+)+|[cC]\+\+|(?:US|C|A|HK|NZ)\$",
        rf"{_JOINED}(?:/{_JOINED}){{1,2}}",
        # Numbers, and runs of the same sign.
        rf"[0-9]+-[0-9]+/[0-9]+|[0-9]+(?:[.,:][0-9]+)+(?:-{_WORD})+",
        r"[-+]?[0-9]+(?:[.,:][0-9]+)*|[-+]?(?:[.,:][0-9]+)+",
        r"[?!]+|-{1,4}(?!-)|-{5,}|\*+|_+|<<|>>",
    )
]
_SENTENCE_STARTS = re.compile(
    r"\s(?:A|An|And|At|But|He|Her|His|If|In|It|On|She|Some|That|The|Their|There|They|This|Two|We)"
    r"(?!\w)"
)
_PLAIN = re.compile(r"[A-Za-z]+\Z")
_SPLIT = {
    "cannot": ("can", "not"),
    "gonna": ("gon", "na"),
    "gotta": ("got", "ta"),
    "wanna": ("wan", "na"),
    "gimme": ("gim", "me"),
    "lemme": ("lem", "me"),
}
_PUNCTUATION = ". , : ; ? ! - -- --- ---- ' ` \" '' `` ‘ ’ “ ” « » ‹ › … ‒ – — ―"
_DROPPED = frozenset(_PUNCTUATION.split())
_SPELLED = str.maketrans(
    {
        "(": "-lrb-",
        ")": "-rrb-",
        "[": "-lsb-",
        "]": "-rsb-",
        "{": "-lcb-",
        "}": "-rcb-",
        "\u2019": "'",
        "€": "$",
        "£": "#",
        "¢": "cents",
    }
)
_BEFOREHAND = str.maketrans(
    {"\u200b": " ", "\u00ad": None, "½": " 1/2 ", "¼": " 1/4 ", "¾": " 3/4 ", "⅓": " 1/3 "}
    | {"⅔": " 2/3 "}
)
_ENTITIES = (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&apos;", "'"), ("&amp;", "&"))


def tokenize(caption: str) -> list[str]:
    """Split a caption into words.

    Args:
        caption: A sentence, as written.

    Returns:
        The words in lower case, without punctuation; none if the caption has no words.

    Examples:
        >>> tokenize("A man's dog is up.")
        ['a', 'man', "'s", 'dog', 'is', 'up']
    """
    if "&" in caption:
        for entity, sign in _ENTITIES:
            caption = caption.replace(entity, sign)
    if not caption.isascii():
        caption = caption.translate(_BEFOREHAND)
    tokens: list[str] = []
    pieces = caption.split()
    for piece, after in zip(pieces, [*pieces, ""][1:], strict=True):
        if _PLAIN.match(piece):
            word = piece.lower()
            tokens += _SPLIT.get(word, (word,))
        else:
            # What follows matters only after a full stop.
            tokens += _split_piece(piece, after if piece.endswith(".") else "")
    return tokens


@lru_cache(1 << 16)
def _split_piece(piece: str, after: str) -> tuple[str, ...]:
    """The tokens of a part of a caption without spaces, followed by `after`."""
    text = f"{piece} {after}"
    tokens: list[str] = []
    place = 0
    while place < len(piece):
        length = max((len(m[0]) for m in _matches(text, place)), default=0)
        end = min(place + (length or 1), len(piece))
        token = text[place:end]
        if len(token) == 2 and token[1] == "." and _SENTENCE_STARTS.match(text, end):
            token = token[0]  # "plan B. He": the full stop ends a sentence
        place = end
        if length or (unicodedata.category(token)[0] in "PS" and token < "\uffff"):
            low = token.lower()
            tokens += _SPLIT.get(low, (low,))
    return tuple(token.translate(_SPELLED) for token in tokens if token not in _DROPPED)


def _matches(text: str, place: int):
    cut = _CUT.match(text, place)
    return [cut] if cut else filter(None, (rule.match(text, place) for rule in _RULES))
