"""Vocabularies: from captions to token ids and back.

    vocabulary = make_vocabulary(training_captions, TextConfig(minimum_count=2))
    vocabulary.encode(["A dog runs."])                       # int32 [1, 3]
    vocabulary.decode(tf.constant([[4, 5, 2, 0]]))           # [b"a dog"], inside a graph or not

Id 0 is padding. `start` and `end` surround a caption (startseq and endseq in textbooks). `unknown`
stands for words that are not in the vocabulary: it is read but never generated.
"""

import functools
import hashlib
import json
import re
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from imagetext.captioning.config import TextConfig
from imagetext.encoders import minilm
from imagetext.encoders.wordpiece import END, PAD, START, UNKNOWN, WordPieceTokenizer
from imagetext.errors import UserError
from imagetext.files import write_text

SPECIAL_WORDS = ("", "startseq", "endseq", "<unk>")
#: Special pieces of WordPieceTokenizer: [PAD], [CLS], [SEP], [UNK], [MASK], [unused7].
SPECIAL_PIECE = re.compile(r"\[.+\]")
_REMOVE_PUNCTUATION = str.maketrans("", "", string.punctuation)
_WORD = r"'?[^\W_]+(?:['’.&/-]+[^\W_]+)*"


def split_words(caption: str, config: TextConfig) -> list[str]:
    """Split a caption into words as configured; the result may be empty."""
    caption = caption.lower() if config.lower else caption
    if config.punctuation == "removed":
        words = caption.translate(_REMOVE_PUNCTUATION).split()
    else:
        marks = r"|[^\w\s]" if config.punctuation == "kept" else ""
        words = re.findall(_WORD + marks, caption)
    return [word for word in words if word.isalpha()] if config.alphabetic else words


class Vocabulary:
    """Base class of vocabularies.

    Args:
        config: The `text` section of the configuration.
        tokens: The text of each id.
        special_ids: Ids that do not stand for text.
    """

    start: int
    end: int
    unknown: int
    #: The rows of its tokens in the vocabulary of a pretrained encoder, if it comes from one.
    rows: tuple[int, ...] | None = None

    def __init__(self, config: TextConfig, tokens: Sequence[str], special_ids: Iterable[int]):
        self.config, self.tokens = config, tuple(tokens)
        self.special_ids = tuple(sorted(special_ids))

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, captions: Sequence[str]) -> np.ndarray:
        """Captions -> ids int32 [n, t] without start and end, padded with zeros.

        A caption that is longer than `longest` keeps one more token, which is only a target.
        """
        raise NotImplementedError

    def decode(self, ids: tf.Tensor) -> tf.Tensor:
        """Ids int32 [..., t] -> strings [...], inside a graph or not; special ids are left out."""
        texts = ["" if id in self.special_ids else token for id, token in enumerate(self.tokens)]
        words = tf.strings.reduce_join(tf.gather(tf.constant(texts), ids), -1, separator=" ")
        return tf.strings.strip(tf.strings.regex_replace(words, " +", " "))

    @property
    def digest(self) -> str:
        """A hash of the tokens. It is part of a model's name, so that a model can be matched with
        its vocabulary."""
        return hashlib.sha256("\n".join(self.tokens).encode()).hexdigest()[:8]

    def write(self, path: Path) -> None:
        """Write the vocabulary as JSON; `read_vocabulary` reads it."""
        content = {"pieces": self.config.pieces, "tokens": self.tokens, "rows": self.rows}
        write_text(path, json.dumps(content, ensure_ascii=False, indent=0))


class WordVocabulary(Vocabulary):
    """A vocabulary of whole words, most frequent first.

    WordVocabulary(TextConfig(), ["dog", "runs"]).encode(["a dog runs"])        # [[3, 4, 5]]
    """

    start, end, unknown = 1, 2, 3

    def __init__(self, config: TextConfig, words: Sequence[str]):
        super().__init__(config, [*SPECIAL_WORDS, *words], range(len(SPECIAL_WORDS)))
        self.ids = {word: id for id, word in enumerate(words, start=len(SPECIAL_WORDS))}

    def encode(self, captions):
        rows = [
            [self.ids.get(word, self.unknown) for word in split_words(caption, self.config)]
            for caption in captions
        ]
        return _pad([ids[: self.config.longest + 1] for ids in rows])


