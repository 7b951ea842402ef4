"""Decoders of a few numbers, each with the same thing said for one prefix in plain numpy."""

import numpy as np
import tensorflow as tf

from imagetext.captioning.decoding import DecodingVocabulary

#: Padding 0, start 1, end 2, unknown 3, and then the words.
WORDS = DecodingVocabulary(start=1, end=2, forbidden=(3,))


class Markov:
    """The next word hangs on the last one alone: a table [b, v, v] a photo. It has no state.

    With `drift` all becomes surer from place to place; without, captions made of the same pairs
    of words are equally likely. It notes the places it was asked for, and the room it was given.
    """

    def __init__(self, logits, drift=0.0):
        self.logits, self.drift = np.asarray(logits, np.float32), drift
        self.memory = {"table": tf.constant(self.logits)}
        self.places, self.room = [], None

    def begin(self, memory, beams, longest):
        self.room = longest
        return {}

    def step(self, memory, state, tokens, place):
        self.places.append(place)
        surer = 1 + self.drift * tf.cast(place, memory["table"].dtype)
        return tf.gather(memory["table"], tokens, batch_dims=1) * surer, state

    def speaker(self, photo):
        table = self.logits[photo].astype(np.float64)
        return lambda prefix: log_softmax(table[prefix[-1]] * (1 + self.drift * (len(prefix) - 1)))


class Recurrent:
    """The next word hangs on all before it and on their order: a small random RNN.

    Half of it is a recurrent state, half a cache with a place a token, as a transformer has. It
    counts how often `step` is called.
    """

    def __init__(self, photos, vocabulary, seed=0, width=5, sharpness=2.0):
        random = np.random.default_rng(seed)
        self.words = random.normal(size=(vocabulary, width)).astype(np.float32)
        self.turn = random.normal(size=(width, width)).astype(np.float32)
        self.out = random.normal(0, sharpness, (width, vocabulary)).astype(np.float32)
        self.seen = random.normal(size=(photos, vocabulary)).astype(np.float32)
        self.memory = {"seen": tf.constant(self.seen)}
        self.calls, self.room = 0, None

    def begin(self, memory, beams, longest):
        self.room = longest
        photos = tf.shape(memory["seen"])[0]
        return {
            "h": tf.zeros(tf.stack([photos, beams, len(self.turn)])),
            "cache": [tf.zeros(tf.stack([photos, beams, longest]), tf.int32)],
        }

    def step(self, memory, state, tokens, place):
        self.calls += 1
        cache = tf.where(tf.range(self.room) == place, tokens[..., None], state["cache"][0])
        h = tf.tanh(tf.einsum("bnw,wx->bnx", state["h"], self.turn) + tf.gather(self.words, tokens))
        past = tf.cast(tf.range(self.room) <= place, tf.float32)[:, None]
        swing = tf.cos(tf.range(self.room, dtype=tf.float32))[:, None] * past
        h_too = tf.reduce_sum(tf.gather(self.words, cache) * swing, axis=2)
        logits = tf.einsum("bnw,wv->bnv", h + tf.tanh(h_too), self.out)
        return logits + memory["seen"][:, None], {"h": h, "cache": [cache]}

    def speaker(self, photo):
        def speak(prefix):
            h = np.zeros(len(self.turn))
            for word in prefix:
                h = np.tanh(h @ self.turn.astype(np.float64) + self.words[word])
            swing = np.cos(np.arange(len(prefix)))[:, None]
            h = h + np.tanh((self.words[list(prefix)] * swing).sum(axis=0))
            return log_softmax(h @ self.out + self.seen[photo])

        return speak


def log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    top = logits.max()
    return list(logits - top - np.log(np.exp(logits - top).sum()))
