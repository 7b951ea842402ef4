"""Captions as numbers: pieces of a pretrained encoder, or words of our own.

    pieces = build_word_tokenizer(training_captions, TextConfig(encoder="scratch"))
    pieces.padded(["A dog runs."])                       # int32 [1, 5]: start, the words, end

Words are found by TensorFlow's operations, so that an exported model reads plain strings.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import tensorflow as tf

from imagetext.encoders import texts
from imagetext.encoders.pieces import Pieces
from imagetext.errors import UserError
from imagetext.files import write_text
from imagetext.retrieval.config import TextConfig

SPECIAL = ("", "startseq", "endseq", "<unk>")


class WordTokenizer(Pieces, tf.Module):
    """Whole words in lower case, without marks; what is not known is one and the same word.

    WordTokenizer(["dog", "runs"]).padded(["A dog runs!"])       # [[1, 3, 4, 5, 2]]
    """

    pad, start, end, unknown = range(4)

    def __init__(self, words: Sequence[str], max_length: int = 64):
        super().__init__(name="words")
        self.words, self.max_length = tuple(words), max_length
        numbers = tf.range(len(SPECIAL), len(SPECIAL) + len(words))
        known = tf.lookup.KeyValueTensorInitializer(
            tf.constant(list(words), tf.string), tf.cast(numbers, tf.int64)
        )
        self._table = tf.lookup.StaticHashTable(known, self.unknown)

    def __len__(self) -> int:
        return len(SPECIAL) + len(self.words)

    def split(self, texts):
        found = split_words(texts)
        return tf.ragged.map_flat_values(lambda w: tf.cast(self._table.lookup(w), tf.int32), found)

    @property
    def digest(self) -> str:
        """Names the words: a model knows by it which ones it was trained with."""
        return hashlib.sha256("\n".join(self.words).encode()).hexdigest()[:8]

    def write(self, path: Path) -> None:
        write_text(path, json.dumps(self.words, ensure_ascii=False, indent=0))


def split_words(texts: tf.Tensor) -> tf.RaggedTensor:
    """Strings [n] -> their words, strings [n, (words)]; an apostrophe belongs to its word."""
    lower = tf.strings.lower(texts, encoding="utf-8")
    return tf.strings.split(tf.strings.regex_replace(lower, r"[^\p{L}\p{N}']+", " "))


def build_word_tokenizer(captions: Iterable[str], config: TextConfig) -> WordTokenizer:
    """The words of training captions, the most frequent first."""
    encoded = tf.constant([text.encode(errors="replace") for text in captions], tf.string)
    counts = Counter(word.decode() for word in split_words(encoded).flat_values.numpy())
    words = sorted(counts, key=lambda word: (-counts[word], word))
    kept = [word for word in words if counts[word] >= config.minimum_count]
    if not kept:
        raise UserError(
            f"text.minimum_count: no word occurs {config.minimum_count} times in the training"
            " captions -- lower it"
        )
    return WordTokenizer(kept, config.longest)


def read_word_tokenizer(path: Path, config: TextConfig) -> WordTokenizer:
    """Those that a run was trained with."""
    try:
        words = json.loads(path.read_text(encoding="utf-8"))
        if not words or not all(isinstance(word, str) for word in words):
            raise ValueError("no list of words")
        return WordTokenizer(words, config.longest)
    except (OSError, ValueError, TypeError) as error:
        what = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: not the words of a run: {what} -- train anew") from error


def open_tokenizer(config: TextConfig) -> Pieces:
    """The tokenizer of the pretrained encoder that a configuration names."""
    pieces = texts.pieces(config.encoder, config.weights)
    pieces.max_length = min(pieces.max_length, config.longest)
    return pieces
