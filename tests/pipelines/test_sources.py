"""Reading lists and tables: every way a row can be right, and every way it can be wrong."""

import os
import shutil
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from imagetext.errors import DataError, UserError
from imagetext.pipelines.photo_folder import PhotoFolder
from imagetext.pipelines.records import SPLITS
from imagetext.pipelines.sources import open_source, require_data


def write_photo(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (200, 10, 10)).save(path)
    return path


def train_list(folder: Path) -> Path:
    return folder / "flickr8k.TrainImages.txt"


def read(source, split="train"):
    """What a reader gets who collects problems: the rows that are good, and what is wrong."""
    problems = []
    records = list(source.records(split, problems))
    return records, problems


# ------------------------------------------------------------------ the course's matching lists


GOOD = "train_0.jpg\tA dog runs .\tmatch\ntrain_1.jpg\tSnow .\tno-match\n"


@pytest.mark.parametrize(
    "data",
    [
        GOOD.encode(),
        GOOD.replace("\n", "\r\n").encode(),
        GOOD.replace("\n", "\r").encode(),
        GOOD.rstrip("\n").encode(),
        b"\xef\xbb\xbf" + GOOD.encode(),
        ("\n  \n" + GOOD.replace("\n", "\r\n\r\n")).encode(),
    ],
    ids=["lf", "crlf", "cr", "no final newline", "byte order mark", "blank lines"],
)
def test_a_list_reads_the_same_whatever_its_line_ends(course_folder, data):
    train_list(course_folder).write_bytes(data)
    rows = [
        (r.image.name, r.texts, r.label, r.split)
        for r in open_source(course_folder).records("train")
    ]
    assert rows == [
        ("train_0.jpg", ("A dog runs .",), "match", "train"),
        ("train_1.jpg", ("Snow .",), "no-match", "train"),
    ]


def test_a_row_knows_its_file_and_line_blank_lines_counted(course_folder):
    train_list(course_folder).write_text("\n\n" + GOOD)
    first = next(open_source(course_folder).records("train"))
    assert (first.file, first.line) == (str(train_list(course_folder)), 3)


BAD_ROWS = {
    "two columns": (
        b"train_1.jpg\tA dog",
        "expected 3 tab-separated columns, got 2",
        "write: photo",
    ),
    "four columns": (b"train_1.jpg\ta\tb\tmatch", "columns, got 4", "write: photo"),
    "label": (b"train_1.jpg\tA dog\tyes", "unknown label 'yes'", "write match or no-match"),
    "caption": (b"train_1.jpg\t \tmatch", "the caption is empty", "remove the row"),
    "encoding": (b"train_1.jpg\tcaf\xe9\tmatch", "byte 16 of the line is not UTF-8", "save the"),
    "NUL": (b"train_1.jpg\ta\0b\tmatch", "contains a NUL", "save the file as UTF-8"),
    "missing": (b"nowhere.jpg\tA dog\tmatch", "image 'nowhere.jpg' is missing", "add the file"),
    "no name": (b"\tA dog\tmatch", "image '' points outside", "give a path relative"),
    "escape": (b"../x.jpg\tA dog\tmatch", "'../x.jpg' points outside", "give a path relative"),
    "deep escape": (b"a/../../x.jpg\tA dog\tmatch", "points outside", "give a path relative"),
    "absolute": (b"/etc/x.jpg\tA dog\tmatch", "x.jpg' points outside", "give a path relative"),
    "backslash": (b"a\\x.jpg\tA dog\tmatch", "is missing", "separate folders with /"),
    "long name": (b"x" * 3000 + b"\tA dog\tmatch", "is missing", "add the file"),
}


