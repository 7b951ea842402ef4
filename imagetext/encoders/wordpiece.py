"""Text to BERT word pieces, as TensorFlow ops, so that a SavedModel takes plain strings.

pieces = WordPieceTokenizer("vocab.txt")
token_ids, mask = pieces.tokenize(tf.constant(["A dog runs", "Snow"]))
"""

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
import tensorflow_text as tf_text

from imagetext.encoders.tokenizer import Tokenizer
from imagetext.errors import UserError

START, END, PAD, UNKNOWN = "[CLS]", "[SEP]", "[PAD]", "[UNK]"


class WordPieceTokenizer(Tokenizer):
    """Lower-cased BERT tokenisation: accents stripped, `[CLS] pieces [SEP]`, zero padded.

        tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "dog", "##s"])
        tokenizer.tokenize(tf.constant(["Dogs"]))        # [[2, 4, 5, 3]], [[1, 1, 1, 1]]

    `max_length` counts the two special tokens. A text that spells "[SEP]" is text like any
    other: it cannot smuggle a special token in.
    """

    def __init__(self, vocabulary: str | Path | Sequence[str], max_length: int = 256):
        if isinstance(vocabulary, (str, Path)):
            tokens, origin = read_vocabulary(vocabulary), str(vocabulary)
        else:
            tokens, origin = list(vocabulary), "the given vocabulary"
        absent = [token for token in (PAD, UNKNOWN, START, END) if token not in tokens]
        if absent:
            raise UserError(
                f"{origin}: {', '.join(absent)} missing; use the vocab.txt of an uncased BERT"
            )
        if max_length < 2:
            raise ValueError(f"max_length={max_length} leaves no room for {START} and {END}")
        self.vocabulary = tuple(tokens)
        self.max_length = max_length
        self.start, self.end, self.pad = (tokens.index(token) for token in (START, END, PAD))
        # Not FastBertTokenizer: it also folds compatibility forms ("…" to "...", "½" to "1/2")
        # and turns control characters to blanks, so some texts get other ids than the pretrained
        # model saw. Its inner tokenizer behind `_normalised` agrees with the original BERT, except
        # that a word counts as unknown past 100 bytes, not past 100 characters.
        self._tokenizer = tf_text.FastWordpieceTokenizer(
            vocab=tokens, token_out_type=tf.int32, unknown_token=UNKNOWN
        )

    def split(self, texts: tf.Tensor) -> tf.RaggedTensor:
        return self._tokenizer.tokenize(_normalised(texts))


def _normalised(texts: tf.Tensor) -> tf.Tensor:
    """As BERT was trained: blanks unified, control characters dropped, no accents, lower case."""
    texts = tf.strings.regex_replace(texts, r"[\t\n\r\p{Z}]", " ")
    texts = tf.strings.regex_replace(texts, r"[\p{C}\x{FFFD}]", "")
    texts = tf.strings.regex_replace(tf_text.normalize_utf8(texts, "NFD"), r"\p{Mn}", "")
    # Lower-casing knows the final sigma of Greek; BERT, letter by letter, did not.
    texts = tf.strings.regex_replace(texts, "Σ", "σ")
    return tf.strings.lower(texts, encoding="utf-8")


def read_vocabulary(path: str | Path) -> list[str]:
    """One token a line; the line number, from 0, is its id."""
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\n").split("\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text; expected a vocab.txt") from error
