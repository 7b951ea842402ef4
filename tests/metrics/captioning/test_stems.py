"""Stems as in METEOR's Java program: examples of every rule, from Porter's description."""

import pytest

from imagetext.metrics.captioning.stems import stem

STEMS = """
caresses:caress ties:tie cries:cri gas:gas this:this gaps:gap kiwis:kiwi dogs:dog bus:bus
agreed:agre feed:feed luxuriated:luxuri hopping:hop hoping:hope running:run playing:play
sitting:sit riding:ride jumped:jump covered:cover hissing:hiss sized:size
happily:happili cry:cri by:by say:say enjoy:enjoy snowy:snowi
relational:relat conditional:condit rationally:ration generously:generous generic:generic
communication:communic arsenal:arsenal university:univers organization:organ evening:even
electricity:electr hopefulness:hope goodness:good formative:format adjustment:adjust adoption:adopt
consignment:consign rate:rate controlling:control roll:roll falling:fall
skies:sky dying:die news:news innings:inning proceeds:proceed only:onli early:earli
archaeologist:archaeologist children:children children's:children 'em:em boys':boy
a:a is:is i:i ski:ski ow:ow be:be yes:yes youth:youth boyish:boyish café:café über:über 20th:20th
"""


@pytest.mark.parametrize(("word", "expected"), [tuple(pair.split(":")) for pair in STEMS.split()])
def test_stems(word, expected):
    assert stem(word) == expected


def test_no_word_makes_it_fail():
    assert [stem(word) for word in ("", "'", "''s", "y", "yy", "sss", "eed", "ing", "'s'")]