@pytest.mark.skipif(os.sep == "\\", reason="paths are written for POSIX")
@pytest.mark.parametrize("row, what, remedy", BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_bad_row_is_named_by_file_and_line_and_the_others_still_come(
    course_folder, row, what, remedy
):
    (course_folder / "x.jpg").write_bytes(b"beside the image folder")
    path = train_list(course_folder)
    lines = [b"train_0.jpg\tA dog\tmatch", row, b"train_2.jpg\tSnow\tno-match"]
    path.write_bytes(b"\r\n".join(lines))
    source = open_source(course_folder)
    with pytest.raises(DataError) as raised:
        list(source.records("train"))
    assert str(raised.value).startswith(f"{path}:2: ")
    records, problems = read(source)
    assert [record.image.name for record in records] == ["train_0.jpg", "train_2.jpg"]
    (problem,) = problems
    assert problem.line == 2
    assert what in problem.what
    assert remedy in problem.remedy


def test_all_problems_of_a_list_are_collected_once_each(course_folder):
    path = train_list(course_folder)
    path.write_text("a\nb\nc\ntrain_0.jpg\tA dog\tmatch\nd")
    source, problems = open_source(course_folder), []
    for _ in range(2):
        assert len(list(source.records("train", problems))) == 1
    assert [problem.line for problem in problems] == [1, 2, 3, 5]


def test_an_absent_list_is_a_problem_with_its_name(course_folder):
    (course_folder / "flickr8k.DevImages.txt").unlink()
    with pytest.raises(
        DataError, match=r"DevImages\.txt: cannot be read: .* found only .*TrainImages\.txt"
    ):
        list(open_source(course_folder).records("dev"))


def test_the_root_may_be_the_folder_its_list_folder_or_its_image_folder(course_folder, tmp_path):
    nested = tmp_path / "nested"
    (nested / "itm").mkdir(parents=True)
    for path in course_folder.glob("*.txt"):
        shutil.copy(path, nested / "itm")
    shutil.copytree(course_folder / "flickr8k-resised", nested / "images")
    flat, expected = course_folder, len(list(open_source(course_folder).records("train")))
    assert expected == 36
    for root, images in (
        (flat, flat / "flickr8k-resised"),
        (flat / "flickr8k-resised", flat / "flickr8k-resised"),
        (nested, nested / "images"),
        (nested / "itm", nested / "images"),
        (nested / "images", nested / "images"),
    ):
        source = open_source(root)
        assert (source.kind, source.labelled, source.images) == ("course lists", True, images)
        assert len(list(source.records("train"))) == expected


def test_the_image_folder_may_be_the_working_folder(course_folder, monkeypatch):
    monkeypatch.chdir(course_folder / "flickr8k-resised")
    assert len(list(open_source(".").records("dev"))) == 18


def test_images_may_lie_elsewhere_and_a_wrong_place_is_named(course_folder, tmp_path):
    elsewhere = (course_folder / "flickr8k-resised").rename(tmp_path / "photos")
    with pytest.raises(UserError, match=r"but no folder with their photos.*--data\.images"):
        open_source(course_folder)
    with pytest.raises(UserError, match="no such image folder"):
        open_source(course_folder, images=tmp_path / "nowhere")
    first = next(open_source(course_folder, images=elsewhere).records("test"))
    assert first.image.parent == elsewhere


def test_a_folder_of_ones_own_inside_the_course_folder_is_opened_itself(course_folder):
    own = course_folder / "mine"
    write_photo(own / "images" / "a.jpg")
    (own / "captions.csv").write_text("image,caption\na.jpg,A dog\n")
    assert open_source(own).kind == "custom folder"
    (course_folder / "empty").mkdir()
    with pytest.raises(UserError, match="no dataset found"):
        open_source(course_folder / "empty")


def test_what_holds_no_data_is_told_what_is_expected(course_folder, tmp_path):
    with pytest.raises(UserError, match=r"no such folder(?s:.)*captions\.csv"):
        open_source(tmp_path / "nowhere")
    with pytest.raises(UserError, match="expected a folder, got a file"):
        open_source(course_folder / "flickr8k-resised" / "dev_0.jpg")
    with pytest.raises(UserError, match=r"data\.kind is flickr8k"):
        open_source(course_folder, kind="flickr8k")
    with pytest.raises(UserError, match=r"data\.kind: expected .*, got 'coco'"):
        open_source(course_folder, kind="coco")


def test_photos_are_found_in_subfolders_through_links_and_under_accented_names(tmp_path):
    images = tmp_path / "images"
    write_photo(images / "dogs" / "a.jpg")
    composed, decomposed = (unicodedata.normalize(form, "café.jpg") for form in ("NFC", "NFD"))
    real = write_photo(images / decomposed)
    linked = tmp_path / "linked"
    linked.symlink_to(images, target_is_directory=True)
    photos = PhotoFolder(linked)
    assert photos.find("dogs/a.jpg") == linked / "dogs" / "a.jpg"
    assert photos.find("dogs/b.jpg") is None
    assert photos.find("cats/a.jpg") is None
    assert photos.find(composed).samefile(real)
    assert photos.find(decomposed).samefile(real)
    other = write_photo(images / "é.jpg")
    assert PhotoFolder(images).find(unicodedata.normalize("NFD", "é.jpg")).samefile(other)


def test_a_photo_is_looked_up_in_the_listing_not_by_a_stat_each(course_folder, monkeypatch):
    asked = []
    monkeypatch.setattr(os.path, "isfile", lambda path: asked.append(path) or False)
    source = open_source(course_folder)
    asked.clear()
    assert len(list(source.records("train"))) == 36
    assert not asked


@pytest.mark.parametrize("name", ["v7w.{}Images.itm.txt", "coco.{}Images.txt", "a.b.{}Images.txt"])
def test_lists_of_any_stem_are_read_beside_any_image_folder(course_folder, name):
    for split in ("Train", "Dev", "Test"):
        path = course_folder / f"flickr8k.{split}Images.txt"
        path.rename(course_folder / name.format(split))
    photos = (course_folder / "flickr8k-resised").rename(course_folder / "v7w-photos")
    (course_folder / "decoys").mkdir()
    (course_folder / "decoys" / "train_0.jpg").write_bytes(b"one of the photos only")
    source = open_source(course_folder)
    assert source.images == photos
    (course_folder / "images").mkdir()  # a usual name, but without the photos
    assert open_source(course_folder).images == photos
    assert [len(list(source.records(split))) for split in SPLITS] == [36, 18, 18]
    by_file = open_source(course_folder / name.format("Test"))
    assert by_file.root == course_folder


def test_itm_lists_take_precedence_over_plain_lists_of_photos(course_folder):
    for split in SPLITS:
        path = course_folder / f"flickr8k.{split.capitalize()}Images.txt"
        path.rename(path.with_suffix(".itm.txt"))
        path.write_text(f"{split}_0.jpg\n")
    assert [len(list(open_source(course_folder).records(split))) for split in SPLITS] == [
        36,
        18,
        18,
    ]


def test_a_folder_of_datasets_suggests_one_of_them(course_folder, tmp_path):
    parent = tmp_path / "datasets"
    parent.mkdir()
    shutil.copytree(course_folder, parent / "flickr8k")
    with pytest.raises(UserError, match=r"no dataset found; did you mean .*datasets/flickr8k\?"):
        open_source(parent)


def test_lists_of_several_data_sets_must_be_told_apart(course_folder):
    other = course_folder / "coco.TrainImages.txt"
    shutil.copy(course_folder / "flickr8k.TrainImages.txt", other)
    with pytest.raises(UserError, match=r"several datasets \(coco.*, flickr8k.*\)"):
        open_source(course_folder)
    assert open_source(other).stem == "coco"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["coco.DevImages.txt"], r"found coco\.DevImages\.txt; missing coco\.TrainImages\.txt"),
        (["Flickr8k.token.txt"], r"found Flickr8k\.token\.txt; missing Flickr_8k\.trainImages"),
        (["images/a.jpg"], r"found images/; missing captions\.csv"),
        (["a.jpg"], r"found images; missing captions\.csv"),
        (
            ["coco.TrainImages.txt"],
            r"found coco\.TrainImages\.txt, but no folder with their photos",
        ),
    ],
)
def test_a_folder_that_almost_fits_says_what_is_missing(tmp_path, files, message):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a.jpg\tA dog .\tmatch\n")
    with pytest.raises(UserError, match=message):
        open_source(tmp_path)


