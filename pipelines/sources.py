"""Where records come from: course lists, official Flickr8k, a folder of one's own, the sample.

source = open_source("flickr8k/")            # finds out which of them it is
for record in source.records("train"): ...
"""

import hashlib
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from imagetext.errors import Problem, UserError
from imagetext.pipelines import sample
from imagetext.pipelines.lines import Problems, numbered_lines
from imagetext.pipelines.records import LABELS, SPLITS, Record, Source
from imagetext.pipelines.tables import table_rows

IMAGE_FOLDERS = ("flickr8k-resised", "images", "Images", "Flicker8k_Dataset", "Flickr8k_Dataset")
COURSE_LIST = "flickr8k.{}Images.txt"
TOKEN_FILE = "Flickr8k.token.txt"
OFFICIAL_LIST = "Flickr_8k.{}Images.txt"
CAPTION_FILES = ("captions.csv", "captions.tsv", "captions.jsonl")
KINDS = ("auto", "course", "flickr8k", "folder", "sample")

GET_DATA = """\
No data at {root}. Expected one of:
  the course's folder    flickr8k-resised/*.jpg beside flickr8k.TrainImages.txt (Dev, Test)
  official Flickr8k      Flickr8k.token.txt, Flickr_8k.trainImages.txt (dev, test) and images/
  a folder of your own   images/ and captions.csv (columns: image, caption[, label][, split])
or run without a path for the built-in sample."""


def open_source(root: str | Path, kind: str = "auto", images: str | Path | None = None) -> Source:
    """Open the data at `root`, which may be the folder itself or its image folder.

    `images` names the image folder where it is not at one of its usual places.
    """
    root = Path(root).expanduser()
    images = Path(images).expanduser() if images else None
    if images and not images.is_dir():
        raise UserError(f"{images}: no such image folder")
    if not root.name or root.name == "..":  # "." has no name and no parent to look into
        root = Path(os.path.abspath(root))  # noqa: PTH100 -- resolve() would follow links
    if root.is_file():
        raise UserError(f"{root}: is a file -- name the folder it lies in")
    if not root.is_dir():
        raise UserError(f"{root}: no such folder\n" + GET_DATA.format(root=root))
    openers = {"course": _open_course, "flickr8k": _open_flickr8k, "folder": _open_folder}
    openers["sample"] = _open_course
    if kind not in KINDS:
        raise UserError(f"unknown kind of data {kind!r} -- one of {', '.join(KINDS)}")
    for opener in dict.fromkeys(openers.values()) if kind == "auto" else [openers[kind]]:
        source = opener(root, images)
        if source:
            return source
    raise UserError(
        GET_DATA.format(root=root) + ("" if kind == "auto" else f"\n(asked for: {kind})")
    )


def every_record(source: Source) -> tuple[list[Record], list[Problem]]:
    """The rows of all splits, and everything wrong with the lists."""
    problems: list[Problem] = []
    return [row for split in SPLITS for row in source.records(split, problems)], problems


def _find(root: Path, name: str, inside: tuple[str, ...]) -> Path | None:
    """The folder holding `name`: root or one inside; where root holds photos, those beside it."""
    tops = [root, root.parent] if root.name in IMAGE_FOLDERS else [root]
    places = [place for top in tops for place in (top, *(top / folder for folder in inside))]
    return next((place for place in places if (place / name).is_file()), None)


def _image_folder(*places: Path) -> Path:
    """`places` begin with what the user named, which may be the image folder itself."""
    for place in places:
        for name in IMAGE_FOLDERS:
            if (place / name).is_dir():
                return place / name
        if place == places[0] and place.name in IMAGE_FOLDERS:
            return place
    wanted = ", ".join(IMAGE_FOLDERS)
    raise UserError(
        f"{places[0]}: no image folder here (looked for {wanted}) -- name it: --data.images PATH"
    )


# ------------------------------------------------------------------ the course's matching lists


def _open_course(root: Path, images: Path | None) -> "CourseLists | None":
    folder = _find(root, COURSE_LIST.format("Train"), inside=("itm",))
    if folder is None:
        return None
    images = images or _image_folder(root, folder, folder.parent)
    kind = "sample" if (folder / sample.MARKER).is_file() else "course lists"
    return CourseLists(folder, images, kind)


