"""CLIP's tokenizer in TensorFlow ops, so that a SavedModel takes plain strings.

tokenizer = BytePairTokenizer("vocabulary.json", "merges.txt")
token_ids, mask = tokenizer.tokenize(tf.constant(["A dog runs", "Snow in 2023"]))
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

from imagetext.encoders.tokenizer import Tokenizer
from imagetext.errors import UserError

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
#: CLIP's words. Only spaces lie between matches.
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^ \p{L}\p{N}]+"
#: Bytes of a word that are used: pairs are merged one after the other, so that the time grows with
#: the length.
LONGEST_WORD = 512
NO_MERGE = np.iinfo(np.int64).max


class BytePairTokenizer(Tokenizer, tf.Module):
    """CLIP's byte-pair encoding: lower case, `<|startoftext|> pieces <|endoftext|>`, zero padded.

    The padding has the same id as "!": a text ends at its first `end` id. A text that contains
    "<|endoftext|>" is split like any other text.

    keras-hub's tokenizer is not used: in a graph it splits "2023" into one word, but CLIP was
    trained with four. Like Hugging Face's, this one does not repair broken encodings or HTML.

    Args:
        vocabulary: The id of each piece, or a JSON file of them.
        merges: Pairs of pieces that are merged, by priority, or a file with one pair per line.
        max_length: Longest text in tokens, including the two special ones.

    Example:
        tokenizer = BytePairTokenizer(vocabulary, ["d o", "do g</w>"])
        tokenizer.tokenize(tf.constant(["Dog"]))    # [[49406, 513, 49407]], [[1, 1, 1]]
    """

    pad = 0

    def __init__(
        self,
        vocabulary: str | Path | Mapping[str, int],
        merges: str | Path | Sequence[str],
        max_length: int = 77,
    ):
        super().__init__(name="byte_pairs")
        if max_length < 2:
            raise ValueError(f"max_length={max_length} leaves no room for {START} and {END}")
        origin = vocabulary if isinstance(vocabulary, (str, Path)) else "vocabulary"
        if isinstance(vocabulary, (str, Path)):
            vocabulary = _read_json(vocabulary)
        if isinstance(merges, (str, Path)):
            merges = _read(merges).split("\n")
        pairs = [merge.split(" ") for merge in merges if merge and not merge.startswith("#version")]
        self.max_length = max_length
        self.size = 1 + max(vocabulary.values(), default=0)
        try:
            self.start, self.end = vocabulary[START], vocabulary[END]
            # Row 0: bytes inside a word; row 1: the last byte of a word.
            letters = [
                [vocabulary[byte + end] for byte in _spell_bytes()] for end in ("", WORD_END)
            ]
            keys = [vocabulary[a] * self.size + vocabulary[b] for a, b in pairs]
            values = [
                priority * self.size + vocabulary[a + b] for priority, (a, b) in enumerate(pairs)
            ]
        except (KeyError, ValueError) as error:
            raise UserError(
                f"{origin}: not a CLIP vocabulary with its merges: {error}; use the files that were"
                " published with the weights"
            ) from error
        self._letters = tf.constant(letters, tf.int64)
        # The ids of two neighbouring pieces -> priority and id of the merged piece, in one number.
        self._merges = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(keys, values, tf.int64, tf.int64), NO_MERGE
        )

    def split(self, texts: tf.Tensor) -> tf.RaggedTensor:
        words = tf_text.regex_split(_normalize(texts), WORDS, WORDS)
        words = tf.ragged.boolean_mask(words, words != " ")
        distinct, indices = tf.unique(tf.strings.substr(words.values, 0, LONGEST_WORD))
        pieces = tf.gather(self._merge(distinct), indices)
        return words.with_values(pieces).merge_dims(1, 2)

    def _merge(self, words: tf.Tensor) -> tf.RaggedTensor:
        """Words [n] -> int32 ids [n, (pieces)], with all merges applied."""
        letters = tf.io.decode_raw(tf.strings.bytes_split(words).flat_values, tf.uint8)
        letters, lengths = tf.cast(tf.reshape(letters, [-1]), tf.int32), tf.strings.length(words)
        letters = tf.RaggedTensor.from_row_lengths(letters, lengths)
        # Two more columns, so that there is always a pair and a column after it.
        letters = tf.pad(letters.to_tensor(-1), [[0, 0], [0, 2]], constant_values=-1)
        column = tf.range(tf.shape(letters)[1])
        at_end = tf.cast(column == lengths[:, None] - 1, tf.int32)
        ids = tf.gather_nd(self._letters, tf.stack([at_end, tf.maximum(letters, 0)], axis=-1))
        ids = tf.where(letters < 0, tf.constant(-1, tf.int64), ids)

        def merge(ids, _):
            """Merge the first pair with the highest priority in each word that has any left."""
            left, right = ids[:, :-1], ids[:, 1:]
            keys = tf.where(right < 0, tf.constant(-1, tf.int64), left * self.size + right)
            candidates = self._merges.lookup(keys)
            best = tf.reduce_min(candidates, axis=1, keepdims=True)
            merges = best < NO_MERGE
            at = tf.argmin(candidates, axis=1, output_type=tf.int32)[:, None]
            # Pieces after the merged pair move left by one; the last column is always empty.
            source = column + tf.cast(merges & (column > at), tf.int32)
            moved = tf.gather(ids, tf.minimum(source, column[-1]), batch_dims=1)
            ids = tf.where(merges & (column == at), best % self.size, moved)
            return ids, tf.reduce_any(merges)

        ids, _ = tf.while_loop(
            lambda _, unfinished: unfinished,
            merge,
            (ids, tf.size(words) > 0),
            shape_invariants=(tf.TensorShape([None, None]), tf.TensorShape([])),
        )
        return tf.RaggedTensor.from_tensor(tf.cast(ids, tf.int32), padding=-1)


def _normalize(texts: tf.Tensor) -> tf.Tensor:
    """Composed accents, single spaces, lower case."""
    texts = tf_text.normalize_utf8(texts, "NFC")
    texts = tf.strings.regex_replace(texts, r"[\s\v\x{85}\p{Z}]+", " ")
    # Lower-casing maps a final Greek sigma to "ς"; CLIP, letter by letter, maps it to "σ".
    texts = tf.strings.regex_replace(texts, "Σ", "σ")
    return tf.strings.lower(texts, encoding="utf-8")


VISIBLE = (
    *range(ord("!"), ord("~") + 1),
    *range(ord("¡"), ord("¬") + 1),
    *range(ord("®"), ord("ÿ") + 1),
)


def byte_letters() -> list[str]:
    """The letters that stand for the 256 bytes, in the order in which vocabularies list them."""
    return [chr(byte) for byte in VISIBLE] + [chr(256 + n) for n in range(256 - len(VISIBLE))]


def _spell_bytes() -> list[str]:
    """The letter for each of the 256 bytes: visible ones as they are, others from 256 upwards."""
    others = iter(range(256, 512))
    return [chr(byte if byte in VISIBLE else next(others)) for byte in range(256)]


def _read_json(path: str | Path) -> dict[str, int]:
    try:
        vocabulary = json.loads(_read(path))
        return {str(token): int(number) for token, number in vocabulary.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: not a vocabulary; expected a JSON object of pieces and their ids: {error}"
        ) from error


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text") from error
