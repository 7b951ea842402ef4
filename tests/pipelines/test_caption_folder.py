"""Custom folders with a table of captions: .csv, .tsv and .jsonl, with every kind of bad row."""

import json
import shutil

import pytest

from imagetext.errors import DataError
from imagetext.pipelines.caption_folder import split_by_name
from imagetext.pipelines.records import SPLITS
from imagetext.pipelines.sources import open_source
from tests.pipelines.test_sources import read, write_photo


@pytest.fixture
def own(tmp_path):
    root = tmp_path / "own"
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        write_photo(root / "images" / name)
    return root


TABLE = [
    {"image": "a.jpg", "caption": "A dog, running", "split": "train"},
    {"image": "b.jpg", "caption": 'A sign says "stop"', "split": "val"},
    {"image": "a.jpg", "caption": "Snow", "split": "train"},
]


def as_table(rows, delimiter):
    quoted = [['"' + value.replace('"', '""') + '"' for value in row.values()] for row in rows]
    return "\n".join(delimiter.join(row) for row in [list(rows[0]), *quoted])


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_a_table_is_grouped_by_photo_and_split_as_it_says(own, kind):
    written = {
        "csv": as_table(TABLE, ","),
        "tsv": as_table(TABLE, "\t"),
        "jsonl": "\n".join(map(json.dumps, TABLE)),
    }
    (own / f"captions.{kind}").write_text(written[kind])
    source = open_source(own)
    assert not source.labelled
    found = {split: [(r.image.name, r.texts) for r in source.records(split)] for split in SPLITS}
    assert found == {
        "train": [("a.jpg", ("A dog, running", "Snow"))],
        "dev": [("b.jpg", ('A sign says "stop"',))],
        "test": [],
    }


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_labels_make_a_matching_set_and_a_row_without_one_is_a_problem(own, kind):
    rows = [
        {"image": "a.jpg", "caption": "A dog", "label": "", "split": "train"},
        {"image": "a.jpg", "caption": "Snow", "label": "no-match", "split": "train"},
        {"image": "b.jpg", "caption": "Sand", "label": "match", "split": "train"},
        {"image": "c.jpg", "caption": "Sea", "label": "perhaps", "split": "train"},
    ]
    lines = "\n".join(map(json.dumps, rows)) if kind == "jsonl" else as_table(rows, ",")
    (own / f"captions.{kind}").write_text(lines)
    source = open_source(own)
    assert source.labelled
    records, problems = read(source)
    assert [(r.image.name, r.label) for r in records] == [("a.jpg", "no-match"), ("b.jpg", "match")]
    first = 1 if kind == "jsonl" else 2
    assert [(p.line - first, p.what) for p in problems] == [
        (0, "the label is missing, although other rows have one"),
        (3, "unknown label 'perhaps'"),
    ]


def test_columns_are_known_by_other_names_too_and_the_best_name_wins(own):
    (own / "captions.csv").write_text("path,Sentence,IMAGE,split\n/old/x.jpg,A dog,a.jpg,train\n")
    (record,) = open_source(own).records("train")
    assert (record.image.name, record.texts) == ("a.jpg", ("A dog",))


def test_a_photo_keeps_its_split_whatever_else_is_in_the_table(own):
    names = [f"{number}.jpg" for number in range(300)]
    for name in names:
        shutil.copy(own / "images" / "a.jpg", own / "images" / name)
    rows = [f"{name},told {n}" for n in range(2) for name in names]

    def dealt(lines):
        (own / "captions.csv").write_text("\n".join(["image,caption", *lines]))
        source = open_source(own)
        return {r.image.name: (s, len(r.texts)) for s in SPLITS for r in source.records(s)}

    full, fewer = dealt(rows), dealt(rows[450:])
    assert len(full) == 300
    assert {told for _, told in full.values()} == {2}
    assert {name: split for name, (split, _) in fewer.items()}.items() <= {
        name: split for name, (split, _) in full.items()
    }.items()
    counts = {split: sum(s == split for s, _ in full.values()) for split in SPLITS}
    assert 210 <= counts["train"] <= 270 and counts["dev"] > 10 and counts["test"] > 10
    # Fixed for ever: a change would move the photos of every user between splits.
    assert [split_by_name(f"{n}.jpg") for n in range(6)] == [full[f"{n}.jpg"][0] for n in range(6)]
    assert split_by_name("./a.jpg") == split_by_name("a.jpg")


def test_two_spellings_of_one_path_are_one_photo(own):
    (own / "captions.csv").write_text("image,caption,split\na.jpg,A dog,train\n./a.jpg,Snow,train")
    (record,) = open_source(own).records("train")
    assert record.texts == ("A dog", "Snow")


