"""Beams, diverse beams and samples against their naive twin, on decoders of a few numbers."""

import dataclasses
import itertools
import math
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from imagetext.captioning.config import DecodingConfig
from imagetext.captioning.decoding import DecodingVocabulary, Ensemble, decode, sample, search
from imagetext.captioning.decoding import rules as decoding_rules
from imagetext.errors import UserError
from tests.captioning import naive_decoding as naive
from tests.captioning.toy_decoders import WORDS, Markov, Recurrent, log_softmax

PHOTOS = 3


def captions(found, photo):
    """[(words and end, log probability, score)] of the rows that hold a caption."""
    rows = zip(*(np.asarray(each)[photo] for each in found), strict=True)
    return [
        ([int(word) for word in tokens[:length]], float(log_p), float(score))
        for tokens, log_p, score, length in rows
        if length
    ]


def assert_same(found, expected, photo=0):
    got = captions(found, photo)
    assert [caption for caption, *_ in got] == [caption for caption, *_ in expected]
    np.testing.assert_allclose(
        [numbers for _, *numbers in got], [numbers for _, *numbers in expected], atol=1e-5
    )


def random_markov(vocabulary, seed, photos=PHOTOS, sharpness=2.0):
    random = np.random.default_rng(seed)
    return Markov(random.normal(0, sharpness, (photos, vocabulary, vocabulary)), drift=0.1)


def random_case(seed):
    """A decoder, rules and a longest length, all drawn from the seed."""
    random = np.random.default_rng(seed)
    vocabulary = int(random.integers(4, 10))
    make = [random_markov, lambda size, seed: Recurrent(PHOTOS, size, seed)][seed % 2]
    groups = int(random.integers(1, 4)) if seed % 3 == 0 else 1
    config = DecodingConfig(
        method="diverse" if seed % 3 == 0 else "beam",
        beams=groups * int(random.integers(1, 5)),
        groups=groups,
        diversity=float(random.choice([0.0, 0.3, 1.0, 5.0])),
        length_penalty=float(random.choice([0.0, 0.7, 1.0, 2.0])),
        no_repeat=int(random.integers(0, 4)),
    )
    return make(vocabulary, seed), config, int(random.integers(1, 7))


@pytest.mark.parametrize("first", range(0, 60, 10))
def test_equals_the_naive_twin(first):
    for seed in range(first, first + 10):
        decoder, config, longest = random_case(seed)
        found = search(decoder, decoder.memory, config, WORDS, longest)
        assert found.tokens.shape == (PHOTOS, config.beams, longest + 1)
        for photo in range(PHOTOS):
            expected = naive.search(decoder.predictor(photo), config, WORDS, longest)
            assert_same(found, expected, photo)


@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.0, 2.0])
@pytest.mark.parametrize("no_repeat", [0, 2])
def test_beams_for_all_captions_find_all_in_order(penalty, no_repeat):
    decoder, longest = Recurrent(1, vocabulary=6, seed=3), 4
    # End and two words: at most three to the power of the length at any time.
    config = DecodingConfig(beams=3**longest, length_penalty=penalty, no_repeat=no_repeat)
    every = naive.all_captions(decoder.predictor(0), config, WORDS, longest)
    assert len(every) == (2 ** (longest + 1) - 2 if not no_repeat else len(every)) > 10
    assert_same(search(decoder, decoder.memory, config, WORDS, longest), every)


def test_a_wider_beam_finds_what_greedy_misses():
    gained = 0
    for seed in range(6):
        decoder = Recurrent(1, vocabulary=7, seed=seed)
        scores = [
            float(search(decoder, decoder.memory, rules, WORDS, 4).score[0, 0])
            for rules in (DecodingConfig(beams=1), DecodingConfig(beams=4**4))
        ]
        best = naive.all_captions(decoder.predictor(0), DecodingConfig(), WORDS, 4)[0]
        assert scores[1] == pytest.approx(best[2], abs=1e-5)
        assert scores[0] <= scores[1] + 1e-6
        gained += scores[0] < scores[1] - 1e-3
    assert gained >= 2


