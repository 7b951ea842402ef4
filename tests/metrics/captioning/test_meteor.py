"""METEOR against the numbers of its Java program, and its search against an exhaustive one."""

import gzip
import json
import random
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from imagetext.errors import UserError
from imagetext.metrics.captioning import synonyms
from imagetext.metrics.captioning.alignment import (
    PARAPHRASE,
    Match,
    align,
    count_chunks,
    matching_stages,
)
from imagetext.metrics.captioning.meteor import FUNCTION_WORDS, Meteor, meteor_scores, normalize
from imagetext.metrics.captioning.paraphrases import Paraphrases
from imagetext.metrics.captioning.tokens import tokenize

REFERENCE = json.loads(Path(__file__).with_name("coco_reference.json").read_text(encoding="utf-8"))
CANDIDATES = [tokenize(caption) for caption in REFERENCE["candidates"]]
REFERENCES = [[tokenize(caption) for caption in image] for image in REFERENCE["references"]]


@pytest.mark.parametrize("stages", ["exact", "exact stem", "exact stem synonym"])
def test_scores_equal_those_of_the_java_program(stages):
    """For each caption and the corpus: our function words make no difference here."""
    expected = REFERENCE["meteor"][stages]
    statistics = Meteor(REFERENCES, stages=len(stages.split())).statistics(CANDIDATES)
    np.testing.assert_allclose(meteor_scores(statistics), expected["of_each"], atol=1e-9)
    corpus = meteor_scores(statistics.sum(0, keepdims=True))[0]
    assert corpus == pytest.approx(expected["corpus"], abs=1e-9)


def test_without_paraphrases_scores_are_a_little_lower():
    meteor = Meteor(REFERENCES)
    assert meteor.stages == ("exact", "stem", "synonym")
    corpus = meteor_scores(meteor.statistics(CANDIDATES).sum(0, keepdims=True))[0]
    assert 0.0 < REFERENCE["meteor"]["all"]["corpus"] - corpus < 0.05


def test_stages_find_what_they_are_for():
    assert matching_stages("dog", "dog") == (0,)
    assert matching_stages("dogs", "dog") == (1, 2)  # the same stem, and forms of the same word
    assert matching_stages("organized", "organs") == (1,)
    assert matching_stages("photo", "picture") == (2,)
    assert matching_stages("mice", "mouse") == (2,)  # an irregular form
    assert matching_stages("dog", "cat") == ()
    words = ("a", "photo", "of", "mice"), ("a", "picture", "of", "mouse")
    assert [match.stage for match in align(*words)] == [0, 2, 0, 2]
    assert [match.stage for match in align(*words, stages=1)] == [0, 0]


def test_regular_forms_lead_to_their_word():
    for form, base in (("firemen", "fireman"), ("hoped", "hope"), ("bigger", "big")):
        assert base in synonyms.meanings(form)
    assert "hop" not in synonyms.meanings("hoped")
    assert synonyms.meanings("xyzzys") == frozenset()


def naive_search(options):
    """The best by METEOR's first two rules of all ways to choose at most one match per word."""
    best = None
    for taken in product(*([None, *matches] for matches in options)):
        matches = [match for match in taken if match]
        if len({match.candidate_start for match in matches}) == len(matches):
            rank = (-len(matches), count_chunks(matches))
            best = rank if best is None else min(best, rank)
    return best


@pytest.mark.parametrize("seed", range(30))
def test_the_search_finds_the_most_matches_in_the_fewest_chunks(seed):
    rng = random.Random(seed)
    candidate, reference = ([rng.choice("abc") for _ in range(rng.randint(1, 5))] for _ in "12")
    options = [
        [Match(0, j, 1, i, 1) for i, other in enumerate(candidate) if other == word]
        for j, word in enumerate(reference)
    ]
    matches = align(candidate, reference)
    assert (-len(matches), count_chunks(matches)) == naive_search(options)
    assert all(candidate[m.candidate_start] == reference[m.start] for m in matches)