def test_required_data_is_the_sample_or_a_folder_that_exists(course_folder, tmp_path):
    def config(**keys) -> SimpleNamespace:
        return SimpleNamespace(data=SimpleNamespace(**keys))

    require_data(SimpleNamespace())
    require_data(config(root=None))
    require_data(config(root=str(course_folder)))
    with pytest.raises(UserError, match="no such folder"):
        require_data(config(root=str(tmp_path / "nowhere"), kind="course"))
    with pytest.raises(UserError, match="no such image folder"):
        require_data(config(root=str(course_folder), images=str(tmp_path / "nowhere")))


# ------------------------------------------------------------------------- official Flickr8k


@pytest.fixture
def official(tmp_path):
    root = tmp_path / "official"
    names = {"train": ["a.jpg", "b.jpg"], "dev": ["c.jpg"], "test": ["d.jpg"]}
    lines = ["2258277193_586949ec62.jpg.1#0\tA key without a photo"]
    for split, photos in names.items():
        for name in photos:
            write_photo(root / "images" / name)
            lines += [f"{name}#{number}\t{name} told {number} ." for number in range(5)]
        (root / "text").mkdir(exist_ok=True)
        (root / "text" / f"Flickr_8k.{split}Images.txt").write_text("\n".join(photos))
    (root / "text" / "Flickr8k.token.txt").write_text("\n".join(lines))
    return root