@pytest.mark.parametrize("penalty", [0.0, 0.7, 2.0])
def test_one_beam_is_greedy(penalty):
    for seed in range(4):
        decoder = Recurrent(PHOTOS, vocabulary=9, seed=seed)
        config = DecodingConfig(beams=1, length_penalty=penalty)
        found = search(decoder, decoder.memory, config, WORDS, 6)
        for photo in range(PHOTOS):
            ((caption, log_p, score),) = captions(found, photo)
            speak = decoder.predictor(photo)
            assert caption == naive.greedy(speak, WORDS, 6)
            expected = naive.log_probability(speak, caption, WORDS.start)
            assert log_p == pytest.approx(expected, abs=1e-5)
            assert score == pytest.approx(expected / len(caption) ** penalty, abs=1e-5)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
def test_ties_go_to_the_earlier_beam_and_word(groups, penalty, monkeypatch):
    """Log probabilities of whole halves: their sums are exact, and often the same."""
    monkeypatch.setattr(decoding_rules, "log_probabilities", tf.identity)
    for seed in range(4):
        random = np.random.default_rng(seed)
        decoder = Markov(-random.integers(1, 4 if seed else 2, [PHOTOS, 7, 7]) / 2)
        config = DecodingConfig(
            "diverse", groups * (seed + 2), groups, diversity=0.5, length_penalty=penalty
        )
        found = search(decoder, decoder.memory, config, WORDS, 4)
        for photo in range(PHOTOS):
            table = decoder.logits[photo]
            expected = naive.search(lambda prefix, t=table: t[prefix[-1]], config, WORDS, 4)
            assert_same(found, expected, photo)


def test_zeros_follow_the_end_and_lengths_count_it():
    decoder = Recurrent(PHOTOS, vocabulary=8, seed=1)
    found = search(decoder, decoder.memory, DecodingConfig(beams=4), WORDS, 5)
    for tokens, length in zip(
        np.reshape(found.tokens, [-1, 6]), np.reshape(found.length, [-1]), strict=True
    ):
        assert tokens[length - 1] == WORDS.end
        assert not tokens[length:].any() and not np.isin(tokens[:length], WORDS.excluded).any()
    assert found.tokens.dtype == found.length.dtype == tf.int32
    assert found.score.dtype == found.log_probability.dtype == tf.float32
    assert (np.diff(found.score, axis=1) <= 0).all()


def test_a_forced_end_counts_with_its_probability():
    logits = np.zeros([1, 6, 6])
    logits[..., WORDS.end] = -9
    decoder = Markov(logits)
    found = search(decoder, decoder.memory, DecodingConfig(beams=1), WORDS, 2)
    word, end = (log_softmax(logits[0, 0])[index] for index in (4, WORDS.end))
    np.testing.assert_array_equal(found.tokens, [[[4, 4, WORDS.end]]])
    assert float(found.log_probability[0, 0]) == pytest.approx(2 * word + end, abs=1e-5)


def test_words_are_not_said_however_likely():
    """Forbidden words have a thousandfold probability and keep it in the softmax."""
    decoder = random_markov(9, seed=5)
    decoder.logits[..., [0, 1, 3, 7]] += 7
    decoder.memory = {"table": tf.constant(decoder.logits)}
    words = DecodingVocabulary(start=1, end=2, forbidden=(3, 7))
    for config in (
        DecodingConfig(beams=4),
        DecodingConfig("diverse", beams=4, groups=2),
        DecodingConfig("sample", beams=50, top_k=4, top_p=0.9),
    ):
        found = decode(decoder, decoder.memory, config, words, 6)
        for photo in range(PHOTOS):
            for caption, log_p, _ in captions(found, photo):
                assert caption[-1] == 2 and set(caption[:-1]) <= {4, 5, 6, 8}
                expected = naive.log_probability(decoder.predictor(photo), caption, 1)
                assert log_p == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("run", [1, 2, 3])
