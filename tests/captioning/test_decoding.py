"""Rules that all decoding methods share, ensembles and sampling, on tiny decoders."""

import dataclasses
import itertools
import math
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from imagetext.captioning.config import DecodingConfig
from imagetext.captioning.decoding import DecodingVocabulary, Ensemble, decode, sample, search
from imagetext.errors import UserError
from tests.captioning import naive_decoding as naive
from tests.captioning.toy_decoders import (
    WORDS,
    Markov,
    Recurrent,
    assert_equal,
    random_markov,
    unpack,
)

PHOTOS = 3


def test_excluded_words_are_never_generated():
    """Forbidden words are a thousand times likelier, and keep their share of the softmax."""
    decoder = random_markov(PHOTOS, 9, seed=5)
    decoder.logits[..., [0, 1, 3, 7]] += 7
    decoder.memory = {"table": tf.constant(decoder.logits)}
    vocabulary = DecodingVocabulary(start=1, end=2, forbidden=(3, 7))
    for config in (
        DecodingConfig(beams=4),
        DecodingConfig("diverse", beams=4, groups=2),
        DecodingConfig("sample", beams=50, top_k=4, top_p=0.9),
    ):
        decoded = decode(decoder, decoder.memory, config, vocabulary, 6)
        for photo in range(PHOTOS):
            for words, log_p, _ in unpack(decoded, photo):
                assert words[-1] == 2 and set(words[:-1]) <= {4, 5, 6, 8}
                expected = naive.log_probability(decoder.predictor(photo), words, 1)
                assert log_p == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("method", ["beam", "sample"])
def test_no_ngram_occurs_twice(size, method):
    # A strong loop 4 -> 5 -> 4, and an end that is very unlikely.
    logits = np.random.default_rng(0).normal(size=(PHOTOS, 8, 8))
    logits[:, 4, 5] += 6
    logits[:, 5, 4] += 6
    logits[:, :, 2] -= 6
    decoder = Markov(logits)
    repetitions = {}
    for no_repeat in (0, size):
        config = DecodingConfig(method, beams=4, no_repeat=no_repeat)
        decoded = decode(decoder, decoder.memory, config, WORDS, 12)
        captions = [words for photo in range(PHOTOS) for words, *_ in unpack(decoded, photo)]
        most_common = [
            Counter(tuple(w[i : i + size]) for i in range(len(w) - size + 1)).most_common(1)
            for w in captions
        ]
        repetitions[no_repeat] = sum(most[0][1] > 1 for most in most_common if most)
    assert repetitions[0] > 0 and repetitions[size] == 0


def test_stops_when_all_captions_have_ended_and_never_exceeds_the_length():
    logits = np.zeros([PHOTOS, 8, 8])
    logits[..., WORDS.end] = 20.0
    for config in (DecodingConfig(beams=1), DecodingConfig("sample", beams=3)):
        decoder = Markov(logits)
        decode(decoder, decoder.memory, config, WORDS, 50)
        assert decoder.positions == [0, 1]  # a word, and the end
    # Each further word costs 20, and longer captions gain nothing.
    decoder = Markov(logits)
    search(decoder, decoder.memory, DecodingConfig(beams=2, length_penalty=0.0), WORDS, 50)
    assert decoder.positions == [0, 1]
    logits[..., WORDS.end] = -20.0
    decoder = Markov(logits)
    search(decoder, decoder.memory, DecodingConfig(beams=2), WORDS, 5)
    assert decoder.positions == [0, 1, 2, 3, 4, 5] and decoder.max_tokens == 6