def test_official_flickr8k_gives_each_photo_with_its_five_captions(official):
    for root in (official, official / "text", official / "images"):
        source = open_source(root)
        assert (source.kind, source.labelled) == ("Flickr8k", False)
        found = {split: [r.image.name for r in source.records(split)] for split in SPLITS}
        assert found == {"train": ["a.jpg", "b.jpg"], "dev": ["c.jpg"], "test": ["d.jpg"]}
    (record,) = source.records("dev")
    assert record.texts == tuple(f"c.jpg told {number} ." for number in range(5))
    assert record.label is None


def test_flickr8k_captions_held_back_or_malformed_are_problems_noted_once(official):
    token = official / "text" / "Flickr8k.token.txt"
    kept = [line for line in token.read_text().splitlines() if not line.startswith("d.jpg")]
    token.write_text("\n".join([*kept, "a.jpg no key"]))
    (official / "images" / "b.jpg").unlink()
    source, problems = open_source(official), []
    names = [r.image.name for split in SPLITS for r in source.records(split, problems)]
    assert names == ["a.jpg", "c.jpg"]
    told = {Path(p.file).name: (p.line, p.what, p.remedy) for p in problems}
    assert len(problems) == len(told) == 3
    assert told["Flickr8k.token.txt"][:2] == (len(kept) + 1, "expected photo.jpg#N<TAB>caption")
    line, what, remedy = told["Flickr_8k.testImages.txt"]  # one problem, not one a photo
    assert (line, what) == (None, "no captions for any of the 1 photos of the test list")
    assert "comes without them" in remedy
    assert "'b.jpg' is missing" in told["Flickr_8k.trainImages.txt"][1]


def test_the_token_file_is_read_once_for_all_splits(official, monkeypatch):
    opened, plain = [], Path.open

    def counted(path, *args, **kwargs):
        opened.append(path.name)
        return plain(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", counted)
    source = open_source(official)
    assert sum(len(list(source.records(split))) for split in SPLITS) == 4
    assert opened.count("Flickr8k.token.txt") == 1
