"""The word tokenizer: the same in Python and in a graph, built from counts, saved with a run."""

import numpy as np
import pytest
import tensorflow as tf

from imagetext.errors import UserError
from imagetext.retrieval.config import TextConfig
from imagetext.retrieval.texts import WordTokenizer, build_word_tokenizer, read_word_tokenizer

CAPTIONS = ["A dog runs .", "the dog's T-shirt", "A DOG!", "Émile runs, 2 dogs"]


def config(**keys) -> TextConfig:
    return TextConfig(encoder="scratch", **({"minimum_count": 1} | keys))


def test_the_most_frequent_come_first_and_rare_ones_are_unknown():
    words = build_word_tokenizer(CAPTIONS, config(minimum_count=2))
    assert words.words == ("a", "dog", "runs")
    assert words.to_ids(["A dog sleeps!", ""]).tolist() == [[1, 4, 5, 3, 2], [1, 2, 0, 0, 0]]
    assert len(words) == 7
    with pytest.raises(UserError, match="no word occurs 9 times"):
        build_word_tokenizer(CAPTIONS, config(minimum_count=9))


def test_words_are_split_at_punctuation_in_any_script():
    words = build_word_tokenizer(CAPTIONS, config())
    expected = {"a", "dog", "runs", "the", "dog's", "t", "shirt", "émile", "2", "dogs"}
    assert set(words.words) == expected


def test_long_captions_are_cut_and_still_end():
    words = build_word_tokenizer(CAPTIONS, config(longest=4))
    assert words.to_ids(["a dog runs the dogs"]).tolist() == [[1, 4, 5, 2]]


def test_tokenizing_in_a_graph_gives_the_same_ids(tmp_path):
    words = build_word_tokenizer(CAPTIONS, config())
    read = tf.function(words.tokenize, input_signature=[tf.TensorSpec([None], tf.string)])
    ids, mask = read(tf.constant(CAPTIONS))
    np.testing.assert_array_equal(ids, words.to_ids(CAPTIONS))
    np.testing.assert_array_equal(mask, words.to_ids(CAPTIONS) != 0)


def test_a_vocabulary_is_saved_with_the_run(tmp_path):
    words = build_word_tokenizer(CAPTIONS, config())
    words.write(tmp_path / "words.json")
    again = read_word_tokenizer(tmp_path / "words.json", config())
    assert again.words == words.words and again.digest == words.digest
    assert WordTokenizer([*words.words[1:], "x"]).digest != words.digest
    (tmp_path / "words.json").write_text("{}")
    with pytest.raises(UserError, match="not a vocabulary"):
        read_word_tokenizer(tmp_path / "words.json", config())
