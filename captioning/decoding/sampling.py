"""Captions drawn at random, word by word: for variety, and for self-critical training.

rules = DecodingConfig("sample", beams=5, top_p=0.9)
found = sample(decoder, memory, config, words, longest=24, seed=(7, 0))
found.tokens                                        # [b, 5, 25]
"""

from typing import Any

import numpy as np
import tensorflow as tf

from imagetext.captioning.config import DecodingConfig
from imagetext.captioning.decoding import rules
from imagetext.captioning.decoding.rules import (
    PADDING,
    DecodedCaptions,
    DecodingVocabulary,
    Stepwise,
)


def sample(
    decoder: Stepwise,
    memory: Any,
    config: DecodingConfig,
    words: DecodingVocabulary,
    longest: int,
    seed: Any,
) -> DecodedCaptions:
    """`config.beams` captions a photo, drawn independently; the same seed gives the same ones.

    `temperature`, then `top_k`, then `top_p` shape what a word is drawn from. Log probabilities
    are the model's own all the same, as those of a beam search. After `longest` words comes the
    end. `seed` holds two integers, and may be a tensor.
    """
    seed = tf.convert_to_tensor(seed)

    def step(place, read, log_probability, ended, state):
        logits, state = decoder.step(memory, state, read[:, :, place], place)
        log_p = rules.log_probabilities(logits)
        allowed = log_p + rules.bans(read, place, words, config.no_repeat, log_p.shape[-1])
        own_seed = tf.random.experimental.stateless_fold_in(seed, place)
        word = tf.where(ended, PADDING, _drawn(allowed / config.temperature, config, own_seed))
        drawn_p = tf.gather(log_p, word, batch_dims=2)
        log_probability += tf.where(ended, 0.0, drawn_p)
        ended |= word == words.end
        return place + 1, rules.said(read, place, word), log_probability, ended, state

    read = rules.start(memory, config.beams, words, longest)
    none = tf.zeros(tf.shape(read)[:2])
    state = decoder.begin(memory, config.beams, longest + 1)
    _, read, log_probability, _, _ = rules.loop(
        lambda place, read, log_probability, ended, state: (
            ~tf.reduce_all(ended) & (place <= longest)  # of NaN no end is drawn
        ),
        step,
        (tf.constant(0), read, none, tf.zeros_like(none, tf.bool), state),
    )
    length = rules.lengths(read[:, :, 1:])
    score = rules.score(log_probability, length, config.length_penalty)
    return rules.in_order(read, log_probability, score)


def _drawn(logits: tf.Tensor, config: DecodingConfig, seed: tf.Tensor) -> tf.Tensor:
    """[b, n, v] -> int32 [b, n], a word each."""
    size = logits.shape[-1]
    sort = 0 < config.top_k < size or config.top_p < 1
    if sort:
        logits, words = tf.math.top_k(logits, min(config.top_k or size, size))
    if config.top_p < 1:
        # Words are dropped once those before them suffice, so that the likeliest always stays.
        before = tf.cumsum(tf.nn.softmax(logits), axis=-1, exclusive=True)
        logits = tf.where(before < config.top_p, logits, -np.inf)
    flat = tf.reshape(logits, [-1, logits.shape[-1]])
    drawn = tf.random.stateless_categorical(flat, 1, seed, dtype=tf.int32)
    # Of NaN it draws one past the last, and not a lookup but the loss is to tell of those.
    drawn = tf.minimum(tf.reshape(drawn, tf.shape(logits)[:2]), logits.shape[-1] - 1)
    return tf.gather(words, drawn, batch_dims=2) if sort else drawn
