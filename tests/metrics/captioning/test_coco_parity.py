"""Compare with pycocoevalcap on all captions of Flickr8k, if it and Java are installed:

pip install -e '.[coco]'
python -m pytest -m "parity or real_data" tests/metrics/captioning
"""

import random
import shutil

import numpy as np
import pytest

from imagetext.metrics.captioning.bleu import Bleu, bleu_scores
from imagetext.metrics.captioning.cider import Cider
from imagetext.metrics.captioning.meteor import Meteor, meteor_scores
from imagetext.metrics.captioning.rouge import rouge_l
from imagetext.metrics.captioning.tokens import tokenize
from tests.metrics.captioning import flickr8k

pytestmark = [pytest.mark.parity, pytest.mark.real_data]
IMAGES = 1000


@pytest.fixture(scope="module")
def theirs():
    """The package; only some tests need Java."""
    return pytest.importorskip("pycocoevalcap", reason="pip install -e '.[coco]'")


@pytest.fixture(scope="module")
def java():
    if shutil.which("java") is None:
        pytest.skip("needs java")


@pytest.fixture(scope="module", params=["human", "shuffled", "truncated", "spoiled", "few"])
def captions(request):
    """Tokens of candidates and references, and both as pycocoevalcap expects them."""
    rng = random.Random(request.param)
    photos = [[tokenize(caption) for caption in photo] for photo in flickr8k.photos()[:IMAGES]]
    candidates, references = [photo[0] for photo in photos], [photo[1:] for photo in photos]
    words = [word for photo in photos for caption in photo for word in caption]
    if request.param == "shuffled":
        candidates = [rng.sample(caption, len(caption)) for caption in candidates]
        references = photos
    elif request.param == "truncated":
        candidates = [caption[: rng.randint(0, 6)] for caption in candidates]
    elif request.param == "spoiled":
        candidates = [
            [rng.choice(words) if rng.random() < 0.2 else word for word in caption]
            for caption in candidates
        ]
    elif request.param == "few":
        candidates = [[[], ["dog"], c, c][number % 4] for number, c in enumerate(candidates)]
        references = [image[: rng.randint(1, 4)] for image in references]
    res = {number: [" ".join(tokens)] for number, tokens in enumerate(candidates)}
    gts = {number: [" ".join(t) for t in image] for number, image in enumerate(references)}
    return candidates, references, gts, res


def test_every_caption_is_split_alike(theirs, java):
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    captions = flickr8k.captions()
    [expected] = PTBTokenizer().tokenize({0: [{"caption": c} for c in captions]}).values()
    ours = [" ".join(tokenize(caption)) for caption in captions]
    assert [pair for pair in zip(ours, expected, strict=True) if pair[0] != pair[1]] == []


def test_bleu_rouge_and_cider_are_equal(theirs, captions):
    from pycocoevalcap.bleu.bleu import Bleu as TheirBleu
    from pycocoevalcap.cider.cider import Cider as TheirCider
    from pycocoevalcap.rouge.rouge import Rouge as TheirRouge

    candidates, references, gts, res = captions
    counts = Bleu(references).counts(candidates)
    corpus, of_each = TheirBleu(4).compute_score(gts, res, verbose=0)
    np.testing.assert_allclose(bleu_scores(counts).T, of_each, atol=1e-9)
    np.testing.assert_allclose(bleu_scores(counts.sum(0, keepdims=True))[0], corpus, atol=1e-9)
    of_each = TheirRouge().compute_score(gts, res)[1]
    np.testing.assert_allclose(rouge_l(candidates, references), of_each, atol=1e-9)
    of_each = TheirCider().compute_score(gts, res)[1]
    np.testing.assert_allclose(Cider(references).scores(candidates), of_each, atol=1e-9)


def test_meteor_is_nearly_equal(theirs, java, captions):
    """At most 0.3 of 100 points from the Java program with the same three stages."""
    from tests.metrics.captioning.make_coco_reference import java_meteor

    candidates, references, gts, res = captions
    statistics = Meteor(references).statistics(candidates)
    ours = meteor_scores(statistics.sum(0, keepdims=True))[0]
    expected = java_meteor(res, gts, "exact stem synonym")
    assert 100 * abs(ours - expected["corpus"]) < 0.3
    assert np.mean(np.abs(meteor_scores(statistics) - expected["of_each"]) > 1e-9) < 0.15
    print(f"METEOR {100 * ours:.3f}, Java {100 * expected['corpus']:.3f}, with three stages")