def test_a_quoted_caption_may_run_over_lines(own):
    (own / "captions.csv").write_text(
        'image,caption,split\na.jpg,"A dog\n\nruns, fast",train\nb.jpg,Snow,train\n'
    )
    records, problems = read(open_source(own))
    assert not problems
    assert [(r.texts, r.line) for r in records] == [(("A dog runs, fast",), 2), (("Snow",), 5)]


@pytest.mark.parametrize("after", [0, 1, 50])
def test_a_forgotten_quote_costs_one_row_not_the_file(own, after):
    tail = ["b.jpg,Sand,train"] * after + ['c.jpg,"Sea, blue",train']
    lines = ["image,caption,split", "a.jpg,Snow,train", 'a.jpg,"A dog,train', *tail]
    (own / "captions.csv").write_text("\n".join(lines))
    records, problems = read(open_source(own))
    assert [(p.line, p.what) for p in problems] == [(3, "a quote is never closed")]
    assert sum(len(record.texts) for record in records) == 1 + len(tail)
    assert records[-1].texts == ("Sea, blue",)


BAD_TABLES = {
    "columns": ("csv", "a.jpg,A dog, running,train", "expected 3 columns, got 4", "quote captions"),
    "long field": (
        "csv",
        f"a.jpg,{'x' * 140_000},train",
        "not a valid row: field larger",
        "shorten",
    ),
    "empty": ("csv", "a.jpg,,train", "the caption is empty", "remove the row"),
    "split": ("csv", "a.jpg,A dog,holdout", "unknown split 'holdout'", "train, dev or test"),
    "NUL": ("csv", "a.jpg,A\0dog,train", "contains a NUL", "UTF-8"),
    "escape": ("csv", "../a.jpg,A dog,train", "points outside", "relative"),
    "not json": ("jsonl", '{"image": "a.jpg", ', "not valid JSON", "one JSON object on each line"),
    "long number": ("jsonl", "9" * 5000, "not valid JSON", "one JSON object on each line"),
    "deep": ("jsonl", "[" * 100_000, "not valid JSON", "one JSON object on each line"),
    "a list": ("jsonl", '["a.jpg", "A dog"]', "not a JSON object", 'write {"image"'),
    "no image": ("jsonl", '{"caption": "A dog"}', "expected columns image and caption", "name the"),
    "null": ("jsonl", '{"image": "a.jpg", "caption": null}', "the caption is empty", "write one"),
    "captions": ("jsonl", '{"image": "a.jpg", "caption": ["A"]}', "must be a string", "several"),
    "surrogate": ("jsonl", r'{"image": "a.jpg", "caption": "\ud83d"}', "must be a string", ""),
    "json NUL": ("jsonl", r'{"image": "a\u0000.jpg", "caption": "A"}', "must be a string", ""),
}


@pytest.mark.parametrize("kind, row, what, remedy", BAD_TABLES.values(), ids=BAD_TABLES)
def test_a_bad_row_of_a_table_is_a_problem_and_the_others_still_come(own, kind, row, what, remedy):
    good = {"image": "b.jpg", "caption": "Snow", "split": "train"}
    lines = [json.dumps(good), row, json.dumps(good)]
    if kind == "csv":
        lines = ["image,caption,split", row, "b.jpg,Snow,train", "b.jpg,Snow,train"]
    path = own / f"captions.{kind}"
    path.write_text("\n".join(lines))
    source = open_source(own)
    assert not source.labelled
    records, problems = read(source)
    assert [record.texts for record in records] == [("Snow", "Snow")]
    (problem,) = problems
    assert (problem.file, problem.line) == (str(path), 2)
    assert what in problem.what
    assert remedy in problem.remedy
    with pytest.raises(DataError, match="captions"):
        list(source.records("train"))


@pytest.mark.parametrize(
    "content, what", [("", "no rows"), ("a,b\n1,2\n3,4", "expected columns image")]
)
def test_a_table_without_header_or_rows_is_one_problem(own, content, what):
    (own / "captions.csv").write_text(content)
    records, problems = read(open_source(own))
    assert not records
    assert [what in problem.what for problem in problems] == [True]


def test_each_split_tells_only_its_own_bad_rows(own):
    (own / "captions.csv").write_text(
        "image,caption,split\nx.jpg,A dog,train\ny.jpg,Snow,test\nb.jpg,Sea,dev\n"
    )
    source = open_source(own)
    assert [len(read(source, split)[1]) for split in SPLITS] == [1, 0, 1]
