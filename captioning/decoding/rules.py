"""What all ways of finding captions share: which words may come next, what a caption counts.

    words = DecodingVocabulary(start=1, end=2, forbidden=(3,))
    log_p = log_probabilities(logits)                           # [b, n, v]
    allowed = log_p + bans(read, place, words, no_repeat=3, size=log_p.shape[-1])

Here and in its neighbours `read` int32 [b, n, longest + 2] is what n captions a photo have said so
far: start, words, end, zeros; `place` counts from 0 and is where the token last read stands.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from imagetext.captioning.vocabulary import Vocabulary
from imagetext.errors import UserError

PADDING = 0


class Stepwise(Protocol):
    """What is asked of a decoder. States are nests of tensors [b, beams, ...]."""

    def begin(self, memory: Any, beams: int, longest: int) -> Any:
        """The state before the first word, with room to read `longest` tokens."""

    def step(self, memory: Any, state: Any, tokens: tf.Tensor, place: tf.Tensor) -> tuple:
        """Read tokens [b, beams], `place` others having been read -> logits [b, beams, v], state"""


@dataclass(frozen=True)
class DecodingVocabulary:
    """The ids that are no ordinary words. Padding (0), start and the `forbidden` are never said.

    DecodingVocabulary(start=1, end=2, forbidden=(3,))
    """

    start: int
    end: int
    forbidden: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.end in self.never:
            raise UserError(f"end ({self.end}) must differ from padding, start and forbidden words")

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> "DecodingVocabulary":
        """All that a vocabulary is silent about, but the end."""
        forbidden = tuple(number for number in vocabulary.silent if number != vocabulary.end)
        return cls(vocabulary.start, vocabulary.end, forbidden)

    @property
    def never(self) -> tuple[int, ...]:
        return tuple(sorted({PADDING, self.start, *self.forbidden}))


class DecodedCaptions(NamedTuple):
    """n captions a photo, best score first.

    `tokens` int32 [b, n, longest + 1]: words, end, zeros. `log_probability` and `score`, after
    length normalisation, float32 [b, n]. `length` int32 [b, n]: words and end.
    """

    tokens: tf.Tensor
    log_probability: tf.Tensor
    score: tf.Tensor
    length: tf.Tensor


class Ensemble:
    """Decoders that answer together, by the mean of their probabilities.

    memory = [one.see(image), other.see(image)]
    found = search(Ensemble([one, other]), memory, config, words, longest=24)
    """

    def __init__(self, decoders: Sequence[Stepwise]):
        self.decoders = list(decoders)
        if not self.decoders:
            raise UserError("an ensemble needs at least one decoder")

    def begin(self, memory: list, beams: int, longest: int) -> list:
        pairs = zip(self.decoders, memory, strict=True)
        return [decoder.begin(seen, beams, longest) for decoder, seen in pairs]

    def step(self, memory: list, state: list, tokens: tf.Tensor, place: tf.Tensor) -> tuple:
        members = zip(self.decoders, memory, state, strict=True)
        answers = [decoder.step(seen, its, tokens, place) for decoder, seen, its in members]
        sizes = sorted({logits.shape[-1] for logits, _ in answers})
        if len(sizes) > 1:
            raise UserError(
                "the models of an ensemble must share one vocabulary, got vocabularies of"
                f" {' and '.join(map(str, sizes))} words"
            )
        return mean_log_probabilities([logits for logits, _ in answers]), [s for _, s in answers]


def log_probabilities(logits: tf.Tensor) -> tf.Tensor:
    """In float32, whatever the decoder computes in."""
    return tf.nn.log_softmax(tf.cast(logits, tf.float32))


def mean_log_probabilities(logits: Sequence[tf.Tensor]) -> tf.Tensor:
    """The logarithm of the mean of several models' probabilities, of logits [..., v] each."""
    each = tf.stack([log_probabilities(of_one) for of_one in logits])
    return tf.reduce_logsumexp(each, axis=0) - float(np.log(len(logits)))