@pytest.mark.parametrize(
    "config",
    [
        DecodingConfig("diverse", beams=4, groups=2, no_repeat=2),
        DecodingConfig("sample", beams=4, top_k=5, top_p=0.9, no_repeat=2),
    ],
    ids=["diverse", "sample"],
)
def test_one_graph_takes_any_number_of_photos_also_when_saved(config, tmp_path):
    decoder = Recurrent(5, vocabulary=9, seed=6)
    image = decoder.memory["image"]
    eager = {n: decode(decoder, {"image": image[:n]}, config, WORDS, 6, (3, 4)) for n in (1, 5)}
    decoder.calls = 0
    module = tf.Module()
    module.caption = tf.function(
        lambda image: decode(decoder, {"image": image}, config, WORDS, 6, (3, 4))._asdict(),
        input_signature=[tf.TensorSpec([None, 9], tf.float32)],
    )
    graph = {n: module.caption(image[:n]) for n in (0, 1, 5)}
    assert decoder.calls == 1  # traced once, and not unrolled
    tf.saved_model.save(module, str(tmp_path / "saved"))
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    for n, expected in eager.items():
        for decoded in (graph[n], loaded.caption(image[:n])):
            np.testing.assert_array_equal(decoded["tokens"], expected.tokens)
            np.testing.assert_allclose(decoded["score"], expected.score, atol=1e-5)
            np.testing.assert_array_equal(decoded["length"], expected.length)
    assert graph[0]["tokens"].shape == (0, config.beams, 7)


# ---------------------------------------------------------------------------------- ensembles


def test_ensemble_averages_probabilities():
    members = [Recurrent(PHOTOS, vocabulary=8, seed=1), random_markov(PHOTOS, 8, seed=2)]
    memory = [member.memory for member in members]
    config = DecodingConfig(beams=3)
    decoded = search(Ensemble(members), memory, config, WORDS, 5)
    for photo in range(PHOTOS):
        predictors = [member.predictor(photo) for member in members]

        def predict(prefix, predictors=predictors):
            return list(np.log(np.mean([np.exp(each(prefix)) for each in predictors], axis=0)))

        assert_equal(decoded, naive.search(predict, config, WORDS, 5), photo)


def test_ensemble_of_one_equals_its_member():
    decoder = Recurrent(PHOTOS, vocabulary=8, seed=1)
    config = DecodingConfig(beams=3)
    alone = search(decoder, decoder.memory, config, WORDS, 5)
    decoded = search(Ensemble([decoder]), [decoder.memory], config, WORDS, 5)
    np.testing.assert_array_equal(alone.tokens, decoded.tokens)
    np.testing.assert_allclose(alone.score, decoded.score, atol=1e-5)


def test_invalid_ensembles_and_vocabularies_are_refused():
    with pytest.raises(UserError, match="at least one decoder"):
        Ensemble([])
    members = [random_markov(PHOTOS, 8, seed=1), random_markov(PHOTOS, 9, seed=2)]
    memory = [member.memory for member in members]
    with pytest.raises(UserError, match="vocabularies of 8 and 9 words"):
        search(Ensemble(members), memory, DecodingConfig(), WORDS, 3)
    for ids in ({"end": 1}, {"end": 0}, {"end": 2, "forbidden": (2,)}):
        with pytest.raises(UserError, match="must differ from padding"):
            DecodingVocabulary(start=1, **ids)


# ----------------------------------------------------------------------------------- sampling


