"""Captions to numbers and back: what a captioning model can read and say.

    vocabulary = make_vocabulary(training_captions, TextConfig(minimum_count=2))
    vocabulary.encode(["A dog runs."])                       # int32 [1, 3]
    vocabulary.texts(tf.constant([[4, 5, 2, 0]]))            # [b"a dog"], in a graph or not

Id 0 is padding; `start` and `end` stand around a caption (startseq and endseq in the textbooks),
and `unknown` for every word that is not in the vocabulary: it is read, and never said.
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

SPECIAL = ("", "startseq", "endseq", "<unk>")
#: Of WordPieceTokenizer: [PAD], [CLS], [SEP], [UNK], [MASK], [unused7].
SILENT = re.compile(r"\[.+\]")
_DELETED = str.maketrans("", "", string.punctuation)
_WORD = r"'?[^\W_]+(?:['’.&/-]+[^\W_]+)*"


def clean(caption: str, config: TextConfig) -> list[str]:
    """The words of a caption under a recipe; none may be left."""
    caption = caption.lower() if config.lower else caption
    if config.punctuation == "removed":
        words = caption.translate(_DELETED).split()
    else:
        marks = r"|[^\w\s]" if config.punctuation == "kept" else ""
        words = re.findall(_WORD + marks, caption)
    return [word for word in words if word.isalpha()] if config.alphabetic else words


class Vocabulary:
    """What all vocabularies share; `tokens` is what each id says."""

    start: int
    end: int
    unknown: int
    #: Where its tokens stand in the vocabulary of a pretrained encoder; None for one of our own.
    rows: tuple[int, ...] | None = None

    def __init__(self, config: TextConfig, tokens: Sequence[str], silent: Iterable[int]):
        """`silent` are ids that mean something else than words."""
        self.config, self.tokens = config, tuple(tokens)
        self.silent = tuple(sorted(silent))

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, captions: Sequence[str]) -> np.ndarray:
        """Ids int32 [n, t], zeros behind the last; no start and end among them. Of a caption that
        is longer than `longest` there is one more, which is answered and not read."""
        raise NotImplementedError

    def texts(self, ids: tf.Tensor) -> tf.Tensor:
        """Ids int32 [..., t] -> strings [...], in a graph or not; silent ids say nothing."""
        spoken = [
            "" if number in self.silent else token for number, token in enumerate(self.tokens)
        ]
        words = tf.strings.reduce_join(tf.gather(tf.constant(spoken), ids), -1, separator=" ")
        return tf.strings.strip(tf.strings.regex_replace(words, " +", " "))

    @property
    def digest(self) -> str:
        """Names the vocabulary: a model knows by it which one it was trained with."""
        return hashlib.sha256("\n".join(self.tokens).encode()).hexdigest()[:8]

    def write(self, path: Path) -> None:
        told = {"pieces": self.config.pieces, "tokens": self.tokens, "rows": self.rows}
        write_text(path, json.dumps(told, ensure_ascii=False, indent=0))


class WordVocabulary(Vocabulary):
    """Whole words, the most frequent first.

    WordVocabulary(TextConfig(), ["dog", "runs"]).encode(["a dog runs"])        # [[3, 4, 5]]
    """

    start, end, unknown = 1, 2, 3

    def __init__(self, config: TextConfig, words: Sequence[str]):
        super().__init__(config, [*SPECIAL, *words], range(len(SPECIAL)))
        self.number = {word: place for place, word in enumerate(words, start=len(SPECIAL))}

    def encode(self, captions):
        found = [
            [self.number.get(word, self.unknown) for word in clean(caption, self.config)]
            for caption in captions
        ]
        return _padded([ids[: self.config.longest + 1] for ids in found])


class WordPieces(Vocabulary):
    """BERT's pieces of words, but only those that training captions use: a softmax over a few
    thousand takes a tenth of the time that all thirty thousand take.

    WordPieces(TextConfig(pieces="wordpiece"), tokens, rows)
    """

    def __init__(self, config: TextConfig, tokens: Sequence[str], rows: Sequence[int]):
        """`rows` are the places of `tokens` in BERT's own vocabulary."""
        silent = [number for number, token in enumerate(tokens) if SILENT.fullmatch(token)]
        super().__init__(config, tokens, silent)
        self.rows = tuple(rows)
        self.start, self.end = self.tokens.index(START), self.tokens.index(END)
        self.unknown = self.tokens.index(UNKNOWN)

    @functools.cached_property
    def pieces(self) -> WordPieceTokenizer:
        """The whole of BERT's tokenizer: with fewer pieces it would split words otherwise."""
        return word_pieces(self.config)

    def encode(self, captions):
        number = np.full(len(self.pieces.vocabulary), self.unknown, np.int32)
        number[list(self.rows)] = np.arange(len(self.rows))
        found = split(self.pieces, captions)[:, : self.config.longest + 1]
        return (
            tf.ragged.map_flat_values(lambda ids: tf.gather(number, ids), found)
            .to_tensor(0)
            .numpy()
        )

    def texts(self, ids):
        return tf.strings.regex_replace(super().texts(ids), "(^| )##", "")


