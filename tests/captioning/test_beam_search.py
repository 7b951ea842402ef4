"""Beam search and diverse beam search against their naive twin, on tiny decoders."""

import numpy as np
import pytest
import tensorflow as tf

from imagetext.captioning.config import DecodingConfig
from imagetext.captioning.decoding import rules, search
from tests.captioning import naive_decoding as naive
from tests.captioning.toy_decoders import (
    WORDS,
    Markov,
    Recurrent,
    assert_equal,
    log_softmax,
    random_markov,
    unpack,
)

PHOTOS = 3


def random_case(seed):
    """A decoder, a configuration and the largest number of words, all drawn from the seed."""
    random = np.random.default_rng(seed)
    vocabulary = int(random.integers(4, 10))
    make = [random_markov, Recurrent][seed % 2]
    groups = int(random.integers(1, 4)) if seed % 3 == 0 else 1
    config = DecodingConfig(
        method="diverse" if seed % 3 == 0 else "beam",
        beams=groups * int(random.integers(1, 5)),
        groups=groups,
        diversity=float(random.choice([0.0, 0.3, 1.0, 5.0])),
        length_penalty=float(random.choice([0.0, 0.7, 1.0, 2.0])),
        no_repeat=int(random.integers(0, 4)),
    )
    return make(PHOTOS, vocabulary, seed), config, int(random.integers(1, 7))


@pytest.mark.parametrize("first", range(0, 60, 10))
def test_equals_the_naive_twin(first):
    for seed in range(first, first + 10):
        decoder, config, max_words = random_case(seed)
        decoded = search(decoder, decoder.memory, config, WORDS, max_words)
        assert decoded.tokens.shape == (PHOTOS, config.beams, max_words + 1)
        for photo in range(PHOTOS):
            expected = naive.search(decoder.predictor(photo), config, WORDS, max_words)
            assert_equal(decoded, expected, photo)


@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.0, 2.0])
@pytest.mark.parametrize("no_repeat", [0, 2])
def test_enough_beams_find_all_captions_in_order(penalty, no_repeat):
    decoder, max_words = Recurrent(1, vocabulary=6, seed=3), 4
    # The end and two words: at most three to the power of the length at any time.
    config = DecodingConfig(beams=3**max_words, length_penalty=penalty, no_repeat=no_repeat)
    expected = naive.all_captions(decoder.predictor(0), config, WORDS, max_words)
    assert len(expected) == (2 ** (max_words + 1) - 2 if not no_repeat else len(expected)) > 10
    assert_equal(search(decoder, decoder.memory, config, WORDS, max_words), expected)


def test_wider_beam_finds_what_greedy_misses():
    improved = 0
    for seed in range(6):
        decoder = Recurrent(1, vocabulary=7, seed=seed)
        greedy, wide = (
            float(search(decoder, decoder.memory, config, WORDS, 4).score[0, 0])
            for config in (DecodingConfig(beams=1), DecodingConfig(beams=4**4))
        )
        best = naive.all_captions(decoder.predictor(0), DecodingConfig(), WORDS, 4)[0]
        assert wide == pytest.approx(best[2], abs=1e-5)
        assert greedy <= wide + 1e-6
        improved += greedy < wide - 1e-3
    assert improved >= 2


@pytest.mark.parametrize("penalty", [0.0, 0.7, 2.0])
def test_single_beam_is_greedy(penalty):
    for seed in range(4):
        decoder = Recurrent(PHOTOS, vocabulary=9, seed=seed)
        config = DecodingConfig(beams=1, length_penalty=penalty)
        decoded = search(decoder, decoder.memory, config, WORDS, 6)
        for photo in range(PHOTOS):
            ((words, log_p, score),) = unpack(decoded, photo)
            predict = decoder.predictor(photo)
            assert words == naive.greedy(predict, WORDS, 6)
            expected = naive.log_probability(predict, words, WORDS.start)
            assert log_p == pytest.approx(expected, abs=1e-5)
            assert score == pytest.approx(expected / len(words) ** penalty, abs=1e-5)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
def test_ties_go_to_the_earlier_beam_and_word(groups, penalty, monkeypatch):
    """Log probabilities are multiples of 1/2: their sums are exact, and often equal."""
    monkeypatch.setattr(rules, "log_probabilities", tf.identity)
    for seed in range(4):
        random = np.random.default_rng(seed)
        decoder = Markov(-random.integers(1, 4 if seed else 2, [PHOTOS, 7, 7]) / 2)
        config = DecodingConfig(
            "diverse", groups * (seed + 2), groups, diversity=0.5, length_penalty=penalty
        )
        decoded = search(decoder, decoder.memory, config, WORDS, 4)
        for photo in range(PHOTOS):
            table = decoder.logits[photo]
            expected = naive.search(lambda prefix, t=table: t[prefix[-1]], config, WORDS, 4)
            assert_equal(decoded, expected, photo)


