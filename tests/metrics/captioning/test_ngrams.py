"""BLEU, ROUGE-L and CIDEr-D against pycocoevalcap's numbers, and against naive twins."""

import json
import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from imagetext.metrics.captioning.bleu import Bleu, bleu_scores
from imagetext.metrics.captioning.cider import Cider
from imagetext.metrics.captioning.ngrams import NgramIndex
from imagetext.metrics.captioning.rouge import rouge_l
from imagetext.metrics.captioning.tokens import tokenize

REFERENCE = json.loads(Path(__file__).with_name("coco_reference.json").read_text(encoding="utf-8"))
CANDIDATES = [tokenize(caption) for caption in REFERENCE["candidates"]]
REFERENCES = [[tokenize(caption) for caption in image] for image in REFERENCE["references"]]


def some_captions(seed, images=40, words="abcdefg"):
    """Repeating words, empty captions, one to five references."""
    rng = random.Random(seed)

    def caption():
        return [rng.choice(words) for _ in range(rng.randint(0, 9))]

    references = [[caption() for _ in range(rng.randint(1, 5))] for _ in range(images)]
    return [caption() + ["z"] * rng.randint(0, 1) for _ in range(images)], references


def ngrams(caption, length):
    return Counter(zip(*(caption[start:] for start in range(length)), strict=False))


def naive_cider(candidate, references, corpus):
    frequency = Counter()
    for image in corpus:
        frequency.update({(n, g) for c in image for n in range(1, 5) for g in ngrams(c, n)})

    def vector(caption, n):
        rarity = {g: math.log(len(corpus) / max(1, frequency[n, g])) for g in ngrams(caption, n)}
        return {g: many * rarity[g] for g, many in ngrams(caption, n).items()}

    def norm(weights):
        return math.sqrt(sum(weight**2 for weight in weights.values()))

    total = 0.0
    for reference in references:
        longer = max(len(candidate) - 1, 0) - max(len(reference) - 1, 0)
        for n in range(1, 5):
            one, other = vector(candidate, n), vector(reference, n)
            common = sum(min(one[g], other.get(g, 0)) * other.get(g, 0) for g in one)
            if norm(one) and norm(other):
                total += common / norm(one) / norm(other) * math.exp(-(longer**2) / 72)
    return 10 * total / 4 / len(references)


def naive_bleu(pairs):
    correct, guessed, words, closest = [0] * 4, [0] * 4, 0, 0
    for candidate, references in pairs:
        words += len(candidate)
        closest += min((abs(len(r) - len(candidate)), len(r)) for r in references)[1]
        for n in range(1, 5):
            guessed[n - 1] += max(len(candidate) - n + 1, 0)
            for gram, many in ngrams(candidate, n).items():
                correct[n - 1] += min(many, max(ngrams(r, n)[gram] for r in references))
    precisions = [(c + 1e-15) / (g + 1e-9) for c, g in zip(correct, guessed, strict=True)]
    ratio = (words + 1e-15) / (closest + 1e-9)
    penalty = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    return [math.prod(precisions[:n]) ** (1 / n) * penalty for n in range(1, 5)]


def naive_rouge(candidate, references):
    def common(one, other):
        table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
        for i, word in enumerate(one):
            for j, same in enumerate(other):
                best = max(table[i][j + 1], table[i + 1][j])
                table[i + 1][j + 1] = table[i][j] + 1 if word == same else best
        return table[-1][-1]

    candidate = candidate or [""]
    references = [reference or [""] for reference in references]
    precision = max(common(candidate, r) / len(candidate) for r in references)
    recall = max(common(candidate, r) / len(r) for r in references)
    if not precision or not recall:
        return 0.0
    return (1 + 1.2**2) * precision * recall / (recall + 1.2**2 * precision)


def test_cider_is_pycocoevalcaps():
    scores = Cider(REFERENCES).scores(CANDIDATES)
    np.testing.assert_allclose(scores, REFERENCE["cider_d"]["of_each"], atol=1e-9)
    assert scores.mean() == pytest.approx(REFERENCE["cider_d"]["corpus"], abs=1e-9)
    assert scores.max() > 1


