"""Beam search, and groups of beams that avoid each other's words.

    found = search(decoder, memory, DecodingConfig(beams=5), words, longest=24)
    greedy = search(decoder, memory, DecodingConfig(beams=1), words, longest=24)
    diverse = search(
        decoder, memory, DecodingConfig("diverse", beams=6, groups=3), words, longest=24
    )

What is found, exactly. A caption's log probability is the model's own, summed over its words and
the end: words that may not be said keep their share of the softmax. Its score is that divided by
its length (words and end) to the power of `length_penalty`.

At each word all continuations of the n live beams are ordered by log probability, ties by beam,
then by word. Those of the first n that end join the n best finished captions by score, the earlier
before the later where scores tie; the first n that do not end live on. After `longest` words only
the end is left, and counts with its probability. A beam of one is greedy: it lives until its first
end. The search for a photo is over when no live beam could come before its n-th finished caption
even if all it has yet to say were certain; stopping there changes no answer.

Of diverse beams each group is such a search, but it orders by log probability less `diversity` for
each live beam of the groups before it that has just said the same word (Vijayakumar et al. 2016).
Scores are free of that penalty. Two groups may find the same caption.

Where a vocabulary does not make as many captions as there are beams, the rows without one have a
score of -inf and only zeros.

Beside the decoder itself the search pays for putting the state in the beams' order at every word:
little for a GRU, but a transformer's caches are copied whole. Greedy search is spared that.
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from imagetext.captioning.config import DecodingConfig
from imagetext.captioning.decoding import rules
from imagetext.captioning.decoding.rules import DecodedCaptions, DecodingVocabulary, Stepwise


class _Live(NamedTuple):
    """Beams that have not ended: `read` [b, n, t], log probability [b, n], -inf where none is."""

    read: tf.Tensor
    log_probability: tf.Tensor


class _Kept(NamedTuple):
    """The best finished captions of each group, best first; -inf and zeros where none is yet."""

    read: tf.Tensor
    log_probability: tf.Tensor
    score: tf.Tensor


class _Next(NamedTuple):
    """How beams go on, [b, m] each: which beam, with which word; -inf where none does."""

    beam: tf.Tensor
    word: tf.Tensor
    log_probability: tf.Tensor


def search(
    decoder: Stepwise, memory: Any, config: DecodingConfig, words: DecodingVocabulary, longest: int
) -> DecodedCaptions:
    """`config.beams` captions a photo. All within one `tf.while_loop`, at most longest + 1 steps.

    `memory` is a nest of tensors [b, ...]; see the module for what is found.
    """
    groups = config.groups if config.method == "diverse" else 1
    width = config.beams // groups
    penalty = config.length_penalty

    def step(place, live, kept, state):
        logits, state = decoder.step(memory, state, live.read[:, :, place], place)
        log_p = rules.log_probabilities(logits)
        log_p += rules.bans(live.read, place, words, config.no_repeat, log_p.shape[-1])
        going, ended = _continued(live, log_p, groups, config.diversity, words.end)
        kept = _best(kept, _finished(live, ended, place, penalty), groups)
        read = rules.said(tf.gather(live.read, going.beam, batch_dims=1), place, going.word)
        over = _over(going.log_probability, kept.score, groups, longest, penalty)
        live = _Live(read, tf.where(over[:, None], -np.inf, going.log_probability))
        if width > 1:  # else every beam goes on from itself
            state = tf.nest.map_structure(
                lambda each: tf.gather(each, going.beam, batch_dims=1), state
            )
        return place + 1, live, kept, state

    read = rules.start(memory, config.beams, words, longest)
    # The beams of a group begin alike: only the first of them counts.
    begun = tf.tile([0.0] + [-np.inf] * (width - 1), [groups])
    begun = tf.tile(begun[None], tf.stack([tf.shape(read)[0], 1]))
    nothing = tf.fill(tf.shape(begun), -np.inf)
    # Room to read start and all words, since the end is answered to the last of them.
    state = decoder.begin(memory, config.beams, longest + 1)
    _, _, kept, _ = rules.loop(
        lambda place, live, kept, state: tf.reduce_any(live.log_probability > -np.inf),
        step,
        (tf.constant(0), _Live(read, begun), _Kept(tf.zeros_like(read), nothing, nothing), state),
    )
    return rules.in_order(*kept)


def _continued(
    live: _Live, log_p: tf.Tensor, groups: int, diversity: float, end: int
) -> tuple[_Next, _Next]:
    """log_p [b, n, v] -> the beams that go on, and those that end, n each."""
    size = log_p.shape[-1]
    totals = _by_group(live.log_probability[:, :, None] + log_p, groups)
    said = tf.zeros_like(log_p[:, :1])
    going, ended = [], []
    for group in range(groups):
        chosen = _group_continued(totals[:, group], diversity * said if group else 0.0, end)
        for parts, part in zip((going, ended), chosen, strict=True):
            parts.append(part._replace(beam=part.beam + group * totals.shape[2]))
        new = tf.where(going[-1].log_probability > -np.inf, going[-1].word, -1)
        said += tf.reduce_sum(tf.one_hot(new, size), axis=1, keepdims=True)
    return tuple(
        _Next(*(tf.concat(each, axis=1) for each in zip(*parts, strict=True)))
        for parts in (going, ended)
    )


def _group_continued(total: tf.Tensor, penalty: tf.Tensor | float, end: int) -> tuple[_Next, _Next]:
    """One group's log probabilities [b, w, v] -> its beams that go on, and those that end."""
    width, size = total.shape[1:]
    value = tf.reshape(total - penalty, [-1, width * size])
    # Twice as many as are wanted: a beam ends in but one way, so enough of them go on.
    value, place = tf.math.top_k(value, 2 * width)
    log_p = tf.gather(tf.reshape(total, [-1, width * size]), place, batch_dims=1)
    beam, word = place // size, place % size
    ends = word == end
    ended = _Next(beam, word, tf.where(ends, log_p, -np.inf))
    # A beam of one is greedy: if it ends, nothing of it goes on.
    log_p = tf.where(ends[:, :1] if width == 1 else ends, -np.inf, log_p)
    _, order = tf.math.top_k(tf.where(ends, -np.inf, value), width)
    going = (tf.gather(each, order, batch_dims=1) for each in (beam, word, log_p))
    return _Next(*going), _Next(*(each[:, :width] for each in ended))