def word_pieces(config: TextConfig) -> WordPieceTokenizer:
    """The tokenizer that a recipe names."""
    if not config.wordpieces:
        return minilm.load_tokenizer()
    path = Path(config.wordpieces)
    return WordPieceTokenizer(path / "vocab.txt" if path.is_dir() else path)


def split(pieces: WordPieceTokenizer, captions: Sequence[str]) -> tf.RaggedTensor:
    encoded = tf.constant([text.encode(errors="replace") for text in captions], tf.string)
    return pieces.split(encoded)


def make_vocabulary(captions: Iterable[str], config: TextConfig) -> Vocabulary:
    """Of what training captions use: whole words, or word pieces."""
    if config.pieces == "wordpiece":
        return _make_pieces(list(captions), config)
    counts = Counter(word for caption in captions for word in clean(caption, config))
    # startseq and endseq as a word would be mistaken for the marks around every caption.
    words = sorted(counts.keys() - set(SPECIAL), key=lambda word: (-counts[word], word))
    kept = [word for word in words if counts[word] >= config.minimum_count]
    if not kept:
        most = f"the most frequent, {words[0]!r}, {counts[words[0]]}" if words else "there are none"
        raise UserError(
            f"text.minimum_count: no word occurs {config.minimum_count} times in the training"
            f" captions ({most}); use a lower value"
        )
    return WordVocabulary(config, kept)


def _make_pieces(captions: Sequence[str], config: TextConfig) -> WordPieces:
    pieces = word_pieces(config)
    every = pieces.vocabulary
    special = [every.index(token) for token in (PAD, UNKNOWN, START, END)]
    used, counts = np.unique(split(pieces, captions).flat_values, return_counts=True)
    kept = sorted(set(used[counts >= config.minimum_count].tolist()) - set(special))
    if not kept:
        raise UserError(
            f"text.minimum_count: no word piece occurs {config.minimum_count} times in the training"
            " captions; use a lower value"
        )
    rows = [*special, *kept]
    return WordPieces(config, [every[row] for row in rows], rows)


def read_vocabulary(path: Path, config: TextConfig) -> Vocabulary:
    """The one a run was trained with."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        tokens = told["tokens"]
        if config.pieces == "wordpiece":
            return WordPieces(config, tokens, told["rows"])
        if tuple(tokens[: len(SPECIAL)]) != SPECIAL:
            raise ValueError("its first tokens are not the special ones")
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: not a valid vocabulary: {what}; train again") from error
    return WordVocabulary(config, tokens[len(SPECIAL) :])


def _padded(rows: Sequence[Sequence[int]]) -> np.ndarray:
    found = np.zeros((len(rows), max(map(len, rows), default=0)), np.int32)
    for number, row in enumerate(rows):
        found[number, : len(row)] = row
    return found
