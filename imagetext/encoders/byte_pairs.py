"""Text to CLIP's byte pairs, as TensorFlow ops, so that a SavedModel takes plain strings.

pieces = BytePairTokenizer("vocabulary.json", "merges.txt")
token_ids, mask = pieces.tokenize(tf.constant(["A dog runs", "Snow in 2023"]))
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
#: What CLIP takes for a word. Blanks, and nothing else, lie between its matches.
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^ \p{L}\p{N}]+"
#: Pairs merge one after the other, so that a word without end would take time without end.
LONGEST_WORD = 512
NO_MERGE = np.iinfo(np.int64).max


class BytePairTokenizer(Tokenizer, tf.Module):
    """Lower-cased CLIP tokenisation: `<|startoftext|> pieces <|endoftext|>`, zero padded.

        pieces = BytePairTokenizer(vocabulary, ["d o", "do g</w>"], max_length=77)
        pieces.tokenize(tf.constant(["Dog"]))       # [[49406, 513, 49407]], [[1, 1, 1]]

    `vocabulary` gives each piece its id, `merges` which two pieces become one, most urgent first;
    or both are files. `max_length` counts the two special tokens. A text that spells
    "<|endoftext|>" is text like any other. The id of the padding is that of "!" too: where a
    text ends is told by the first id `end`.

    Not keras-hub's tokenizer: in a graph it takes "2023" for one word, where the pretrained
    network saw four. Like Hugging Face's, this one mends no broken encodings and HTML beforehand.
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
        origin = vocabulary if isinstance(vocabulary, (str, Path)) else "the given vocabulary"
        if isinstance(vocabulary, (str, Path)):
            vocabulary = _read_json(vocabulary)
        if isinstance(merges, (str, Path)):
            merges = _read(merges).split("\n")
        pairs = [merge.split(" ") for merge in merges if merge and not merge.startswith("#version")]
        self.max_length = max_length
        self.size = 1 + max(vocabulary.values(), default=0)
        try:
            self.start, self.end = vocabulary[START], vocabulary[END]
            # Row 0: a byte within a word, row 1: at its end.
            letters = [[vocabulary[byte + end] for byte in _bytes()] for end in ("", WORD_END)]
            keys = [vocabulary[a] * self.size + vocabulary[b] for a, b in pairs]
            values = [
                urgency * self.size + vocabulary[a + b] for urgency, (a, b) in enumerate(pairs)
            ]
        except (KeyError, ValueError) as error:
            raise UserError(
                f"{origin}: not a CLIP vocabulary with its merges: {error}; both come with the"
                " weights"
            ) from error
        self._letters = tf.constant(letters, tf.int64)
        # The ids of two neighbours -> how soon they merge, and into what, in one number.
        self._merges = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(keys, values, tf.int64, tf.int64), NO_MERGE
        )

    def split(self, texts: tf.Tensor) -> tf.RaggedTensor:
        words = tf_text.regex_split(_normalised(texts), WORDS, WORDS)
        words = tf.ragged.boolean_mask(words, words != " ")
        distinct, places = tf.unique(tf.strings.substr(words.values, 0, LONGEST_WORD))
        pieces = tf.gather(self._merged(distinct), places)
        return words.with_values(pieces).merge_dims(1, 2)

    def _merged(self, words: tf.Tensor) -> tf.RaggedTensor:
        """Words [n] -> int32 ids [n, (pieces)], merged as far as they go."""
        letters = tf.io.decode_raw(tf.strings.bytes_split(words).flat_values, tf.uint8)
        letters, lengths = tf.cast(tf.reshape(letters, [-1]), tf.int32), tf.strings.length(words)
        letters = tf.RaggedTensor.from_row_lengths(letters, lengths)
        # Two columns to spare, so that there is always a pair, and one behind the last of all.
        letters = tf.pad(letters.to_tensor(-1), [[0, 0], [0, 2]], constant_values=-1)
        column = tf.range(tf.shape(letters)[1])
        at_end = tf.cast(column == lengths[:, None] - 1, tf.int32)
        ids = tf.gather_nd(self._letters, tf.stack([at_end, tf.maximum(letters, 0)], axis=-1))
        ids = tf.where(letters < 0, tf.constant(-1, tf.int64), ids)

        def merge(ids, _):
            """One merge in every word that has one left: the most urgent, the first of those."""
            left, right = ids[:, :-1], ids[:, 1:]
            keys = tf.where(right < 0, tf.constant(-1, tf.int64), left * self.size + right)
            found = self._merges.lookup(keys)
            best = tf.reduce_min(found, axis=1, keepdims=True)
            merges = best < NO_MERGE
            place = tf.argmin(found, axis=1, output_type=tf.int32)[:, None]
            # Behind the place, all move up by one; the last column is never in use.
            source = column + tf.cast(merges & (column > place), tf.int32)
            moved = tf.gather(ids, tf.minimum(source, column[-1]), batch_dims=1)
            ids = tf.where(merges & (column == place), best % self.size, moved)
            return ids, tf.reduce_any(merges)

        ids, _ = tf.while_loop(
            lambda _, going: going,
            merge,
            (ids, tf.size(words) > 0),
            shape_invariants=(tf.TensorShape([None, None]), tf.TensorShape([])),
        )
        return tf.RaggedTensor.from_tensor(tf.cast(ids, tf.int32), padding=-1)


def _normalised(texts: tf.Tensor) -> tf.Tensor:
    """Accents composed, every run of blanks one blank, lower case."""
    texts = tf_text.normalize_utf8(texts, "NFC")
    texts = tf.strings.regex_replace(texts, r"[\s\v\x{85}\p{Z}]+", " ")
    # Lower-casing knows the final sigma of Greek; CLIP's, letter by letter, did not.
    texts = tf.strings.regex_replace(texts, "Σ", "σ")
    return tf.strings.lower(texts, encoding="utf-8")


VISIBLE = (
    *range(ord("!"), ord("~") + 1),
    *range(ord("¡"), ord("¬") + 1),
    *range(ord("®"), ord("ÿ") + 1),
)


def letters() -> list[str]:
    """Those that spell the 256 bytes, in the order in which vocabularies begin with them."""
    return [chr(byte) for byte in VISIBLE] + [chr(256 + n) for n in range(256 - len(VISIBLE))]


def _bytes() -> list[str]:
    """How vocabularies spell each of the 256 bytes: visibly, the others by letters past 255."""
    others = iter(range(256, 512))
    return [chr(byte if byte in VISIBLE else next(others)) for byte in range(256)]


def _read_json(path: str | Path) -> dict[str, int]:
    try:
        vocabulary = json.loads(_read(path))
        return {str(token): int(number) for token, number in vocabulary.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: not a vocabulary, JSON of pieces and their ids: {error}"
        ) from error


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text") from error