def _finished(live: _Live, ended: _Next, place: tf.Tensor, penalty: float) -> _Kept:
    read = tf.gather(live.read, ended.beam, batch_dims=1)
    read = rules.said(read, place, ended.word)
    score = rules.score(ended.log_probability, place + 1, penalty)
    return _Kept(read, ended.log_probability, score)


def _best(kept: _Kept, finished: _Kept, groups: int) -> _Kept:
    """The best of both, as many in each group as were kept."""
    width = kept.score.shape[1] // groups
    both = zip(kept, finished, strict=True)
    pool = [tf.concat([_by_group(each, groups) for each in pair], axis=2) for pair in both]
    _, order = tf.math.top_k(pool[-1], width)
    best = (tf.gather(each, order, batch_dims=2) for each in pool)
    return _Kept(*(tf.reshape(each, [-1, groups * width, *each.shape[3:]]) for each in best))


def _over(live: tf.Tensor, kept: tf.Tensor, groups: int, longest: int, penalty: float) -> tf.Tensor:
    """Log probabilities and scores [b, n] -> [b], whether no live beam can still be kept.

    A log probability only falls, and counts least in the longest caption.
    """
    hope = rules.score(tf.reduce_max(_by_group(live, groups), axis=2), longest + 1, penalty)
    return tf.reduce_all(hope <= _by_group(kept, groups)[:, :, -1], axis=1)


def _by_group(each: tf.Tensor, groups: int) -> tf.Tensor:
    """[b, g * w, ...] -> [b, g, w, ...]"""
    return tf.reshape(each, [-1, groups, each.shape[1] // groups, *each.shape[2:]])