def standing_bans(place: tf.Tensor, room: int, words: DecodingVocabulary, size: int) -> tf.Tensor:
    """What is added to log probabilities at places [...], whatever was said before, float32 [...,
    size]: -inf for words never said, for the end before there is a word, and for all but the end
    behind `room` words."""
    never = np.zeros(size, np.float32)
    never[list(words.never)] = -np.inf
    only_end = np.full(size, -np.inf, np.float32)
    only_end[words.end] = 0
    no_end = never.copy()
    no_end[words.end] = -np.inf
    place = place[..., None]
    banned = tf.where(place < room, never, only_end)
    if room and np.isfinite(no_end).any():  # else there is nothing to say but the end
        banned = tf.where(place == 0, no_end, banned)
    return banned


def bans(
    read: tf.Tensor, place: tf.Tensor, words: DecodingVocabulary, no_repeat: int, size: int
) -> tf.Tensor:
    """What is added to log probabilities [b, n, size]: -inf for words that may not come next.

    Those are the standing ones, and the words that would say a run of `no_repeat` words again.
    """
    room = read.shape[2] - 2
    banned = standing_bans(place, room, words, size)
    runs = room - no_repeat + 2
    if not no_repeat or runs < 1:
        return banned
    # Run i is read[i : i + no_repeat]. It must have been read, and all but its last word be what
    # was read last; its last word would repeat it. (Start stands in none: it is never said again.)
    repeated = tf.range(no_repeat - 1, room + 1) <= place
    for index in range(no_repeat - 1):
        # Negative only while there is no run to repeat.
        last = tf.gather(read, tf.maximum(place - no_repeat + 2 + index, 0), axis=2)
        repeated &= read[:, :, index : index + runs] == last[:, :, None]
    word = tf.where(repeated, read[:, :, no_repeat - 1 : room + 1], PADDING)
    # Scattered, since a one-hot of every run takes as much memory as that many softmaxes.
    captions = tf.range(tf.size(word)) // runs
    at = tf.stack([captions, tf.reshape(word, [-1])], axis=1)
    count = tf.scatter_nd(at, tf.ones_like(captions), [tf.size(word) // runs, size])
    banned += tf.where(count > 0, -np.inf, 0.0)
    return tf.reshape(banned, [-1, read.shape[1], size])


def start(memory: Any, beams: int, words: DecodingVocabulary, longest: int) -> tf.Tensor:
    """`read` before the first word: start, and room for the words and the end."""
    photos = tf.shape(tf.nest.flatten(memory)[0])[0]
    row = tf.constant([words.start] + [PADDING] * (longest + 1))
    return tf.tile(row[None, None], tf.stack([photos, beams, 1]))


def said(read: tf.Tensor, place: tf.Tensor, word: tf.Tensor | int) -> tf.Tensor:
    """`read` with `word`, one for all or [b, n], behind `place`."""
    word = tf.convert_to_tensor(word)
    return tf.where(tf.range(read.shape[2]) == place + 1, word[..., None], read)


def score(log_probability: tf.Tensor, length: tf.Tensor | int, penalty: float) -> tf.Tensor:
    return log_probability / tf.cast(length, tf.float32) ** penalty


def in_order(read: tf.Tensor, log_probability: tf.Tensor, score: tf.Tensor) -> DecodedCaptions:
    """The captions [b, n, t], best first."""
    score, order = tf.math.top_k(score, score.shape[1])
    tokens = tf.gather(read[:, :, 1:], order, batch_dims=1)
    log_probability = tf.gather(log_probability, order, batch_dims=1)
    return DecodedCaptions(tokens, log_probability, score, lengths(tokens))


def lengths(tokens: tf.Tensor) -> tf.Tensor:
    """[b, n, t] -> int32 [b, n]"""
    return tf.reduce_sum(tf.cast(tokens != PADDING, tf.int32), axis=2)


def loop(goes_on: Callable, step: Callable, variables: tuple) -> tuple:
    """`tf.while_loop` whose steps may know less of the shapes than what it begins with."""

    def body(*before):
        return tf.nest.map_structure(
            lambda new, old: tf.ensure_shape(new, old.shape), step(*before), before
        )

    return tf.while_loop(goes_on, body, variables)
