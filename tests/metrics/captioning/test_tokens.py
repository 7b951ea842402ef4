"""Words as pycocoevalcap's tokenizer, Stanford's in Java, splits them."""

import hashlib
import json
from pathlib import Path

import pytest

from imagetext.metrics.captioning.tokens import tokenize
from tests.metrics.captioning import flickr8k

HERE = Path(__file__).parent
CASES = (HERE / "hard_captions.txt").read_text(encoding="utf-8").splitlines()
TOKENS = json.loads((HERE / "coco_reference.json").read_text(encoding="utf-8"))["tokens"]
#: Cases that may differ: signs that are rare in captions.
EXCEPTIONS = (
    "^_^",  # a face
    "(555) 123-4567",  # a telephone number is a single word there, with a space
    "<br />",  # markup too
    "3 1/2",  # so is this number
    "a?b",
    "men,women-and-children's",
    "don'tcha",
    "'tis\"",
)


@pytest.mark.parametrize(
    ("case", "expected"),
    [pair for pair in zip(CASES, TOKENS, strict=True) if not any(e in pair[0] for e in EXCEPTIONS)],
)
def test_hard_captions_are_split_as_by_the_reference(case, expected):
    assert tokenize(case) == [token for token in expected if token]


def test_few_cases_are_left_out():
    left_out = [case for case in CASES if any(exception in case for exception in EXCEPTIONS)]
    assert len(left_out) <= 10 < len(CASES) / 20


@pytest.mark.parametrize("empty", ["", " ", "\n", ".", ' " " ', "...", "\u200b", "\U0001f600"])
def test_captions_without_words_are_empty(empty):
    assert tokenize(empty) == []


def test_unusual_spaces_separate_words():
    assert tokenize("a\u00a0dog\tand\u200ba\ncat\u00ad s") == ["a", "dog", "and", "a", "cat", "s"]


def test_tokens_remain_the_same_when_tokenized_again():
    for tokens in map(tokenize, CASES):
        plain = [token for token in tokens if token.isalpha() or token in ("n't", "'s", "'re")]
        assert tokenize(" ".join(plain)) == plain


@pytest.mark.real_data
def test_every_flickr8k_caption_is_split_as_by_the_reference():
    """The digest is that of the reference's output, which `parity` compares word by word."""
    captions = flickr8k.captions()
    text = "\n".join(" ".join(tokenize(caption)) for caption in captions)
    assert (len(captions), hashlib.sha256(text.encode()).hexdigest()) == (
        flickr8k.CAPTIONS,
        flickr8k.DIGEST,
    )