def count_first_words(logits, config, draws=4000, seed=(1, 2)):
    """How often each word is drawn as the first one."""
    decoder = Markov(np.broadcast_to(logits, [1, len(logits), len(logits)]))
    config = dataclasses.replace(config, method="sample", beams=draws)
    decoded = sample(decoder, decoder.memory, config, WORDS, 1, seed)
    return np.bincount(np.asarray(decoded.tokens)[0, :, 0], minlength=len(logits))


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [4, 5, 6, 7, 8]),
        ({"temperature": 0.5}, [4, 5, 6, 7, 8]),
        ({"temperature": 3.0}, [4, 5, 6, 7, 8]),
        ({"top_k": 3}, [4, 6, 8]),
        ({"top_k": 1}, [6]),
        ({"top_k": 99}, [4, 5, 6, 7, 8]),
        # Probabilities of 6, 4, 8: 0.4, 0.25, 0.15; the third is needed to reach 0.7.
        ({"top_p": 0.7}, [4, 6, 8]),
        ({"top_p": 0.6}, [4, 6]),
        ({"top_p": 0.01}, [6]),
        # Of those three, 0.5 and 0.3125 reach 0.8.
        ({"top_k": 3, "top_p": 0.8}, [4, 6]),
        # A temperature of 1/2 squares them: 6 alone has 0.6, together with 4 it is 0.83.
        ({"temperature": 0.5, "top_p": 0.8}, [4, 6]),
    ],
    ids=str,
)
def test_words_are_drawn_as_often_as_they_are_likely(options, kept):
    probabilities = np.array([0, 0, 0, 0, 0.25, 0.1, 0.4, 0.1, 0.15])
    logits = np.log(np.maximum(probabilities, 1e-9)) + 0.7
    # Excluded words are likelier than all others and must not change anything.
    logits[[0, 1, 2, 3]] = 4.0
    counts = count_first_words(logits, DecodingConfig(**options))
    expected = np.zeros(9)
    expected[kept] = probabilities[kept] ** (1 / options.get("temperature", 1.0))
    expected *= counts.sum() / expected.sum()
    assert counts.sum() == 4000 and not counts[expected == 0].any()
    is_possible = expected > 0
    squares = ((counts - expected)[is_possible] ** 2 / expected[is_possible]).sum()
    assert squares < len(kept) - 1 + 4 * math.sqrt(2 * len(kept))


def test_whole_captions_are_drawn_as_often_as_they_are_likely():
    """Each next word is drawn from its own distribution, with independent noise."""
    decoder, draws = Recurrent(2, vocabulary=6, seed=8, sharpness=0.5), 6000
    config = DecodingConfig("sample", beams=draws)
    decoded = sample(decoder, decoder.memory, config, DecodingVocabulary(1, 2, (0,)), 2, (5, 6))
    for photo in range(2):
        predict = decoder.predictor(photo)
        counts = Counter(tuple(words) for words, *_ in unpack(decoded, photo))
        probabilities = {}
        for words in [c for n in (1, 2) for c in itertools.product([3, 4, 5], repeat=n)]:
            prefix, p = (1,), 1.0
            for word in (*words, 2)[: 2 if len(words) == 2 else None]:
                allowed = [3, 4, 5] if len(prefix) == 1 else [2, 3, 4, 5]  # no empty captions
                weights = np.exp(np.array(predict(prefix)))[allowed]
                p *= dict(zip(allowed, weights / weights.sum(), strict=True))[word]
                prefix += (word,)
            probabilities[(*words, 2)] = p
        assert sum(probabilities.values()) == pytest.approx(1)
        assert set(counts) <= set(probabilities)
        squares = sum((counts[c] - draws * p) ** 2 / (draws * p) for c, p in probabilities.items())
        assert squares < 11 + 4 * math.sqrt(2 * 12)


def test_samples_have_the_log_probability_of_the_model_best_first():
    decoder = Recurrent(PHOTOS, vocabulary=9, seed=3)
    config = DecodingConfig("sample", beams=8, temperature=2.0, top_k=4, length_penalty=0.7)
    decoded = decode(decoder, decoder.memory, config, WORDS, 5, seed=(9, 0))
    assert decoded.tokens.shape == (PHOTOS, 8, 6)
    for photo in range(PHOTOS):
        samples = unpack(decoded, photo)
        assert len(samples) == 8
        for words, log_p, score in samples:
            expected = naive.log_probability(decoder.predictor(photo), words, WORDS.start)
            assert log_p == pytest.approx(expected, abs=1e-5)
            assert score == pytest.approx(expected / len(words) ** 0.7, abs=1e-5)
    assert (np.diff(decoded.score, axis=1) <= 0).all()


def test_same_seed_draws_the_same_samples_and_another_seed_others():
    decoder = Recurrent(PHOTOS, vocabulary=9, seed=3, sharpness=0.5)
    config = DecodingConfig("sample", beams=8)
    first, again, other, unseeded = (
        np.asarray(decode(decoder, decoder.memory, config, WORDS, 5, seed).tokens)
        for seed in [(1, 0), tf.constant([1, 0], tf.int64), (2, 0), None]
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any() and (first != unseeded).any()
