"""Beam search and diverse beam search.

    captions = search(decoder, memory, DecodingConfig(beams=5), vocabulary, max_words=24)
    greedy = search(decoder, memory, DecodingConfig(beams=1), vocabulary, max_words=24)
    diverse = DecodingConfig("diverse", beams=6, groups=3)
    captions = search(decoder, memory, diverse, vocabulary, max_words=24)

The exact rules:

A caption's log probability is the model's own, summed over its words and the end; words that must
not be generated keep their share of the softmax. Its score is the log probability divided by its
length (words and end) to the power of `length_penalty`.

At each step, all continuations of the n live beams are ordered by log probability, ties by beam,
then by word. Those among the first n that end join the finished captions, of which the n with the
best scores are kept (ties: the earlier caption). The first n that do not end are the next live
beams. After `max_words` words only the end is possible, and counts with its probability. A single
beam is greedy: it stops at its first end. The search for a photo stops once no live beam could
replace its n-th finished caption even if all its further words were certain; stopping then never
changes the result.

In diverse beam search each group is such a search, but continuations are ordered by log probability
minus `diversity` for each live beam of earlier groups that has just chosen the same word
(Vijayakumar et al. 2016). Scores do not include this penalty. Two groups may find the same caption.

If a vocabulary allows fewer captions than there are beams, the remaining rows have a score of -inf
and only zeros.

Apart from the decoder itself, the cost of the search is reordering the state by beam at every word:
little for a GRU, but the caches of a transformer are copied as a whole. Greedy search avoids it.
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from imagetext.captioning.config import DecodingConfig
from imagetext.captioning.decoding import rules
from imagetext.captioning.decoding.rules import DecodedCaptions, DecodingVocabulary, StepDecoder


class _Live(NamedTuple):
    """Beams that have not ended: sequences [b, n, t] and log probability [b, n], -inf if unused."""

    sequences: tf.Tensor
    log_probability: tf.Tensor


class _Finished(NamedTuple):
    """The best finished captions of each group, best first; zeros and -inf if unused."""

    sequences: tf.Tensor
    log_probability: tf.Tensor
    score: tf.Tensor


class _Continuations(NamedTuple):
    """Beams and the words that continue them, [b, m] each; log probability -inf if unused."""

    beam: tf.Tensor
    word: tf.Tensor
    log_probability: tf.Tensor


def search(
    decoder: StepDecoder,
    memory: Any,
    config: DecodingConfig,
    vocabulary: DecodingVocabulary,
    max_words: int,
) -> DecodedCaptions:
    """Find the best `config.beams` captions per photo, by the rules of this module.

    Runs as one `tf.while_loop` of at most max_words + 1 steps.

    Args:
        decoder: The model.
        memory: The encoded photos, a nest of tensors [b, ...].
        config: How to decode.
        vocabulary: The ids with a special meaning.
        max_words: Largest number of words of a caption.
    """
    groups = config.groups if config.method == "diverse" else 1
    width = config.beams // groups
    penalty = config.length_penalty

    def step(position, live, finished, state):
        logits, state = decoder.step(memory, state, live.sequences[:, :, position], position)
        log_p = rules.log_probabilities(logits)
        size = log_p.shape[-1]
        log_p += rules.token_mask(live.sequences, position, vocabulary, config.no_repeat, size)
        live_on, ended = _expand(live, log_p, groups, config.diversity, vocabulary.end)
        finished = _keep_best(finished, _finish(live, ended, position, penalty), groups)
        sequences = tf.gather(live.sequences, live_on.beam, batch_dims=1)
        sequences = rules.append_token(sequences, position, live_on.word)
        log_probability = live_on.log_probability
        done = _is_done(log_probability, finished.score, groups, max_words, penalty)
        live = _Live(sequences, tf.where(done[:, None], -np.inf, log_probability))
        if width > 1:  # otherwise every beam continues itself
            state = tf.nest.map_structure(
                lambda each: tf.gather(each, live_on.beam, batch_dims=1), state
            )
        return position + 1, live, finished, state

    sequences = rules.start_sequences(memory, config.beams, vocabulary, max_words)
    # The beams of a group start out equal: only the first one counts.
    first = tf.tile([0.0] + [-np.inf] * (width - 1), [groups])
    first = tf.tile(first[None], tf.stack([tf.shape(sequences)[0], 1]))
    unused = tf.fill(tf.shape(first), -np.inf)
    # Room for start and all words; the end is never read.
    state = decoder.initial_state(memory, config.beams, max_words + 1)
    live = _Live(sequences, first)
    finished = _Finished(tf.zeros_like(sequences), unused, unused)
    _, _, finished, _ = rules.while_loop(
        lambda position, live, finished, state: tf.reduce_any(live.log_probability > -np.inf),
        step,
        (tf.constant(0), live, finished, state),
    )
    return rules.sort_captions(*finished)


def _expand(
    live: _Live, log_p: tf.Tensor, groups: int, diversity: float, end: int
) -> tuple[_Continuations, _Continuations]:
    """log_p [b, n, v] -> the continuations that live on, and those that end, n each."""
    size = log_p.shape[-1]
    totals = _split_groups(live.log_probability[:, :, None] + log_p, groups)
    chosen = tf.zeros_like(log_p[:, :1])
    live_on, ended = [], []
    for group in range(groups):
        penalty = diversity * chosen if group else 0.0
        results = _expand_group(totals[:, group], penalty, end)
        for parts, part in zip((live_on, ended), results, strict=True):
            parts.append(part._replace(beam=part.beam + group * totals.shape[2]))
        words = tf.where(live_on[-1].log_probability > -np.inf, live_on[-1].word, -1)
        chosen += tf.reduce_sum(tf.one_hot(words, size), axis=1, keepdims=True)
    return tuple(
        _Continuations(*(tf.concat(each, axis=1) for each in zip(*parts, strict=True)))
        for parts in (live_on, ended)
    )


def _expand_group(
    total: tf.Tensor, penalty: tf.Tensor | float, end: int
) -> tuple[_Continuations, _Continuations]:
    """The same for the log probabilities [b, w, v] of one group."""
    width, size = total.shape[1:]
    value = tf.reshape(total - penalty, [-1, width * size])
    # Twice as many as needed: each beam has one continuation that ends, so enough of them do not.
    value, index = tf.math.top_k(value, 2 * width)
    log_p = tf.gather(tf.reshape(total, [-1, width * size]), index, batch_dims=1)
    beam, word = index // size, index % size
    ends = word == end
    ended = _Continuations(beam, word, tf.where(ends, log_p, -np.inf))
    # A single beam is greedy: once it ends, nothing continues it.
    log_p = tf.where(ends[:, :1] if width == 1 else ends, -np.inf, log_p)
    _, order = tf.math.top_k(tf.where(ends, -np.inf, value), width)
    live_on = (tf.gather(each, order, batch_dims=1) for each in (beam, word, log_p))
    return _Continuations(*live_on), _Continuations(*(each[:, :width] for each in ended))


def _finish(live: _Live, ended: _Continuations, position: tf.Tensor, penalty: float) -> _Finished:
    sequences = tf.gather(live.sequences, ended.beam, batch_dims=1)
    sequences = rules.append_token(sequences, position, ended.word)
    score = rules.normalise_length(ended.log_probability, position + 1, penalty)
    return _Finished(sequences, ended.log_probability, score)


def _keep_best(finished: _Finished, new: _Finished, groups: int) -> _Finished:
    """The best captions of both, as many in each group as were finished before."""
    width = finished.score.shape[1] // groups
    pairs = zip(finished, new, strict=True)
    pool = [tf.concat([_split_groups(each, groups) for each in pair], axis=2) for pair in pairs]
    _, order = tf.math.top_k(pool[-1], width)
    best = (tf.gather(each, order, batch_dims=2) for each in pool)
    return _Finished(*(tf.reshape(each, [-1, groups * width, *each.shape[3:]]) for each in best))


def _is_done(
    log_probability: tf.Tensor, score: tf.Tensor, groups: int, max_words: int, penalty: float
) -> tf.Tensor:
    """Whether no live beam can replace a finished caption any more, [b].

    A log probability can only fall, and is divided by most in the longest caption.

    Args:
        log_probability: Of the live beams [b, n].
        score: Of the finished captions [b, n].
        groups: Number of groups.
        max_words: Largest number of words of a caption.
        penalty: The length penalty.
    """
    best = tf.reduce_max(_split_groups(log_probability, groups), axis=2)
    bound = rules.normalise_length(best, max_words + 1, penalty)
    return tf.reduce_all(bound <= _split_groups(score, groups)[:, :, -1], axis=1)


def _split_groups(each: tf.Tensor, groups: int) -> tf.Tensor:
    """[b, g * w, ...] -> [b, g, w, ...]"""
    return tf.reshape(each, [-1, groups, each.shape[1] // groups, *each.shape[2:]])