class WordPieces(Vocabulary):
    """BERT's word pieces, but only those used by training captions: a softmax over a few thousand
    takes a tenth of the time of one over all thirty thousand.

    WordPieces(TextConfig(pieces="wordpiece"), tokens, rows)

    Args:
        config: The `text` section of the configuration.
        tokens: The text of each id.
        rows: The ids of the tokens in BERT's vocabulary.
    """

    def __init__(self, config: TextConfig, tokens: Sequence[str], rows: Sequence[int]):
        special = [id for id, token in enumerate(tokens) if SPECIAL_PIECE.fullmatch(token)]
        super().__init__(config, tokens, special)
        self.rows = tuple(rows)
        self.start, self.end = self.tokens.index(START), self.tokens.index(END)
        self.unknown = self.tokens.index(UNKNOWN)

    @functools.cached_property
    def tokenizer(self) -> WordPieceTokenizer:
        """BERT's complete tokenizer: with fewer pieces it would split words differently."""
        return load_tokenizer(self.config)

    def encode(self, captions):
        ids = np.full(len(self.tokenizer.vocabulary), self.unknown, np.int32)
        ids[list(self.rows)] = np.arange(len(self.rows))
        pieces = split_pieces(self.tokenizer, captions)[:, : self.config.longest + 1]
        return (
            tf.ragged.map_flat_values(lambda rows: tf.gather(ids, rows), pieces)
            .to_tensor(0)
            .numpy()
        )

    def decode(self, ids):
        return tf.strings.regex_replace(super().decode(ids), "(^| )##", "")


def load_tokenizer(config: TextConfig) -> WordPieceTokenizer:
    """The WordPiece tokenizer that a configuration names."""
    if not config.wordpieces:
        return minilm.load_tokenizer()
    path = Path(config.wordpieces)
    return WordPieceTokenizer(path / "vocab.txt" if path.is_dir() else path)


def split_pieces(tokenizer: WordPieceTokenizer, captions: Sequence[str]) -> tf.RaggedTensor:
    """Split captions into ids of BERT's vocabulary."""
    texts = tf.constant([caption.encode(errors="replace") for caption in captions], tf.string)
    return tokenizer.split(texts)


def make_vocabulary(captions: Iterable[str], config: TextConfig) -> Vocabulary:
    """Make a vocabulary of the words or word pieces of training captions."""
    if config.pieces == "wordpiece":
        return _make_word_pieces(list(captions), config)
    counts = Counter(word for caption in captions for word in split_words(caption, config))
    # A word "startseq" or "endseq" would be confused with the tokens around every caption.
    words = sorted(counts.keys() - set(SPECIAL_WORDS), key=lambda word: (-counts[word], word))
    kept = [word for word in words if counts[word] >= config.minimum_count]
    if not kept:
        most = f"the most frequent, {words[0]!r}, {counts[words[0]]}" if words else "there are none"
        raise UserError(
            f"text.minimum_count: no word occurs {config.minimum_count} times in the training"
            f" captions ({most}); use a lower value"
        )
    return WordVocabulary(config, kept)


def _make_word_pieces(captions: Sequence[str], config: TextConfig) -> WordPieces:
    tokenizer = load_tokenizer(config)
    vocabulary = tokenizer.vocabulary
    special = [vocabulary.index(token) for token in (PAD, UNKNOWN, START, END)]
    used, counts = np.unique(split_pieces(tokenizer, captions).flat_values, return_counts=True)
    kept = sorted(set(used[counts >= config.minimum_count].tolist()) - set(special))
    if not kept:
        raise UserError(
            f"text.minimum_count: no word piece occurs {config.minimum_count} times in the training"
            " captions; use a lower value"
        )
    rows = [*special, *kept]
    return WordPieces(config, [vocabulary[row] for row in rows], rows)


def read_vocabulary(path: Path, config: TextConfig) -> Vocabulary:
    """Read the vocabulary of a run."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        tokens = content["tokens"]
        if config.pieces == "wordpiece":
            return WordPieces(config, tokens, content["rows"])
        if tuple(tokens[: len(SPECIAL_WORDS)]) != SPECIAL_WORDS:
            raise ValueError("its first tokens are not the special ones")
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: not a valid vocabulary: {reason}; train again") from error
    return WordVocabulary(config, tokens[len(SPECIAL_WORDS) :])


def _pad(rows: Sequence[Sequence[int]]) -> np.ndarray:
    padded = np.zeros((len(rows), max(map(len, rows), default=0)), np.int32)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = row
    return padded
