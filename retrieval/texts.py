"""Captions as token ids: the tokenizer of a pretrained encoder, or a vocabulary of whole words.

    tokenizer = build_word_tokenizer(training_captions, TextConfig(encoder="scratch"))
    tokenizer.to_ids(["A dog runs."])                    # int32 [1, 5]: start, the words, end

Words are split by TensorFlow operations, so that an exported model takes plain strings.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import tensorflow as tf

from imagetext.encoders import texts
from imagetext.encoders.tokenizer import Tokenizer
from imagetext.errors import UserError
from imagetext.files import write_text
from imagetext.retrieval.config import TextConfig

#: Padding, start, end, and any word that is not in the vocabulary.
SPECIAL = ("", "startseq", "endseq", "<unk>")


class WordTokenizer(Tokenizer, tf.Module):
    """Lower-case words without punctuation; all unknown words share one id.

    Args:
        words: The vocabulary, most frequent first.
        max_length: Ids of a text at most, with start and end.

    Examples:
        >>> WordTokenizer(["dog", "runs"]).to_ids(["A dog runs!"])
        array([[1, 3, 4, 5, 2]], dtype=int32)
    """

    pad, start, end, unknown = range(4)

    def __init__(self, words: Sequence[str], max_length: int = 64):
        super().__init__(name="words")
        self.words, self.max_length = tuple(words), max_length
        numbers = tf.range(len(SPECIAL), len(SPECIAL) + len(words))
        entries = tf.lookup.KeyValueTensorInitializer(
            tf.constant(list(words), tf.string), tf.cast(numbers, tf.int64)
        )
        self._table = tf.lookup.StaticHashTable(entries, self.unknown)

    def __len__(self) -> int:
        return len(SPECIAL) + len(self.words)

    def split(self, texts):
        words = split_words(texts)
        return tf.ragged.map_flat_values(lambda w: tf.cast(self._table.lookup(w), tf.int32), words)

    @property
    def digest(self) -> str:
        """Identifies the vocabulary; a network carries the digest of its own."""
        return hashlib.sha256("\n".join(self.words).encode()).hexdigest()[:8]

    def write(self, path: Path) -> None:
        """Save the vocabulary for `read_word_tokenizer`."""
        write_text(path, json.dumps(self.words, ensure_ascii=False, indent=0))


def split_words(texts: tf.Tensor) -> tf.RaggedTensor:
    """Strings [n] -> their words, strings [n, (words)]; apostrophes are part of a word."""
    lower = tf.strings.lower(texts, encoding="utf-8")
    return tf.strings.split(tf.strings.regex_replace(lower, r"[^\p{L}\p{N}']+", " "))


def build_word_tokenizer(captions: Iterable[str], config: TextConfig) -> WordTokenizer:
    """Make a vocabulary of the words that occur `config.minimum_count` times or more."""
    encoded = tf.constant([text.encode(errors="replace") for text in captions], tf.string)
    counts = Counter(word.decode() for word in split_words(encoded).flat_values.numpy())
    words = sorted(counts, key=lambda word: (-counts[word], word))
    frequent = [word for word in words if counts[word] >= config.minimum_count]
    if not frequent:
        raise UserError(
            f"text.minimum_count: no word occurs {config.minimum_count} times in the training"
            " captions; use a lower count"
        )
    return WordTokenizer(frequent, config.longest)


def read_word_tokenizer(path: Path, config: TextConfig) -> WordTokenizer:
    """Read the vocabulary that a run was trained with."""
    try:
        words = json.loads(path.read_text(encoding="utf-8"))
        if not words or not all(isinstance(word, str) for word in words):
            raise ValueError("expected a list of words")
        return WordTokenizer(words, config.longest)
    except (OSError, ValueError, TypeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: not a vocabulary ({reason}); train the run again") from error


def open_tokenizer(config: TextConfig) -> Tokenizer:
    """The tokenizer of the pretrained encoder that a configuration names."""
    tokenizer = texts.build_tokenizer(config.encoder, config.weights)
    tokenizer.max_length = min(tokenizer.max_length, config.longest)
    return tokenizer