@dataclass(frozen=True)
class CourseLists:
    """Tab-separated rows `photo.jpg<TAB>caption<TAB>match|no-match`, one list a split."""

    root: Path
    images: Path
    kind: str = "course lists"
    labelled = True

    def records(self, split: str, problems: list[Problem] | None = None) -> Iterator[Record]:
        note = Problems(problems)
        path = self.root / COURSE_LIST.format(split.capitalize())
        photos = PhotoFolder(self.images)
        for line, text in numbered_lines(path, note):
            columns = [column.strip() for column in text.split("\t")]
            if len(columns) != 3:
                what = f"{len(columns)} tab-separated columns instead of 3"
                note.add(path, line, what, "write: photo.jpg<TAB>caption<TAB>match")
                continue
            name, caption, label = columns
            image = _checked_row(note, path, line, name, caption, label, photos)
            if image:
                yield Record(image, (caption,), label, split, str(path), line)


class PhotoFolder:
    """Where the photos of a list lie: looked up in one listing a folder, not by a stat each.

    An accented name is found in either of its two spellings: archives made on a Mac hold the other.
    """

    def __init__(self, root: Path):
        self.root = root
        self._listings: dict[Path, dict[str, str]] = {}

    def find(self, name: str) -> Path | None:
        wanted = Path(name)
        if wanted.parent not in self._listings:
            self._listings[wanted.parent] = _listing(self.root / wanted.parent)
        listing = self._listings[wanted.parent]
        spelt = listing.get(wanted.name) or listing.get(unicodedata.normalize("NFC", wanted.name))
        path = self.root / wanted.parent / (spelt or wanted.name)
        # Where capitals do not count, a file may be there under a name that is not listed.
        return path if spelt or os.path.isfile(path) else None  # noqa: PTH113 -- never raises


def _listing(folder: Path) -> dict[str, str]:
    try:
        names = [entry.name for entry in folder.iterdir()]
    except PermissionError as error:
        raise UserError(f"{folder}: may not be listed -- check the folder's rights") from error
    except (OSError, ValueError):
        return {}
    return {unicodedata.normalize("NFC", name): name for name in names} | dict(
        zip(names, names, strict=True)
    )


def _checked_row(
    note: Problems, path: Path, line: int, name: str, caption: str, label, photos: PhotoFolder
) -> Path | None:
    """The photo of a row, or None and a note of what is wrong with the row."""
    if not caption:
        note.add(path, line, "the caption is empty", "write one or remove the row")
    elif label is not None and label not in LABELS:
        note.add(path, line, f"unknown label {label!r}", "write match or no-match")
    elif not _is_inside(name):
        what = f"image {name!r} points outside the image folder"
        note.add(path, line, what, "name it relative to that folder")
    elif (image := photos.find(name)) is None:
        remedy = "add the file or remove the row"
        if "\\" in name:
            remedy = "write / between folders"
        note.add(path, line, f"image {name!r} is missing in {photos.root}", remedy)
    else:
        return image
    return None


def _is_inside(name: str) -> bool:
    path = Path(name)
    return bool(path.name) and not path.anchor and ".." not in path.parts


# ------------------------------------------------------------------------- official Flickr8k


def _open_flickr8k(root: Path, images: Path | None) -> "Flickr8k | None":
    inside = ("text", "Flickr8k_text")
    folder = _find(root, TOKEN_FILE, inside)
    if folder is None or not (folder / OFFICIAL_LIST.format("train")).is_file():
        return None
    return Flickr8k(folder, images or _image_folder(root, folder, folder.parent))


