"""Strings to word pieces: the same ids as the original BERT, on nasty strings too."""

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
def pieces() -> WordPieceTokenizer:
    return WordPieceTokenizer(TOKENS, max_length=8)


def tokens_of(pieces: WordPieceTokenizer, text: str) -> list[str]:
    """Without the special tokens at both ends."""
    row = [TOKENS[i] for i in pieces.tokenize_ragged(tf.constant([text.encode()])).to_list()[0]]
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
def test_text_is_split_as_bert_does(pieces, text, expected):
    assert tokens_of(pieces, text) == expected.split()


def test_batches_are_padded_to_their_longest_text(pieces):
    ids, mask = pieces.tokenize(tf.constant(["a", "a dog runs", ""]))
    assert ids.dtype == mask.dtype == tf.int32
    assert ids.numpy().tolist() == [[2, 4, 3, 0, 0, 0], [2, 4, 5, 6, 7, 3], [2, 3, 0, 0, 0, 0]]
    assert mask.numpy().tolist() == [[1, 1, 1, 0, 0, 0], [1] * 6, [1, 1, 0, 0, 0, 0]]


def test_the_same_ids_as_an_array_for_any_texts(pieces):
    found = pieces.to_ids(["a", "a dog runs", ""])
    assert found.dtype == np.int32
    assert found.tolist() == [[2, 4, 3, 0, 0, 0], [2, 4, 5, 6, 7, 3], [2, 3, 0, 0, 0, 0]]
    assert pieces.to_ids(["a \ud83d dog"]).shape == (1, 5)  # half a surrogate pair is no UTF-8
    assert pieces.to_ids([]).shape == (0, 0)


def test_long_texts_are_cut_but_keep_their_end_token(pieces):
    ids, mask = pieces.tokenize(tf.constant(["dog " * 50]))
    assert ids.numpy().tolist() == [[2] + [5] * 6 + [3]]
    assert mask.numpy().sum() == 8


def test_it_works_inside_a_graph_and_on_an_empty_batch(pieces):
    tokenize = tf.function(pieces.tokenize, input_signature=[tf.TensorSpec([None], tf.string)])
    assert tokenize(tf.constant(["a dog"]))[0].numpy().tolist() == [[2, 4, 5, 3]]
    assert tokenize(tf.constant([], tf.string))[0].shape[0] == 0


def test_a_vocabulary_file_gives_the_same_as_its_tokens(pieces, tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(TOKENS) + "\n", encoding="utf-8")
    assert read_vocabulary(path) == TOKENS
    assert tokens_of(WordPieceTokenizer(path), "Dogs … 世") == tokens_of(pieces, "Dogs … 世")


def test_what_is_no_vocabulary_is_told(tmp_path):
    with pytest.raises(UserError, match=r"vocab\.txt: cannot be read"):
        WordPieceTokenizer(tmp_path / "vocab.txt")
    (tmp_path / "vocab.txt").write_text("a\ndog\n[PAD]\n")
    with pytest.raises(UserError, match=r"vocab\.txt: \[UNK\], \[CLS\], \[SEP\] missing"):
        WordPieceTokenizer(tmp_path / "vocab.txt")
