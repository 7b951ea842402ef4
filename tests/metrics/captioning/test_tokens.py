"""Words as pycocoevalcap's tokenizer splits them, which is Stanford's in Java."""

import hashlib
import json
from pathlib import Path

import pytest

from imagetext.metrics.captioning.tokens import tokenize
from tests.metrics.captioning import flickr8k

HERE = Path(__file__).parent
CASES = (HERE / "hard_captions.txt").read_text(encoding="utf-8").splitlines()
TOKENS = json.loads((HERE / "coco_reference.json").read_text(encoding="utf-8"))["tokens"]
#: What differs, and may: signs that captions hardly have.
KNOWN = (
    "^_^",  # a face
    "(555) 123-4567",  # a telephone number is one word there, with a space in it
    "<br />",  # markup too
    "3 1/2",  # and such a number
    "a?b",
    "men,women-and-children's",
    "don'tcha",
    "'tis\"",
)


@pytest.mark.parametrize(
    ("case", "expected"),
    [pair for pair in zip(CASES, TOKENS, strict=True) if not any(k in pair[0] for k in KNOWN)],
)
def test_hard_captions_are_split_as_by_the_reference(case, expected):
    assert tokenize(case) == [token for token in expected if token]


def test_few_cases_are_left_out():
    left_out = [case for case in CASES if any(known in case for known in KNOWN)]
    assert len(left_out) <= 10 < len(CASES) / 20


@pytest.mark.parametrize("empty", ["", " ", "\n", ".", ' " " ', "...", "\u200b", "\U0001f600"])
def test_nothing_comes_of_nothing(empty):
    assert tokenize(empty) == []


def test_odd_spaces_part_words_as_others_do():
    assert tokenize("a\u00a0dog\tand\u200ba\ncat\u00ad s") == ["a", "dog", "and", "a", "cat", "s"]


def test_what_is_tokenized_stays_as_it_is():
    for tokens in map(tokenize, CASES):
        plain = [token for token in tokens if token.isalpha() or token in ("n't", "'s", "'re")]
        assert tokenize(" ".join(plain)) == plain


@pytest.mark.real_data
def test_every_flickr8k_caption_is_split_as_by_the_reference():
    """The digest is of the reference's answer, as `parity` compares it word for word."""
    captions = flickr8k.captions()
    text = "\n".join(" ".join(tokenize(caption)) for caption in captions)
    assert (len(captions), hashlib.sha256(text.encode()).hexdigest()) == (
        flickr8k.CAPTIONS,
        flickr8k.DIGEST,
    )