@dataclass(frozen=True)
class Flickr8k:
    """Captions of `Flickr8k.token.txt`, split by the official lists (6,000 / 1,000 / 1,000).

    The token file carries one key without a photo (2258277193_586949ec62.jpg.1); it is in no list
    and so is never asked for.
    """

    root: Path
    images: Path
    kind: str = "Flickr8k"
    labelled = False

    def records(self, split: str, problems: list[Problem] | None = None) -> Iterator[Record]:
        note = Problems(problems)
        path = self.root / OFFICIAL_LIST.format(split)
        photos = PhotoFolder(self.images)
        captions, mistakes = self._captions
        for mistake in mistakes:
            note.add(mistake.file, mistake.line, mistake.what, mistake.remedy)
        listed = [(line, name.strip()) for line, name in numbered_lines(path, note)]
        if listed and not any(name in captions for _, name in listed):
            what = f"none of the {len(listed):,} photos of the {split} list has captions"
            note.add(path, None, what, f"{TOKEN_FILE} holds them back: use another split")
            return
        for line, name in listed:
            if name not in captions:
                what = f"no captions for {name!r} in {TOKEN_FILE}"
                remedy = f"get the whole file; some copies hold back the {split} captions"
                note.add(path, line, what, remedy)
                continue
            lines, texts = zip(*captions[name], strict=True)
            image = _checked_row(note, path, line, name, texts[0], None, photos)
            if image:
                tokens = str(self.root / TOKEN_FILE)
                yield Record(image, texts, None, split, str(path), line, tokens, lines)

    @cached_property
    def _captions(self) -> tuple[dict[str, list[tuple[int, str]]], list[Problem]]:
        """The captions of all splits, each with its line, and what is wrong with the file: read
        once for all splits."""
        captions: dict[str, list[tuple[int, str]]] = {}
        mistakes: list[Problem] = []
        path, note = self.root / TOKEN_FILE, Problems(mistakes)
        for line, text in numbered_lines(path, note):
            key, tab, caption = text.partition("\t")
            name, mark, _ = key.partition("#")
            if not tab or not mark or not caption.strip():
                note.add(path, line, "not photo.jpg#N<TAB>caption", "mend or remove the line")
                continue
            captions.setdefault(name.strip(), []).append((line, caption.strip()))
        return captions, mistakes


# ------------------------------------------------------------------------ a folder of one's own

_SPLIT_NAMES = {
    "train": "train",
    "dev": "dev",
    "val": "dev",
    "valid": "dev",
    "validation": "dev",
    "test": "test",
}


def _open_folder(root: Path, images: Path | None) -> "CaptionFolder | None":
    found = ((folder, name) for name in CAPTION_FILES if (folder := _find(root, name, ())))
    folder, name = next(found, (None, ""))
    if folder is None:
        return None
    return CaptionFolder(folder, images or _image_folder(root, folder), folder / name)


@dataclass(frozen=True)
class CaptionFolder:
    """`images/` and `captions.csv`, `.tsv` or `.jsonl` with the columns image and caption.

    A column `label` (match / no-match) makes it a matching set. Without a column `split`, photos
    are dealt 80 / 10 / 10 by a hash of their names: the same photo always falls in the same split.
    """

    root: Path
    images: Path
    path: Path
    kind: str = "custom folder"

    @cached_property
    def labelled(self) -> bool:
        return any("label" in row for _, row in table_rows(self.path, Problems([])))

    def records(self, split: str, problems: list[Problem] | None = None) -> Iterator[Record]:
        note = Problems(problems)
        photos = PhotoFolder(self.images)
        captions: dict[Path, list[tuple[int, str]]] = {}
        for line, row in table_rows(self.path, note):
            name, caption, label = row["image"], row["caption"], row.get("label")
            given = row.get("split", "").lower()
            if given and given not in _SPLIT_NAMES:
                note.add(self.path, line, f"unknown split {given!r}", "write train, dev or test")
                continue
            if (_SPLIT_NAMES[given] if given else split_by_name(name)) != split:
                continue
            image = _checked_row(note, self.path, line, name, caption, label, photos)
            if image is None:
                continue
            if not self.labelled:
                captions.setdefault(image, []).append((line, caption))
            elif label:
                yield Record(image, (caption,), label, split, str(self.path), line)
            else:
                what = "no label, though other rows have one"
                note.add(self.path, line, what, "write match or no-match")
        for image, found in captions.items():
            (lines, texts), path = zip(*found, strict=True), str(self.path)
            yield Record(image, texts, None, split, path, lines[0], path, lines)


def split_by_name(name: str) -> str:
    """Deal a photo to train (80 %), dev (10 %) or test (10 %) by its name alone."""
    spelt = unicodedata.normalize("NFC", Path(name).as_posix())  # one name, one split
    place = hashlib.sha256(spelt.encode()).digest()[0] / 256
    return SPLITS[0] if place < 0.8 else SPLITS[1] if place < 0.9 else SPLITS[2]
