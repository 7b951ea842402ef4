"""Tiny decoders, each with an equivalent of its own for a single prefix, in plain numpy."""

import numpy as np
import tensorflow as tf

from imagetext.captioning.decoding import DecodingVocabulary

#: Padding 0, start 1, end 2, unknown 3, then the words.
WORDS = DecodingVocabulary(start=1, end=2, forbidden=(3,))


class Markov:
    """The next word depends only on the last one: a table of logits [photos, v, v]. Stateless.

    With `drift`, distributions become sharper from position to position; without it, captions that
    consist of the same pairs of words are equally likely. Records the positions of its steps and
    `max_tokens`.
    """

    def __init__(self, logits, drift=0.0):
        self.logits, self.drift = np.asarray(logits, np.float32), drift
        self.memory = {"table": tf.constant(self.logits)}
        self.positions, self.max_tokens = [], None

    def initial_state(self, memory, beams, max_tokens):
        self.max_tokens = max_tokens
        return {}

    def step(self, memory, state, tokens, position):
        self.positions.append(position)
        sharpness = 1 + self.drift * tf.cast(position, memory["table"].dtype)
        return tf.gather(memory["table"], tokens, batch_dims=1) * sharpness, state

    def predictor(self, photo):
        """A function from a prefix to the log probability of each next word."""
        table = self.logits[photo].astype(np.float64)
        return lambda prefix: log_softmax(table[prefix[-1]] * (1 + self.drift * (len(prefix) - 1)))


class Recurrent:
    """The next word depends on all words before it and on their order: a small random RNN.

    One half is a recurrent state, the other a cache with an entry per token, as in a transformer.
    Counts the calls of `step`.
    """

    def __init__(self, photos, vocabulary, seed=0, width=5, sharpness=2.0):
        random = np.random.default_rng(seed)
        self.words = random.normal(size=(vocabulary, width)).astype(np.float32)
        self.recurrent = random.normal(size=(width, width)).astype(np.float32)
        self.output = random.normal(0, sharpness, (width, vocabulary)).astype(np.float32)
        self.image = random.normal(size=(photos, vocabulary)).astype(np.float32)
        self.memory = {"image": tf.constant(self.image)}
        self.calls, self.max_tokens = 0, None

    def initial_state(self, memory, beams, max_tokens):
        self.max_tokens = max_tokens
        photos = tf.shape(memory["image"])[0]
        return {
            "hidden": tf.zeros(tf.stack([photos, beams, len(self.recurrent)])),
            "cache": [tf.zeros(tf.stack([photos, beams, max_tokens]), tf.int32)],
        }

    def step(self, memory, state, tokens, position):
        self.calls += 1
        positions = tf.range(self.max_tokens)
        cache = tf.where(positions == position, tokens[..., None], state["cache"][0])
        hidden = tf.einsum("bnw,wx->bnx", state["hidden"], self.recurrent)
        hidden = tf.tanh(hidden + tf.gather(self.words, tokens))
        is_past = tf.cast(positions <= position, tf.float32)[:, None]
        weights = tf.cos(tf.cast(positions, tf.float32))[:, None] * is_past
        cached = tf.reduce_sum(tf.gather(self.words, cache) * weights, axis=2)
        logits = tf.einsum("bnw,wv->bnv", hidden + tf.tanh(cached), self.output)
        return logits + memory["image"][:, None], {"hidden": hidden, "cache": [cache]}

    def predictor(self, photo):
        """A function from a prefix to the log probability of each next word."""

        def predict(prefix):
            hidden = np.zeros(len(self.recurrent))
            for word in prefix:
                hidden = np.tanh(hidden @ self.recurrent.astype(np.float64) + self.words[word])
            weights = np.cos(np.arange(len(prefix)))[:, None]
            hidden = hidden + np.tanh((self.words[list(prefix)] * weights).sum(axis=0))
            return log_softmax(hidden @ self.output + self.image[photo])

        return predict


def log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    top = logits.max()
    return list(logits - top - np.log(np.exp(logits - top).sum()))


def random_markov(photos, vocabulary, seed, sharpness=2.0):
    random = np.random.default_rng(seed)
    return Markov(random.normal(0, sharpness, (photos, vocabulary, vocabulary)), drift=0.1)


def unpack(decoded, photo):
    """Captions of a photo as the naive twin has them: [(words and end, log probability, score)]."""
    rows = zip(*(np.asarray(each)[photo] for each in decoded), strict=True)
    return [
        ([int(word) for word in tokens[:length]], float(log_p), float(score))
        for tokens, log_p, score, length in rows
        if length
    ]


def assert_equal(decoded, expected, photo=0):
    """Compare the captions of a photo with those of the naive twin."""
    captions = unpack(decoded, photo)
    assert [words for words, *_ in captions] == [words for words, *_ in expected]
    np.testing.assert_allclose(
        [scores for _, *scores in captions], [scores for _, *scores in expected], atol=1e-5
    )
