"""Strings to CLIP's byte pairs: the same ids as Hugging Face's tokenizer, on nasty strings too."""

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
def pieces() -> BytePairTokenizer:
    return BytePairTokenizer(vocabulary(), MERGES, max_length=2000)


@pytest.fixture(scope="module")
def twin() -> tokenizers.Tokenizer:
    """CLIP's tokenizer as Hugging Face puts it together, without the special tokens."""
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


def ids(pieces: BytePairTokenizer, texts: list[str]) -> list[list[int]]:
    batch = tf.constant([text.encode() for text in texts], tf.string)
    return pieces.tokenize_ragged(batch).to_list()


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
def test_examples(pieces, text, expected):
    known = {number: token for token, number in vocabulary().items()}
    (row,) = ids(pieces, [text])
    assert " ".join(known[number] for number in row[1:-1]) == expected
    assert (known[row[0]], known[row[-1]]) == (START, END)


def test_it_equals_the_tokenizer_of_hugging_face(pieces, twin):
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
    for text, row in zip(texts, ids(pieces, texts), strict=True):
        assert row[1:-1] == twin.encode(text).ids, repr(text)


def test_texts_are_cut_and_padded():
    pieces = BytePairTokenizer(vocabulary(), MERGES, max_length=5)
    token_ids, mask = pieces.tokenize(tf.constant(["dog dog dog dog", "dog", ""]))
    dog, start, end = vocabulary()["dog</w>"], vocabulary()[START], vocabulary()[END]
    expected = [[start, dog, dog, dog, end], [start, dog, end, 0, 0], [start, end, 0, 0, 0]]
    assert token_ids.numpy().tolist() == expected == pieces.to_ids(["dog " * 4, "dog", ""]).tolist()
    assert mask.numpy().tolist() == [[1] * 5, [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]]
    assert pieces.to_ids([""]).tolist() == [[start, end]]
    assert pieces.to_ids([]).shape == (0, 0)
    assert pieces.to_ids(["half a pair \ud83d"]).shape == (1, 5)
    with pytest.raises(ValueError, match="leaves no room"):
        BytePairTokenizer(vocabulary(), MERGES, max_length=1)


def test_a_word_without_end_takes_no_time_without_end(pieces):
    (row,) = ids(pieces, ["x" * 100_000])
    assert len(row) == 2 + byte_pairs.LONGEST_WORD


def test_it_works_in_a_pipeline_and_is_exported(pieces, tmp_path):
    texts = ["The dogs", "", "running in 2023"]
    rows = tf.data.Dataset.from_tensor_slices(texts).batch(2).map(pieces.tokenize)
    assert [ids.shape for ids, _ in rows] == [(2, 4), (1, 10)]

    class Reader(tf.Module):
        def __init__(self):
            super().__init__()
            self.tokenizer = pieces

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def __call__(self, texts):
            return self.tokenizer.tokenize(texts)[0]

    tf.saved_model.save(Reader(), str(tmp_path / "reader"))
    served = tf.saved_model.load(str(tmp_path / "reader"))
    assert served(tf.constant(texts)).numpy().tolist() == pieces.to_ids(texts).tolist()


def test_files_are_read_and_wrong_ones_told(tmp_path, pieces):
    names, merges = tmp_path / "vocabulary.json", tmp_path / "merges.txt"
    names.write_text(json.dumps(vocabulary()))
    merges.write_text("#version: 0.2\n" + "\n".join(MERGES) + "\n", encoding="utf-8")
    read = BytePairTokenizer(names, merges)
    assert read.max_length == 77 and read.size == len(vocabulary())
    assert ids(read, ["dogs é"]) == ids(pieces, ["dogs é"])
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