@pytest.mark.parametrize("method", ["beam", "sample"])
def test_no_run_is_said_twice(run, method):
    # A table with a strong loop 4 -> 5 -> 4 and hardly ever an end.
    logits = np.random.default_rng(0).normal(size=(PHOTOS, 8, 8))
    logits[:, 4, 5] += 6
    logits[:, 5, 4] += 6
    logits[:, :, 2] -= 6
    decoder = Markov(logits)
    runs_twice = {}
    for no_repeat in (0, run):
        config = DecodingConfig(method, beams=4, no_repeat=no_repeat)
        found = decode(decoder, decoder.memory, config, WORDS, 12)
        said = [caption for photo in range(PHOTOS) for caption, *_ in captions(found, photo)]
        counts = [
            Counter(tuple(c[i : i + run]) for i in range(len(c) - run + 1)).most_common(1)
            for c in said
        ]
        runs_twice[no_repeat] = sum(most[0][1] > 1 for most in counts if most)
    assert runs_twice[0] > 0 and runs_twice[run] == 0


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


def test_beams_wider_than_the_vocabulary():
    """One word: it once. All other rows are marked as empty."""
    decoder = Recurrent(2, vocabulary=5, seed=0)
    for config in (DecodingConfig(beams=7), DecodingConfig("diverse", beams=8, groups=2)):
        found = search(decoder, decoder.memory, config, WORDS, 1)
        there = np.isfinite(found.score)
        assert (there.sum(axis=1) == config.groups).all()
        assert {tuple(c) for c, *_ in captions(found, 0)} == {(4, 2)}
        assert (np.asarray(found.score)[~there] == -np.inf).all()
        assert (np.asarray(found.log_probability)[~there] == -np.inf).all()
        assert not np.asarray(found.length)[~there].any()
        assert not np.asarray(found.tokens)[~there].any()


def test_groups_without_diversity_are_one_search_each():
    decoder = Recurrent(PHOTOS, vocabulary=9, seed=4)
    rules = DecodingConfig("diverse", beams=6, groups=2, diversity=0.0)
    twice = search(decoder, decoder.memory, rules, WORDS, 5)
    once = search(decoder, decoder.memory, DecodingConfig(beams=3), WORDS, 5)
    for photo in range(PHOTOS):
        expected = [row for row in captions(once, photo) for _ in range(2)]
        assert_same(twice, expected, photo)


def test_diversity_makes_the_groups_differ():
    decoder = Recurrent(PHOTOS, vocabulary=12, seed=4)
    distinct = {}
    for diversity in (0.0, 1000.0):
        config = DecodingConfig("diverse", beams=4, groups=4, diversity=diversity)
        found = search(decoder, decoder.memory, config, WORDS, 5)
        # Groups of one end at different words, but say the first one all at the same time.
        firsts = [{int(row[0]) for row in photo} for photo in np.asarray(found.tokens)]
        distinct[diversity] = [len(words) for words in firsts]
        for photo in range(PHOTOS):
            for caption, log_p, _ in captions(found, photo):
                expected = naive.log_probability(decoder.predictor(photo), caption, WORDS.start)
                assert log_p == pytest.approx(expected, abs=1e-5)
    assert distinct[0.0] == [1] * PHOTOS and min(distinct[1000.0]) >= 3


def test_it_stops_when_all_have_ended_and_never_asks_for_more_than_there_is_room():
    logits = np.zeros([PHOTOS, 8, 8])
    logits[..., WORDS.end] = 20.0
    for config in (DecodingConfig(beams=1), DecodingConfig("sample", beams=3)):
        decoder = Markov(logits)
        decode(decoder, decoder.memory, config, WORDS, 50)
        assert decoder.positions == [0, 1]  # a word, and the end
    # Each further word costs 20, and nothing is to be gained by more.
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
def test_one_graph_for_any_number_of_photos_also_when_saved(config, tmp_path):
    decoder = Recurrent(5, vocabulary=9, seed=6)
    seen = decoder.memory["image"]
    eager = {n: decode(decoder, {"image": seen[:n]}, config, WORDS, 6, (3, 4)) for n in (1, 5)}
    decoder.calls = 0
    module = tf.Module()
    module.caption = tf.function(
        lambda seen: decode(decoder, {"image": seen}, config, WORDS, 6, (3, 4))._asdict(),
        input_signature=[tf.TensorSpec([None, 9], tf.float32)],
    )
    graph = {n: module.caption(seen[:n]) for n in (0, 1, 5)}
    assert decoder.calls == 1  # traced once, and not unrolled
    tf.saved_model.save(module, str(tmp_path / "saved"))
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    for n, expected in eager.items():
        for found in (graph[n], loaded.caption(seen[:n])):
            np.testing.assert_array_equal(found["tokens"], expected.tokens)
            np.testing.assert_allclose(found["score"], expected.score, atol=1e-5)
            np.testing.assert_array_equal(found["length"], expected.length)
    assert graph[0]["tokens"].shape == (0, config.beams, 7)


