"""CLIP's tokenizer gives the same ids as Hugging Face's, also for unusual strings."""

import json
import random

import pytest
import tensorflow as tf
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

from imagetext.encoders import byte_pairs
from imagetext.encoders.byte_pairs import END, START, BytePairTokenizer
from imagetext.errors import UserError

MERGES = [
    *("t h", "th e</w>", "i n", "in g</w>", "d o", "do g</w>", "do g", "dog s</w>", "2 0"),
    *(
        "a a",
        "a a</w>",
        "aa aa</w>",
        "aa a",
        "' s</w>",
        "Ã ©</w>",
        "! !",
        "!! !</w>",
        "r u",
        "n n",
        "ru nn",
    ),
]


def vocabulary() -> dict[str, int]:
    letters = pre_tokenizers.ByteLevel.alphabet()
    pieces = sorted(letters) + [f"{letter}</w>" for letter in sorted(letters)]
    pieces += [merge.replace(" ", "") for merge in MERGES] + [START, END]
    return {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}


@pytest.fixture(scope="module")
def tokenizer() -> BytePairTokenizer:
    return BytePairTokenizer(vocabulary(), MERGES, max_length=2000)


@pytest.fixture(scope="module")
def twin() -> tokenizers.Tokenizer:
    """Hugging Face's tokenizer of CLIP, without the special tokens."""
    merges = [tuple(merge.split(" ")) for merge in MERGES]
    tokenizer = tokenizers.Tokenizer(
        models.BPE(vocabulary(), merges, end_of_word_suffix="</w>", unk_token=END)
    )
    blanks = normalizers.Replace(tokenizers.Regex(r"\s+"), " ")
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), blanks, normalizers.Lowercase()]
    )
    words = tokenizers.Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    return tokenizer


def ids(tokenizer: BytePairTokenizer, texts: list[str]) -> list[list[int]]:
    batch = tf.constant([text.encode() for text in texts], tf.string)
    return tokenizer.tokenize_ragged(batch).to_list()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The dogs", "the</w> dogs</w>"),
        ("running dog's", "runn ing</w> dog</w> 's</w>"),
        # Every digit is a word.
        ("2023", "2</w> 0</w> 2</w> 3</w>"),
        ("É e\u0301", "Ã©</w> Ã©</w>"),
        ("!!! !!!!", "!!!</w> !! ! !</w>"),
        ("aaaa aaa aaaaa", "aaaa</w> aa a</w> aa aa a</w>"),
        ("dog\u00a0\t dog\u2028", "dog</w> dog</w>"),
        (END, "< |</w> e n do f t e x t</w> | ></w>"),
    ],
)
def test_examples(tokenizer, text, expected):
    tokens = {number: token for token, number in vocabulary().items()}
    (row,) = ids(tokenizer, [text])
    assert " ".join(tokens[number] for number in row[1:-1]) == expected
    assert (tokens[row[0]], tokens[row[-1]]) == (START, END)


def test_ids_equal_those_of_hugging_face(tokenizer, twin):
    draw = random.Random(0)
    strings = list(
        "adinghtruESdog  0129٣½'.,!?-_()<|>\"#@&éßİΣσςüﬁ世界한кий\t\n\r\u00a0\u3000\u2028"
    )
    strings += [
        "\u200b",
        "\x85",
        "\x1c",
        "\x0b",
        "\x01",
        "\ufffd",
        "e\u0301",
        "A\u030a",
        "😀",
        "👍🏽",
    ]
    strings += ["'s", "'t", "'LL", "the ", "dogs ", "running", "aaaa", "in", "!!!"]
    texts = ["".join(draw.choices(strings, k=draw.randint(0, 40))) for _ in range(800)]
    texts += ["", " ", *strings]
    for text, row in zip(texts, ids(tokenizer, texts), strict=True):
        assert row[1:-1] == twin.encode(text).ids, repr(text)


def test_texts_are_truncated_and_padded():
    tokenizer = BytePairTokenizer(vocabulary(), MERGES, max_length=5)
    token_ids, mask = tokenizer.tokenize(tf.constant(["dog dog dog dog", "dog", ""]))
    dog, start, end = vocabulary()["dog</w>"], vocabulary()[START], vocabulary()[END]
    expected = [[start, dog, dog, dog, end], [start, dog, end, 0, 0], [start, end, 0, 0, 0]]
    assert (
        token_ids.numpy().tolist() == expected == tokenizer.to_ids(["dog " * 4, "dog", ""]).tolist()
    )
    assert mask.numpy().tolist() == [[1] * 5, [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]]
    assert tokenizer.to_ids([""]).tolist() == [[start, end]]
    assert tokenizer.to_ids([]).shape == (0, 0)
    assert tokenizer.to_ids(["half a pair \ud83d"]).shape == (1, 5)
    with pytest.raises(ValueError, match="leaves no room"):
        BytePairTokenizer(vocabulary(), MERGES, max_length=1)


def test_a_very_long_word_takes_little_time(tokenizer):
    (row,) = ids(tokenizer, ["x" * 100_000])
    assert len(row) == 2 + byte_pairs.LONGEST_WORD


def test_it_works_in_a_pipeline_and_can_be_exported(tokenizer, tmp_path):
    texts = ["The dogs", "", "running in 2023"]
    rows = tf.data.Dataset.from_tensor_slices(texts).batch(2).map(tokenizer.tokenize)
    assert [ids.shape for ids, _ in rows] == [(2, 4), (1, 10)]

    class Reader(tf.Module):
        def __init__(self):
            super().__init__()
            self.tokenizer = tokenizer

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def __call__(self, texts):
            return self.tokenizer.tokenize(texts)[0]

    tf.saved_model.save(Reader(), str(tmp_path / "reader"))
    served = tf.saved_model.load(str(tmp_path / "reader"))
    assert served(tf.constant(texts)).numpy().tolist() == tokenizer.to_ids(texts).tolist()


def test_files_are_read_and_invalid_ones_refused(tmp_path, tokenizer):
    names, merges = tmp_path / "vocabulary.json", tmp_path / "merges.txt"
    names.write_text(json.dumps(vocabulary()))
    merges.write_text("#version: 0.2\n" + "\n".join(MERGES) + "\n", encoding="utf-8")
    read = BytePairTokenizer(names, merges)
    assert read.max_length == 77 and read.size == len(vocabulary())
    assert ids(read, ["dogs é"]) == ids(tokenizer, ["dogs é"])
    for wrong in ("q q", "three parts here", "one"):
        merges.write_text(f"{wrong}\n")
        with pytest.raises(UserError, match=r"vocabulary\.json: not a CLIP vocabulary with"):
            BytePairTokenizer(names, merges)
    for content, message in [
        ("{", "expected a JSON"),
        ("[1]", "not a v"),
        ("{}", "CLIP"),
    ]:
        names.write_text(content)
        with pytest.raises(UserError, match=rf"vocabulary\.json: .*{message}"):
            BytePairTokenizer(names, merges)
    merges.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"merges\.txt: not UTF-8"):
        BytePairTokenizer(vocabulary(), merges)
    with pytest.raises(UserError, match=r"absent\.txt: cannot be read"):
        BytePairTokenizer(vocabulary(), tmp_path / "absent.txt")
