"""Vocabularies: splitting, counting, encoding, decoding, and what is refused."""

import numpy as np
import pytest
import tensorflow as tf

from imagetext.captioning.config import TextConfig
from imagetext.captioning.vocabulary import (
    WordVocabulary,
    make_vocabulary,
    read_vocabulary,
    split_words,
)
from imagetext.errors import UserError

CAPTIONS = ["A dog runs .", "A dog's bone , a T-shirt and 3 balls", "a dog"]
PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "[unused0]",
    "a",
    "dog",
    "##s",
    "run",
    "bone",
]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "a dogs bone a tshirt and balls"),
        ({"lower": False}, "A dogs bone a Tshirt and balls"),
        ({"alphabetic": False}, "a dogs bone a tshirt and 3 balls"),
        ({"punctuation": "inside", "alphabetic": False}, "a dog's bone a t-shirt and 3 balls"),
        ({"punctuation": "kept", "alphabetic": False}, "a dog's bone , a t-shirt and 3 balls"),
        ({"punctuation": "kept"}, "a bone a and balls"),
    ],
)
def test_options_decide_what_a_word_is(options, words):
    assert split_words(CAPTIONS[1], TextConfig(**options)) == words.split()


def test_punctuation_around_words_is_removed():
    config = TextConfig(punctuation="inside", alphabetic=False)
    words = split_words('"Hey," he said: (run!) the man \'s dog', config)
    assert " ".join(words) == "hey he said run the man 's dog"


def test_words_are_sorted_by_frequency_and_rare_words_are_unknown():
    vocabulary = make_vocabulary(CAPTIONS, TextConfig(minimum_count=2))
    assert vocabulary.tokens == ("", "startseq", "endseq", "<unk>", "a", "dog")
    assert vocabulary.encode(["A dog barks", "a"]).tolist() == [[4, 5, 3], [4, 0, 0]]
    assert (vocabulary.start, vocabulary.end, vocabulary.unknown) == (1, 2, 3)
    assert vocabulary.special_ids == (0, 1, 2, 3)


def test_truncated_captions_keep_one_more_word():
    vocabulary = make_vocabulary(CAPTIONS, TextConfig(minimum_count=1, longest=2))
    assert vocabulary.encode(CAPTIONS).shape == (3, 3)
    assert vocabulary.encode(["a dog"]).shape == (1, 2)


def test_decodes_any_shape_and_leaves_out_special_ids():
    vocabulary = WordVocabulary(TextConfig(), ["a", "dog", "café"])
    texts = vocabulary.decode(tf.constant([[[4, 5, 2, 0], [1, 3, 6, 2]]])).numpy().tolist()
    assert [text.decode() for text in texts[0]] == ["a dog", "café"]
    assert vocabulary.decode(tf.constant([[2, 0]])).numpy().tolist() == [b""]


def test_start_and_end_are_not_words():
    vocabulary = make_vocabulary(["startseq a endseq"], TextConfig(minimum_count=1))
    assert vocabulary.tokens[4:] == ("a",)


def test_vocabulary_of_one_word():
    vocabulary = make_vocabulary(["dog"], TextConfig(minimum_count=1))
    assert len(vocabulary) == 5
    assert vocabulary.decode(tf.constant([4, 4, 2])).numpy() == b"dog dog"


@pytest.mark.parametrize(
    ("captions", "message"), [(["a b"], "'a', 1"), (["1 2"], "there are none")]
)
def test_too_high_minimum_count_is_refused(captions, message):
    with pytest.raises(UserError, match=f"no word occurs 9 times.*{message}.*use a lower value"):
        make_vocabulary(captions, TextConfig(minimum_count=9))


@pytest.fixture
def pieces(tmp_path) -> TextConfig:
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    return TextConfig(pieces="wordpiece", wordpieces=str(tmp_path), minimum_count=1)


def test_word_pieces_of_training_captions_only_split_as_in_bert(pieces):
    vocabulary = make_vocabulary(["Dogs run", "a dog"], pieces)
    assert vocabulary.tokens == ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "dog", "##s", "run")
    assert vocabulary.rows == (0, 1, 2, 3, 6, 7, 8, 9)
    ids = vocabulary.encode(["dogs bone runs"])
    assert ids.tolist() == [[5, 6, vocabulary.unknown, 7, 6]]
    assert vocabulary.decode(tf.constant(ids)).numpy().tolist() == [b"dogs runs"]
    # A model may start a caption with the end of a word.
    assert vocabulary.decode(tf.constant([[6, 7, 3]])).numpy().tolist() == [b"s run"]
    assert (vocabulary.start, vocabulary.end) == (2, 3)
    assert set(vocabulary.special_ids) == {0, 1, 2, 3}


def test_written_vocabulary_is_read_again(tmp_path, pieces):
    for config in (TextConfig(minimum_count=1), pieces):
        written = make_vocabulary(CAPTIONS, config)
        written.write(tmp_path / "vocabulary.json")
        read = read_vocabulary(tmp_path / "vocabulary.json", config)
        assert read.tokens == written.tokens and read.digest == written.digest
        assert np.array_equal(read.encode(CAPTIONS), written.encode(CAPTIONS))


@pytest.mark.parametrize("text", ["", "{}", '{"tokens": ["a"]}', "[1]"])
def test_invalid_file_is_refused_by_name(tmp_path, text):
    path = tmp_path / "vocabulary.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"vocabulary\.json: not a valid vocabulary"):
        read_vocabulary(path, TextConfig())
