"""Sample captions word by word: for variety, and for self-critical training.

config = DecodingConfig("sample", beams=5, top_p=0.9)
captions = sample(decoder, memory, config, vocabulary, max_words=24, seed=(7, 0))
captions.tokens                                     # [b, 5, 25]
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
    StepDecoder,
)


def sample(
    decoder: StepDecoder,
    memory: Any,
    config: DecodingConfig,
    vocabulary: DecodingVocabulary,
    max_words: int,
    seed: Any,
) -> DecodedCaptions:
    """Draw `config.beams` independent captions per photo.

    `temperature`, `top_k` and `top_p`, in this order, shape the distribution that words are drawn
    from; log probabilities are nevertheless those of the model, as in beam search.

    Args:
        decoder: The model.
        memory: The encoded photos, a nest of tensors [b, ...].
        config: How to decode.
        vocabulary: The ids with a special meaning.
        max_words: Number of words after which a caption ends.
        seed: Two integers or a tensor of them; the same seed gives the same captions.
    """
    seed = tf.convert_to_tensor(seed)

    def step(position, sequences, log_probability, ended, state):
        logits, state = decoder.step(memory, state, sequences[:, :, position], position)
        log_p = rules.log_probabilities(logits)
        size = log_p.shape[-1]
        mask = rules.token_mask(sequences, position, vocabulary, config.no_repeat, size)
        step_seed = tf.random.experimental.stateless_fold_in(seed, position)
        word = _draw((log_p + mask) / config.temperature, config, step_seed)
        word = tf.where(ended, PADDING, word)
        log_probability += tf.where(ended, 0.0, tf.gather(log_p, word, batch_dims=2))
        ended |= word == vocabulary.end
        sequences = rules.append_token(sequences, position, word)
        return position + 1, sequences, log_probability, ended, state

    sequences = rules.start_sequences(memory, config.beams, vocabulary, max_words)
    zeros = tf.zeros(tf.shape(sequences)[:2])
    state = decoder.initial_state(memory, config.beams, max_words + 1)
    _, sequences, log_probability, _, _ = rules.while_loop(
        lambda position, sequences, log_probability, ended, state: (
            ~tf.reduce_all(ended) & (position <= max_words)  # NaN logits never draw the end
        ),
        step,
        (tf.constant(0), sequences, zeros, tf.zeros_like(zeros, tf.bool), state),
    )
    length = rules.count_tokens(sequences[:, :, 1:])
    score = rules.normalise_length(log_probability, length, config.length_penalty)
    return rules.sort_captions(sequences, log_probability, score)


def _draw(logits: tf.Tensor, config: DecodingConfig, seed: tf.Tensor) -> tf.Tensor:
    """Draw a word from each distribution: [b, n, v] -> int32 [b, n]."""
    size = logits.shape[-1]
    is_sorted = 0 < config.top_k < size or config.top_p < 1
    if is_sorted:
        logits, words = tf.math.top_k(logits, min(config.top_k or size, size))
    if config.top_p < 1:
        # A word is dropped if those before it suffice, so the likeliest always stays.
        before = tf.cumsum(tf.nn.softmax(logits), axis=-1, exclusive=True)
        logits = tf.where(before < config.top_p, logits, -np.inf)
    flat = tf.reshape(logits, [-1, logits.shape[-1]])
    index = tf.random.stateless_categorical(flat, 1, seed, dtype=tf.int32)
    # NaN logits draw an index past the last; the loss should report them, not this lookup.
    index = tf.minimum(tf.reshape(index, tf.shape(logits)[:2]), logits.shape[-1] - 1)
    return tf.gather(words, index, batch_dims=2) if is_sorted else index