def test_chunks_are_runs_in_both():
    assert count_chunks([]) == 0
    assert count_chunks([Match(0, 0, 1, 4, 1), Match(0, 1, 2, 5, 1), Match(0, 3, 1, 6, 1)]) == 1
    assert count_chunks([Match(0, 0, 1, 0, 1), Match(0, 2, 1, 1, 1), Match(0, 3, 1, 0, 1)]) == 3


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ("a dog 's t-shirt", "a dog ' s t shirt"),
        ("is n't black-and-white", "is n 't black and white"),
        ("the u.s. mr. smith and mr.", "the us mr. smith and mr ."),
        ("1,000 at&t -lrb- !!", "1,000 at & t -lrb- ! !"),
        ("", ""),
    ],
)
def test_words_are_split_as_by_meteor(tokens, expected):
    assert normalize(tokens.split()) == tuple(expected.split())


def test_paraphrases_are_the_fourth_stage(tmp_path):
    path = tmp_path / "paraphrases.gz"
    entries = ("0.1\nnext to\nbeside\n", "0.2\nbeside\nnear\n", "0.3\na lot\nvery much\n")
    path.write_bytes(gzip.compress("".join(entries).encode()))
    paraphrases = Paraphrases.read(path, ["a", "dog", "next", "to", "beside", "the", "tree"])
    assert paraphrases.phrases == {("next", "to"): [("beside",)]}
    references = [[["a", "dog", "beside", "the", "tree"]]]
    meteor = Meteor(references, paraphrases=paraphrases)
    assert meteor.stages[PARAPHRASE] == "paraphrase"
    candidate = ["a", "dog", "next", "to", "the", "tree"]
    assert Match(PARAPHRASE, 2, 1, 2, 2) in align(candidate, references[0][0], 4, paraphrases)
    [score] = meteor_scores(meteor.statistics([candidate]))
    [less] = meteor_scores(Meteor(references).statistics([candidate]))
    assert less < score < 1
    # And vice versa: a phrase of the candidate with a paraphrase in the reference.
    assert Match(PARAPHRASE, 2, 2, 2, 1) in align(references[0][0], candidate, 4, paraphrases)


def test_a_damaged_table_of_paraphrases_is_reported(tmp_path):
    (tmp_path / "p.gz").write_text("not gzip")
    with pytest.raises(UserError, match=r"p\.gz.*paraphrase-en\.gz"):
        Paraphrases.read(tmp_path / "p.gz", ["a"])


def test_function_words_are_lower_case():
    assert all(word == word.lower() for word in FUNCTION_WORDS)
    assert {"the", "of", "'", "s", "'t"} <= FUNCTION_WORDS
    assert "dog" not in FUNCTION_WORDS


def test_synonyms_are_written_from_wordnets_files(tmp_path, monkeypatch):
    licence = "  1 This software and database is being provided\n"
    for kind in ("noun", "verb", "adj", "adv"):
        (tmp_path / f"index.{kind}").write_text(licence)
        (tmp_path / f"{kind}.exc").write_text("")
    nouns = (
        "photo n 1 1 @ 1 1 00000010  \n"
        "picture n 2 1 @ 2 1 00000020 00000010  \n"
        "ice_cream n 1 1 @ 1 1 00000020  \nmouse n 1 1 @ 1 1 00000030  \n"
    )
    (tmp_path / "index.noun").write_text(licence + nouns)
    (tmp_path / "noun.exc").write_text("mice mouse\n")
    synonyms.write(tmp_path, tmp_path / "words.xz")
    monkeypatch.setattr(synonyms, "FILE", tmp_path / "words.xz")
    synonyms._read.cache_clear()
    synonyms.meanings.cache_clear()
    try:
        assert synonyms.meanings("photos") == synonyms.meanings("photo") == {"photo", 0}
        assert synonyms.meanings("picture") == {"picture", 0}
        assert synonyms.meanings("mice") == synonyms.meanings("mouse") == {"mouse"}
        assert synonyms.meanings("cream") == frozenset()
    finally:
        synonyms._read.cache_clear()
        synonyms.meanings.cache_clear()