def test_half_precision_logits_are_scored_in_float32():
    decoder = random_markov(6, seed=1)
    decoder.drift = 0.0
    decoder.memory = {"table": tf.cast(decoder.logits, tf.bfloat16)}
    decoder.logits = np.asarray(tf.cast(decoder.memory["table"], tf.float32))
    found = search(decoder, decoder.memory, DecodingConfig(beams=3), WORDS, 4)
    assert_same(found, naive.search(decoder.predictor(0), DecodingConfig(beams=3), WORDS, 4))


def test_an_ensemble_answers_by_the_mean_of_probabilities():
    members = [Recurrent(PHOTOS, vocabulary=8, seed=1), random_markov(8, seed=2)]
    both = Ensemble(members)
    memory = [member.memory for member in members]
    config = DecodingConfig(beams=3)
    found = search(both, memory, config, WORDS, 5)
    for photo in range(PHOTOS):
        speakers = [member.predictor(photo) for member in members]

        def speak(prefix, speakers=speakers):
            return list(np.log(np.mean([np.exp(each(prefix)) for each in speakers], axis=0)))

        assert_same(found, naive.search(speak, config, WORDS, 5), photo)


def test_an_ensemble_of_one_is_that_one():
    decoder = Recurrent(PHOTOS, vocabulary=8, seed=1)
    config = DecodingConfig(beams=3)
    alone = search(decoder, decoder.memory, config, WORDS, 5)
    found = search(Ensemble([decoder]), [decoder.memory], config, WORDS, 5)
    np.testing.assert_array_equal(alone.tokens, found.tokens)
    np.testing.assert_allclose(alone.score, found.score, atol=1e-5)


def test_ensembles_and_words_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="at least one decoder"):
        Ensemble([])
    members = [random_markov(8, seed=1), random_markov(9, seed=2)]
    memory = [member.memory for member in members]
    with pytest.raises(UserError, match="vocabularies of 8 and 9 words"):
        search(Ensemble(members), memory, DecodingConfig(), WORDS, 3)
    for words in ({"end": 1}, {"end": 0}, {"end": 2, "forbidden": (2,)}):
        with pytest.raises(UserError, match="must differ from padding"):
            DecodingVocabulary(start=1, **words)