def test_zeros_follow_the_end_and_lengths_include_it():
    decoder = Recurrent(PHOTOS, vocabulary=8, seed=1)
    decoded = search(decoder, decoder.memory, DecodingConfig(beams=4), WORDS, 5)
    for tokens, length in zip(
        np.reshape(decoded.tokens, [-1, 6]), np.reshape(decoded.length, [-1]), strict=True
    ):
        assert tokens[length - 1] == WORDS.end
        assert not tokens[length:].any() and not np.isin(tokens[:length], WORDS.excluded).any()
    assert decoded.tokens.dtype == decoded.length.dtype == tf.int32
    assert decoded.score.dtype == decoded.log_probability.dtype == tf.float32
    assert (np.diff(decoded.score, axis=1) <= 0).all()


def test_forced_end_counts_with_its_probability():
    logits = np.zeros([1, 6, 6])
    logits[..., WORDS.end] = -9
    decoder = Markov(logits)
    decoded = search(decoder, decoder.memory, DecodingConfig(beams=1), WORDS, 2)
    word, end = (log_softmax(logits[0, 0])[index] for index in (4, WORDS.end))
    np.testing.assert_array_equal(decoded.tokens, [[[4, 4, WORDS.end]]])
    assert float(decoded.log_probability[0, 0]) == pytest.approx(2 * word + end, abs=1e-5)


def test_photos_do_not_influence_each_other():
    for config in (
        DecodingConfig(beams=3, no_repeat=2),
        DecodingConfig("diverse", beams=4, groups=2),
        DecodingConfig(beams=1),
    ):
        decoder = Recurrent(PHOTOS, vocabulary=9, seed=2)
        together = search(decoder, decoder.memory, config, WORDS, 7)
        for photo in range(PHOTOS):
            memory = {"image": decoder.memory["image"][photo : photo + 1]}
            alone = search(decoder, memory, config, WORDS, 7)
            np.testing.assert_array_equal(alone.tokens[0], together.tokens[photo])
            np.testing.assert_allclose(alone.score[0], together.score[photo], atol=1e-6)


def test_beams_without_a_caption_are_empty():
    """With a single word there is one caption per group; all other rows are marked as empty."""
    decoder = Recurrent(2, vocabulary=5, seed=0)
    for config in (DecodingConfig(beams=7), DecodingConfig("diverse", beams=8, groups=2)):
        decoded = search(decoder, decoder.memory, config, WORDS, 1)
        is_used = np.isfinite(decoded.score)
        assert (is_used.sum(axis=1) == config.groups).all()
        assert {tuple(words) for words, *_ in unpack(decoded, 0)} == {(4, 2)}
        assert (np.asarray(decoded.score)[~is_used] == -np.inf).all()
        assert (np.asarray(decoded.log_probability)[~is_used] == -np.inf).all()
        assert not np.asarray(decoded.length)[~is_used].any()
        assert not np.asarray(decoded.tokens)[~is_used].any()


def test_groups_without_diversity_are_equal_searches():
    decoder = Recurrent(PHOTOS, vocabulary=9, seed=4)
    config = DecodingConfig("diverse", beams=6, groups=2, diversity=0.0)
    two_groups = search(decoder, decoder.memory, config, WORDS, 5)
    one_group = search(decoder, decoder.memory, DecodingConfig(beams=3), WORDS, 5)
    for photo in range(PHOTOS):
        expected = [caption for caption in unpack(one_group, photo) for _ in range(2)]
        assert_equal(two_groups, expected, photo)


def test_diversity_makes_groups_differ():
    decoder = Recurrent(PHOTOS, vocabulary=12, seed=4)
    distinct = {}
    for diversity in (0.0, 1000.0):
        config = DecodingConfig("diverse", beams=4, groups=4, diversity=diversity)
        decoded = search(decoder, decoder.memory, config, WORDS, 5)
        # Single-beam groups end after different numbers of words, but all choose a first word.
        first_words = [{int(row[0]) for row in photo} for photo in np.asarray(decoded.tokens)]
        distinct[diversity] = [len(words) for words in first_words]
        for photo in range(PHOTOS):
            for words, log_p, _ in unpack(decoded, photo):
                expected = naive.log_probability(decoder.predictor(photo), words, WORDS.start)
                assert log_p == pytest.approx(expected, abs=1e-5)
    assert distinct[0.0] == [1] * PHOTOS and min(distinct[1000.0]) >= 3


def test_half_precision_logits_are_scored_in_float32():
    decoder = random_markov(PHOTOS, 6, seed=1)
    decoder.drift = 0.0
    decoder.memory = {"table": tf.cast(decoder.logits, tf.bfloat16)}
    decoder.logits = np.asarray(tf.cast(decoder.memory["table"], tf.float32))
    config = DecodingConfig(beams=3)
    decoded = search(decoder, decoder.memory, config, WORDS, 4)
    assert_equal(decoded, naive.search(decoder.predictor(0), config, WORDS, 4))
