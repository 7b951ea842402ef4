"""BERT's tokenizer gives the same ids as the original, also for unusual strings."""

import numpy as np
import pytest
import tensorflow as tf

from imagetext.encoders.wordpiece import WordPieceTokenizer, read_vocabulary
from imagetext.errors import UserError

TOKENS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "a",
    "dog",
    "run",
    "##s",
    "##ning",
    "cafe",
    "!",
    "'",
    "世",
    "界",
    "[",
    "]",
    "sep",
    "…",
    "σ",
    "i",
    "in",
    "##side",
]


@pytest.fixture(scope="module")
def tokenizer() -> WordPieceTokenizer:
    return WordPieceTokenizer(TOKENS, max_length=8)


def tokens_of(tokenizer: WordPieceTokenizer, text: str) -> list[str]:
    """Without the special tokens at both ends."""
    row = [TOKENS[i] for i in tokenizer.tokenize_ragged(tf.constant([text.encode()])).to_list()[0]]
    assert row[0] == "[CLS]" and row[-1] == "[SEP]"
    return row[1:-1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A dog runs", "a dog run ##s"),
        ("RUNNING Dogs!", "run ##ning dog ##s !"),
        ("Café cafe\u0301", "cafe cafe"),
        ("dog's", "dog ' [UNK]"),
        ("世界a", "世 界 a"),
        ("a\tdog\r\na\u3000a\u2028a", "a dog a a a"),
        ("do\x00g d\x01o\u200bg\x7f\ufffd", "dog dog"),
        ("in\x08side", "in ##side"),
        ("[SEP]", "[ sep ]"),
        ("…", "…"),
        ("½ ™ ﬁ", "[UNK] [UNK] [UNK]"),
        ("Σ ΑΣ", "σ [UNK]"),
        ("İ I", "i i"),
        ("😀 dog", "[UNK] dog"),
        ("", ""),
        (" \t\n", ""),
        ("a" * 101, "[UNK]"),
    ],
)
def test_text_is_split_like_bert(tokenizer, text, expected):
    assert tokens_of(tokenizer, text) == expected.split()


def test_batches_are_padded_to_the_longest_text(tokenizer):
    ids, mask = tokenizer.tokenize(tf.constant(["a", "a dog runs", ""]))
    assert ids.dtype == mask.dtype == tf.int32
    assert ids.numpy().tolist() == [[2, 4, 3, 0, 0, 0], [2, 4, 5, 6, 7, 3], [2, 3, 0, 0, 0, 0]]
    assert mask.numpy().tolist() == [[1, 1, 1, 0, 0, 0], [1] * 6, [1, 1, 0, 0, 0, 0]]


def test_to_ids_gives_the_same_ids(tokenizer):
    actual = tokenizer.to_ids(["a", "a dog runs", ""])
    assert actual.dtype == np.int32
    assert actual.tolist() == [[2, 4, 3, 0, 0, 0], [2, 4, 5, 6, 7, 3], [2, 3, 0, 0, 0, 0]]
    # Half a surrogate pair has no UTF-8 encoding.
    assert tokenizer.to_ids(["a \ud83d dog"]).shape == (1, 5)
    assert tokenizer.to_ids([]).shape == (0, 0)


def test_truncated_texts_keep_their_end_token(tokenizer):
    ids, mask = tokenizer.tokenize(tf.constant(["dog " * 50]))
    assert ids.numpy().tolist() == [[2] + [5] * 6 + [3]]
    assert mask.numpy().sum() == 8


def test_it_works_inside_a_graph_and_on_an_empty_batch(tokenizer):
    tokenize = tf.function(tokenizer.tokenize, input_signature=[tf.TensorSpec([None], tf.string)])
    assert tokenize(tf.constant(["a dog"]))[0].numpy().tolist() == [[2, 4, 5, 3]]
    assert tokenize(tf.constant([], tf.string))[0].shape[0] == 0


def test_a_vocabulary_file_equals_its_tokens(tokenizer, tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(TOKENS) + "\n", encoding="utf-8")
    assert read_vocabulary(path) == TOKENS
    assert tokens_of(WordPieceTokenizer(path), "Dogs … 世") == tokens_of(tokenizer, "Dogs … 世")


def test_invalid_vocabularies_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"vocab\.txt: cannot be read"):
        WordPieceTokenizer(tmp_path / "vocab.txt")
    (tmp_path / "vocab.txt").write_text("a\ndog\n[PAD]\n")
    with pytest.raises(UserError, match=r"vocab\.txt: \[UNK\], \[CLS\], \[SEP\] missing"):
        WordPieceTokenizer(tmp_path / "vocab.txt")