def first_words(logits, config, draws=4000, seed=(1, 2)):
    """How often each word was drawn first."""
    decoder = Markov(np.broadcast_to(logits, [1, len(logits), len(logits)]))
    config = dataclasses.replace(config, method="sample", beams=draws)
    found = sample(decoder, decoder.memory, config, WORDS, 1, seed)
    return np.bincount(np.asarray(found.tokens)[0, :, 0], minlength=len(logits))


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ({}, [4, 5, 6, 7, 8]),
        ({"temperature": 0.5}, [4, 5, 6, 7, 8]),
        ({"temperature": 3.0}, [4, 5, 6, 7, 8]),
        ({"top_k": 3}, [4, 6, 8]),
        ({"top_k": 1}, [6]),
        ({"top_k": 99}, [4, 5, 6, 7, 8]),
        # Probabilities of 6, 4, 8: 0.4, 0.25, 0.15 -- the third is needed to reach 0.7.
        ({"top_p": 0.7}, [4, 6, 8]),
        ({"top_p": 0.6}, [4, 6]),
        ({"top_p": 0.01}, [6]),
        # Of those three, 0.5 and 0.3125 make 0.8.
        ({"top_k": 3, "top_p": 0.8}, [4, 6]),
        # A temperature of 1/2 squares them: 6 alone has 0.6, with 4 0.83.
        ({"temperature": 0.5, "top_p": 0.8}, [4, 6]),
    ],
    ids=str,
)
def test_words_are_drawn_as_often_as_they_are_likely(rules, kept):
    share = np.array([0, 0, 0, 0, 0.25, 0.1, 0.4, 0.1, 0.15])
    logits = np.log(np.maximum(share, 1e-9)) + 0.7
    # What may not be said is likelier than all the rest and must change nothing.
    logits[[0, 1, 2, 3]] = 4.0
    counts = first_words(logits, DecodingConfig(**rules))
    expected = np.zeros(9)
    expected[kept] = share[kept] ** (1 / rules.get("temperature", 1.0))
    expected *= counts.sum() / expected.sum()
    assert counts.sum() == 4000 and not counts[expected == 0].any()
    there = expected > 0
    squares = ((counts - expected)[there] ** 2 / expected[there]).sum()
    assert squares < len(kept) - 1 + 4 * math.sqrt(2 * len(kept))


def test_whole_samples_are_drawn_as_often_as_they_are_likely():
    """Each next word is drawn from its own distribution, with noise of its own."""
    decoder, draws = Recurrent(2, vocabulary=6, seed=8, sharpness=0.5), 6000
    config = DecodingConfig("sample", beams=draws)
    found = sample(decoder, decoder.memory, config, DecodingVocabulary(1, 2, (0,)), 2, (5, 6))
    for photo in range(2):
        speak = decoder.predictor(photo)
        counts = Counter(tuple(caption) for caption, *_ in captions(found, photo))
        likely = {}
        for words in [c for n in (1, 2) for c in itertools.product([3, 4, 5], repeat=n)]:
            prefix, p = (1,), 1.0
            for word in (*words, 2)[: 2 if len(words) == 2 else None]:
                may = [3, 4, 5] if len(prefix) == 1 else [2, 3, 4, 5]  # a caption has a word
                odds = np.exp(np.array(speak(prefix)))[may]
                p *= dict(zip(may, odds / odds.sum(), strict=True))[word]
                prefix += (word,)
            likely[(*words, 2)] = p
        assert sum(likely.values()) == pytest.approx(1) and set(counts) <= set(likely)
        squares = sum((counts[c] - draws * p) ** 2 / (draws * p) for c, p in likely.items())
        assert squares < 11 + 4 * math.sqrt(2 * 12)


def test_samples_carry_the_models_own_log_probability_best_first():
    decoder = Recurrent(PHOTOS, vocabulary=9, seed=3)
    config = DecodingConfig("sample", beams=8, temperature=2.0, top_k=4, length_penalty=0.7)
    found = decode(decoder, decoder.memory, config, WORDS, 5, seed=(9, 0))
    assert found.tokens.shape == (PHOTOS, 8, 6)
    for photo in range(PHOTOS):
        drawn = captions(found, photo)
        assert len(drawn) == 8
        for caption, log_p, score in drawn:
            expected = naive.log_probability(decoder.predictor(photo), caption, WORDS.start)
            assert log_p == pytest.approx(expected, abs=1e-5)
            assert score == pytest.approx(expected / len(caption) ** 0.7, abs=1e-5)
    assert (np.diff(found.score, axis=1) <= 0).all()


def test_a_seed_draws_the_same_again_and_another_draws_anew():
    decoder = Recurrent(PHOTOS, vocabulary=9, seed=3, sharpness=0.5)
    config = DecodingConfig("sample", beams=8)
    first, again, other, unseeded = (
        np.asarray(decode(decoder, decoder.memory, config, WORDS, 5, seed).tokens)
        for seed in [(1, 0), tf.constant([1, 0], tf.int64), (2, 0), None]
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any() and (first != unseeded).any()
