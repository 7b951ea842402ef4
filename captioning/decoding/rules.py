"""What all decoding methods share: which words may come next, and how captions are scored.

    vocabulary = DecodingVocabulary(start=1, end=2, forbidden=(3,))
    log_p = log_probabilities(logits)                           # [b, n, v]
    log_p += token_mask(sequences, position, vocabulary, no_repeat=3, size=log_p.shape[-1])

In this package `sequences` int32 [b, n, max_words + 2] are the n captions of each photo so far:
start, words, end, zeros. `position`, counted from 0, is that of the last token read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from imagetext.captioning.vocabulary import Vocabulary
from imagetext.errors import UserError

PADDING = 0


class StepDecoder(Protocol):
    """A model that predicts one token at a time. States are nests of tensors [b, beams, ...]."""

    def initial_state(self, memory: Any, beams: int, max_tokens: int) -> Any:
        """The state before the first token, with room for `max_tokens` tokens."""

    def step(self, memory: Any, state: Any, tokens: tf.Tensor, position: tf.Tensor) -> tuple:
        """Tokens [b, beams], after `position` others -> logits [b, beams, v], new state."""


@dataclass(frozen=True)
class DecodingVocabulary:
    """The ids with a special meaning. Padding (0), start and forbidden ids are never generated.

    DecodingVocabulary(start=1, end=2, forbidden=(3,))

    Args:
        start: The id before the first word.
        end: The id after the last word.
        forbidden: Further ids that are never generated.
    """

    start: int
    end: int
    forbidden: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.end in self.excluded:
            raise UserError(f"end ({self.end}) must differ from padding, start and forbidden words")

    @classmethod
    def from_vocabulary(cls, vocabulary: Vocabulary) -> "DecodingVocabulary":
        """Forbid all special ids of a vocabulary except the end."""
        forbidden = tuple(id for id in vocabulary.special_ids if id != vocabulary.end)
        return cls(vocabulary.start, vocabulary.end, forbidden)

    @property
    def excluded(self) -> tuple[int, ...]:
        """All ids that are never generated."""
        return tuple(sorted({PADDING, self.start, *self.forbidden}))


class DecodedCaptions(NamedTuple):
    """n captions per photo, best score first.

    Args:
        tokens: int32 [b, n, max_words + 1]: words, end, zeros.
        log_probability: float32 [b, n].
        score: float32 [b, n], the log probability after length normalisation.
        length: int32 [b, n], words and end.
    """

    tokens: tf.Tensor
    log_probability: tf.Tensor
    score: tf.Tensor
    length: tf.Tensor


class Ensemble:
    """Several decoders as one: their probabilities are averaged.

    memory = [first.encode_image(image), second.encode_image(image)]
    captions = search(Ensemble([first, second]), memory, config, vocabulary, max_words=24)
    """

    def __init__(self, decoders: Sequence[StepDecoder]):
        self.decoders = list(decoders)
        if not self.decoders:
            raise UserError("an ensemble needs at least one decoder")

    def initial_state(self, memory: list, beams: int, max_tokens: int) -> list:
        pairs = zip(self.decoders, memory, strict=True)
        return [decoder.initial_state(each, beams, max_tokens) for decoder, each in pairs]

    def step(self, memory: list, state: list, tokens: tf.Tensor, position: tf.Tensor) -> tuple:
        members = zip(self.decoders, memory, state, strict=True)
        results = [decoder.step(*inputs, tokens, position) for decoder, *inputs in members]
        sizes = sorted({logits.shape[-1] for logits, _ in results})
        if len(sizes) > 1:
            raise UserError(
                "the models of an ensemble must share one vocabulary, got vocabularies of"
                f" {' and '.join(map(str, sizes))} words"
            )
        mean = mean_log_probabilities([logits for logits, _ in results])
        return mean, [new_state for _, new_state in results]


def log_probabilities(logits: tf.Tensor) -> tf.Tensor:
    """Log softmax in float32, whatever the precision of the decoder."""
    return tf.nn.log_softmax(tf.cast(logits, tf.float32))


def mean_log_probabilities(logits: Sequence[tf.Tensor]) -> tf.Tensor:
    """The logarithm of the mean probabilities of several models, from logits [..., v] of each."""
    log_p = tf.stack([log_probabilities(each) for each in logits])
    return tf.reduce_logsumexp(log_p, axis=0) - float(np.log(len(logits)))


def position_mask(
    position: tf.Tensor, max_words: int, vocabulary: DecodingVocabulary, size: int
) -> tf.Tensor:
    """The part of `token_mask` that does not depend on the words so far.

    Args:
        position: Positions of the last tokens read [...].
        max_words: Largest number of words of a caption.
        vocabulary: The ids with a special meaning.
        size: Number of words.

    Returns:
        float32 [..., size]: -inf for excluded ids, for the end before the first word, and for
        everything but the end after `max_words` words.
    """
    excluded = np.zeros(size, np.float32)
    excluded[list(vocabulary.excluded)] = -np.inf
    only_end = np.full(size, -np.inf, np.float32)
    only_end[vocabulary.end] = 0
    no_end = excluded.copy()
    no_end[vocabulary.end] = -np.inf
    position = position[..., None]
    mask = tf.where(position < max_words, excluded, only_end)
    if max_words and np.isfinite(no_end).any():  # otherwise the end is the only choice
        mask = tf.where(position == 0, no_end, mask)
    return mask


def token_mask(
    sequences: tf.Tensor,
    position: tf.Tensor,
    vocabulary: DecodingVocabulary,
    no_repeat: int,
    size: int,
) -> tf.Tensor:
    """What to add to log probabilities [b, n, size]: -inf for words that must not come next.

    In addition to `position_mask` these are the words that would repeat an n-gram of size
    `no_repeat`.
    """
    max_words = sequences.shape[2] - 2
    mask = position_mask(position, max_words, vocabulary, size)
    ngrams = max_words - no_repeat + 2
    if not no_repeat or ngrams < 1:
        return mask
    # N-gram i is sequences[i : i + no_repeat]. Its last word would repeat it if all of it has been
    # read and its other words equal the last ones read. (None of them contains start, which is
    # never generated again.)
    repeated = tf.range(no_repeat - 1, max_words + 1) <= position
    for index in range(no_repeat - 1):
        # Negative only while there is no n-gram to repeat.
        last = tf.gather(sequences, tf.maximum(position - no_repeat + 2 + index, 0), axis=2)
        repeated &= sequences[:, :, index : index + ngrams] == last[:, :, None]
    word = tf.where(repeated, sequences[:, :, no_repeat - 1 : max_words + 1], PADDING)
    # Scatter, because a one-hot of every n-gram takes as much memory as that many softmaxes.
    rows = tf.range(tf.size(word)) // ngrams
    indices = tf.stack([rows, tf.reshape(word, [-1])], axis=1)
    count = tf.scatter_nd(indices, tf.ones_like(rows), [tf.size(word) // ngrams, size])
    mask += tf.where(count > 0, -np.inf, 0.0)
    return tf.reshape(mask, [-1, sequences.shape[1], size])


def start_sequences(
    memory: Any, beams: int, vocabulary: DecodingVocabulary, max_words: int
) -> tf.Tensor:
    """`sequences` before the first word: start, and room for the words and the end."""
    photos = tf.shape(tf.nest.flatten(memory)[0])[0]
    row = tf.constant([vocabulary.start] + [PADDING] * (max_words + 1))
    return tf.tile(row[None, None], tf.stack([photos, beams, 1]))


def append_token(sequences: tf.Tensor, position: tf.Tensor, token: tf.Tensor) -> tf.Tensor:
    """`sequences` with `token` [b, n] after `position`."""
    return tf.where(tf.range(sequences.shape[2]) == position + 1, token[..., None], sequences)


def normalise_length(
    log_probability: tf.Tensor, length: tf.Tensor | int, penalty: float
) -> tf.Tensor:
    """The score of captions with `length` tokens."""
    return log_probability / tf.cast(length, tf.float32) ** penalty


def sort_captions(
    sequences: tf.Tensor, log_probability: tf.Tensor, score: tf.Tensor
) -> DecodedCaptions:
    """Sort the captions of each photo, best first, and drop their start."""
    score, order = tf.math.top_k(score, score.shape[1])
    tokens = tf.gather(sequences[:, :, 1:], order, batch_dims=1)
    log_probability = tf.gather(log_probability, order, batch_dims=1)
    return DecodedCaptions(tokens, log_probability, score, count_tokens(tokens))


def count_tokens(tokens: tf.Tensor) -> tf.Tensor:
    """Lengths without padding: [b, n, t] -> int32 [b, n]."""
    return tf.reduce_sum(tf.cast(tokens != PADDING, tf.int32), axis=2)


def while_loop(condition: Callable, step: Callable, variables: tuple) -> tuple:
    """`tf.while_loop` for steps that return tensors with less static shape than `variables`."""

    def body(*before):
        return tf.nest.map_structure(
            lambda new, old: tf.ensure_shape(new, old.shape), step(*before), before
        )

    return tf.while_loop(condition, body, variables)
