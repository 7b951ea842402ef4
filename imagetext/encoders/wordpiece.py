"""BERT's tokenizer in TensorFlow ops, so that a SavedModel takes plain strings.

tokenizer = WordPieceTokenizer("vocab.txt")
token_ids, mask = tokenizer.tokenize(tf.constant(["A dog runs", "Snow"]))
"""

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
import tensorflow_text as tf_text

from imagetext.encoders.tokenizer import Tokenizer
from imagetext.errors import UserError

START, END, PAD, UNKNOWN = "[CLS]", "[SEP]", "[PAD]", "[UNK]"


class WordPieceTokenizer(Tokenizer):
    """The tokenizer of an uncased BERT: lower case, no accents, `[CLS] pieces [SEP]`, padded.

    A text that contains "[SEP]" is split like any other text; it cannot inject a special token.

    Args:
        vocabulary: The tokens in the order of their ids, or a file with one token per line.
        max_length: Longest text in tokens, including `[CLS]` and `[SEP]`.

    Example:
        tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "dog", "##s"])
        tokenizer.tokenize(tf.constant(["Dogs"]))        # [[2, 4, 5, 3]], [[1, 1, 1, 1]]
    """

    def __init__(self, vocabulary: str | Path | Sequence[str], max_length: int = 256):
        if isinstance(vocabulary, (str, Path)):
            tokens, origin = read_vocabulary(vocabulary), str(vocabulary)
        else:
            tokens, origin = list(vocabulary), "vocabulary"
        missing = [token for token in (PAD, UNKNOWN, START, END) if token not in tokens]
        if missing:
            raise UserError(
                f"{origin}: {', '.join(missing)} missing; use the vocab.txt of an uncased BERT"
            )
        if max_length < 2:
            raise ValueError(f"max_length={max_length} leaves no room for {START} and {END}")
        self.vocabulary = tuple(tokens)
        self.max_length = max_length
        self.start, self.end, self.pad = (tokens.index(token) for token in (START, END, PAD))
        # FastBertTokenizer also replaces compatibility forms ("…" by "...", "½" by "1/2") and
        # control characters (by spaces), so that some texts get other ids than in pretraining.
        # `_normalize` plus the inner tokenizer agrees with the original BERT, except that words
        # are unknown if longer than 100 bytes instead of 100 characters.
        self._tokenizer = tf_text.FastWordpieceTokenizer(
            vocab=tokens, token_out_type=tf.int32, unknown_token=UNKNOWN
        )

    def split(self, texts: tf.Tensor) -> tf.RaggedTensor:
        return self._tokenizer.tokenize(_normalize(texts))


def _normalize(texts: tf.Tensor) -> tf.Tensor:
    """The normalization of BERT: plain spaces, no control characters, no accents, lower case."""
    texts = tf.strings.regex_replace(texts, r"[\t\n\r\p{Z}]", " ")
    texts = tf.strings.regex_replace(texts, r"[\p{C}\x{FFFD}]", "")
    texts = tf.strings.regex_replace(tf_text.normalize_utf8(texts, "NFD"), r"\p{Mn}", "")
    # Lower-casing maps a final Greek sigma to "ς"; BERT, letter by letter, maps it to "σ".
    texts = tf.strings.regex_replace(texts, "Σ", "σ")
    return tf.strings.lower(texts, encoding="utf-8")


def read_vocabulary(path: str | Path) -> list[str]:
    """Read a file with one token per line; the line number, from 0, is the id of the token."""
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\n").split("\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text; expected the vocab.txt of a BERT") from error