def test_bleu_is_pycocoevalcaps():
    counts = Bleu(REFERENCES).counts(CANDIDATES)
    np.testing.assert_allclose(bleu_scores(counts), REFERENCE["bleu"]["of_each"], atol=1e-9)
    corpus = bleu_scores(counts.sum(0, keepdims=True))[0]
    np.testing.assert_allclose(corpus, REFERENCE["bleu"]["corpus"], atol=1e-9)


def test_rouge_is_pycocoevalcaps():
    scores = rouge_l(CANDIDATES, REFERENCES)
    np.testing.assert_allclose(scores, REFERENCE["rouge_l"]["of_each"], atol=1e-9)


def test_rouge_of_captions_without_words():
    assert rouge_l([[], [], ["a"]], [[[]], [["a"]], [[]]]).tolist() == [1, 0, 0]


@pytest.mark.parametrize("seed", range(5))
def test_naive_twins_agree(seed):
    candidates, references = some_captions(seed)
    pairs = list(zip(candidates, references, strict=True))
    np.testing.assert_allclose(
        Cider(references).scores(candidates),
        [naive_cider(c, r, references) for c, r in pairs],
        atol=1e-9,
    )
    counts = Bleu(references).counts(candidates)
    np.testing.assert_allclose(
        bleu_scores(counts), [naive_bleu([pair]) for pair in pairs], atol=1e-12
    )
    corpus = bleu_scores(counts.sum(0, keepdims=True))[0]
    np.testing.assert_allclose(corpus, naive_bleu(pairs), atol=1e-12)
    np.testing.assert_allclose(
        rouge_l(candidates, references), [naive_rouge(c, r) for c, r in pairs], atol=1e-12
    )


def test_cider_takes_any_captions_of_any_images():
    candidates, references = some_captions(7)
    cider = Cider(references)
    images = np.array([5, 0, 5, 39, 5])
    captions = [candidates[0], candidates[1], ["never", "said"], [], references[5][0]]
    expected = [
        naive_cider(c, references[i], references) for c, i in zip(captions, images, strict=True)
    ]
    np.testing.assert_allclose(cider.scores(captions, images), expected, atol=1e-9)
    np.testing.assert_allclose(cider.scores(captions[2:3], [5]), expected[2:3], atol=1e-9)
    assert cider.scores([], []).shape == (0,)


def test_document_frequencies_may_come_from_other_images():
    """Including n-grams that only the captions of the other images contain."""
    candidates, references = some_captions(3, 10, "abcde")
    _, corpus = some_captions(4, 25, "cdefz")
    scores = Cider(references, document_frequency_from=corpus).scores(candidates)
    pairs = zip(candidates, references, strict=True)
    np.testing.assert_allclose(scores, [naive_cider(c, r, corpus) for c, r in pairs], atol=1e-9)
    assert not np.allclose(scores, Cider(references).scores(candidates))


def test_an_unknown_image_is_an_error():
    cider = Cider([[["a"]], [["b"]]], document_frequency_from=[[["a"]]] * 3)
    with pytest.raises(ValueError, match="from 0 to 1"):
        cider.scores([["a"]], [2])
    with pytest.raises(ValueError, match="1 candidates for 2 images"):
        cider.scores([["a"]])


def test_references_without_any_word_score_nothing():
    assert Cider([[[]], [[], []]]).scores([["a"], []]).tolist() == [0, 0]
    assert bleu_scores(Bleu([[[]]]).counts([["a"]]))[0, 0] < 1e-6


def test_ngrams_are_counted_as_by_a_counter():
    candidates, references = some_captions(11)
    index = NgramIndex(references)
    captions = [caption for image in references for caption in image]
    for texts, grams in ((captions, index.grams), (candidates, index.count(candidates))):
        counts = Counter()
        for caption, order, many in zip(grams.caption, grams.order, grams.count, strict=True):
            counts[int(caption), int(order), int(many)] += 1
        expected = Counter(
            (number, n - 1, many)
            for number, caption in enumerate(texts)
            for n in range(1, 5)
            for many in ngrams(caption, n).values()
        )
        assert counts == expected
