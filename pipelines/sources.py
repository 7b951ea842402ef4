"""Where records come from: course lists, official Flickr8k, a folder of one's own, the sample.

source = open_source("flickr8k/")            # finds out which of them it is
for record in source.records("train"): ...
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines import sample
from pipelines.errors import Problem, UserError
from pipelines.lines import Problems, numbered_lines
from pipelines.records import LABELS, SPLITS, Record, Source

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


def _find(root: Path, name: str, inside: tuple[str, ...]) -> Path | None:
    """The folder holding `name`: root itself, the one above, or one inside."""
    places = [root, root.parent, *(root / folder for folder in inside)]
    return next((place for place in places if (place / name).is_file()), None)


def _image_folder(*places: Path) -> Path:
    for place in places:
        for name in IMAGE_FOLDERS:
            if (place / name).is_dir():
                return place / name
    wanted = ", ".join(IMAGE_FOLDERS)
    raise UserError(
        f"{places[0]}: no image folder here (looked for {wanted}) -- name it: --data.images PATH"
    )


# ------------------------------------------------------------------ the course's matching lists


def _open_course(root: Path, images: Path | None) -> "CourseLists | None":
    folder = _find(root, COURSE_LIST.format("Train"), inside=("itm",))
    if folder is None:
        return None
    if images is None:
        above = folder == root.parent and root.name in IMAGE_FOLDERS
        images = root if above else _image_folder(folder, folder.parent)
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
        here = _names(self.images)
        for line, text in numbered_lines(path, note):
            columns = [column.strip() for column in text.split("\t")]
            if len(columns) != 3:
                what = f"{len(columns)} tab-separated columns instead of 3"
                note.add(path, line, what, "write: photo.jpg<TAB>caption<TAB>match")
                continue
            name, caption, label = columns
            if _bad_row(note, path, line, name, caption, label, here, self.images):
                continue
            yield Record(self.images / name, (caption,), label, split, str(path), line)


def _names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()


def _bad_row(
    note: Problems, path, line, name, caption, label, here: set[str], images: Path
) -> bool:
    """Note what is wrong with a row; photos are looked up in one listing, not one stat each."""
    if not caption:
        note.add(path, line, "the caption is empty", "write one or remove the row")
    elif label is not None and label not in LABELS:
        note.add(path, line, f"unknown label {label!r}", "write match or no-match")
    elif not _is_inside(name):
        note.add(
            path, line, f"image {name!r} points outside the image folder", "name it relative to it"
        )
    elif name not in here and not (images / name).is_file():
        note.add(
            path, line, f"image {name!r} is missing in {images}", "add the file or remove the row"
        )
    else:
        return False
    return True


def _is_inside(name: str) -> bool:
    return bool(name) and not Path(name).is_absolute() and ".." not in Path(name).parts


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
        here = _names(self.images)
        captions = self._captions(note)
        for line, name in numbered_lines(path, note):
            name = name.strip()
            if not _is_inside(name) or name not in here:
                note.add(path, line, f"image {name!r} is missing in {self.images}", "add the file")
            elif name not in captions:
                what = f"no captions for {name!r} in {TOKEN_FILE}"
                note.add(
                    path,
                    line,
                    what,
                    f"get the whole file; some copies hold back the {split} captions",
                )
            else:
                yield Record(
                    self.images / name, tuple(captions[name]), None, split, str(path), line
                )

    def _captions(self, note: Problems) -> dict[str, list[str]]:
        captions: dict[str, list[str]] = {}
        path = self.root / TOKEN_FILE
        for line, text in numbered_lines(path, note):
            key, tab, caption = text.partition("\t")
            name, mark, _ = key.partition("#")
            if not tab or not mark or not caption.strip():
                note.add(path, line, "not photo.jpg#N<TAB>caption", "mend or remove the line")
                continue
            captions.setdefault(name.strip(), []).append(caption.strip())
        return captions


# ------------------------------------------------------------------------ a folder of one's own

_COLUMNS = {
    "image": ("image", "file", "file_name", "filename", "photo", "path"),
    "caption": ("caption", "text", "sentence"),
    "label": ("label",),
    "split": ("split",),
}
_SPLIT_NAMES = {
    "train": "train",
    "dev": "dev",
    "val": "dev",
    "valid": "dev",
    "validation": "dev",
    "test": "test",
}


def _open_folder(root: Path, images: Path | None) -> "CaptionFolder | None":
    folder = next(
        (p for p in (root, root.parent) if any((p / n).is_file() for n in CAPTION_FILES)), None
    )
    if folder is None:
        return None
    path = next(folder / name for name in CAPTION_FILES if (folder / name).is_file())
    source = CaptionFolder(folder, images or _image_folder(folder), path)
    return source


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

    @property
    def labelled(self) -> bool:
        first = next(self._rows(Problems([])), (0, {}))[1]
        return "label" in first

    def records(self, split: str, problems: list[Problem] | None = None) -> Iterator[Record]:
        note = Problems(problems)
        here = _names(self.images)
        captions: dict[str, list[tuple[int, str]]] = {}
        for line, row in self._rows(note):
            name, caption, label = row["image"], row["caption"], row.get("label")
            if _bad_row(note, self.path, line, name, caption, label, here, self.images):
                continue
            given = (row.get("split") or "").lower()
            if given and given not in _SPLIT_NAMES:
                note.add(self.path, line, f"unknown split {given!r}", "write train, dev or test")
                continue
            if (_SPLIT_NAMES[given] if given else split_by_name(name)) != split:
                continue
            if label is not None:
                yield Record(self.images / name, (caption,), label, split, str(self.path), line)
            else:
                captions.setdefault(name, []).append((line, caption))
        for name, found in captions.items():
            texts = tuple(caption for _, caption in found)
            yield Record(self.images / name, texts, None, split, str(self.path), found[0][0])

    def _rows(self, note: Problems) -> Iterator[tuple[int, dict[str, str]]]:
        if self.path.suffix == ".jsonl":
            return self._json_rows(note)
        return self._table_rows(note, "\t" if self.path.suffix == ".tsv" else ",")

    def _json_rows(self, note: Problems) -> Iterator[tuple[int, dict[str, str]]]:
        for line, text in numbered_lines(self.path, note):
            try:
                row = json.loads(text)
            except json.JSONDecodeError as error:
                note.add(self.path, line, f"not JSON: {error.msg}", "one JSON object a line")
                continue
            if not isinstance(row, dict):
                note.add(
                    self.path,
                    line,
                    "not a JSON object",
                    'write {"image": "a.jpg", "caption": "..."}',
                )
                continue
            yield from self._named(note, line, row)

    def _table_rows(self, note: Problems, delimiter: str) -> Iterator[tuple[int, dict[str, str]]]:
        lines = numbered_lines(self.path, note)
        header_line = next(lines, None)
        if header_line is None:
            note.add(self.path, None, "the file is empty", "begin with the line: image,caption")
            return
        header = next(csv.reader([header_line[1]], delimiter=delimiter))
        for line, text in lines:
            cells = next(csv.reader(io.StringIO(text), delimiter=delimiter))
            if len(cells) != len(header):
                what = f"{len(cells)} columns instead of {len(header)}"
                note.add(self.path, line, what, f"quote captions that hold {delimiter!r}")
                continue
            yield from self._named(note, line, dict(zip(header, cells, strict=True)))

    def _named(self, note: Problems, line: int, row: dict) -> Iterator[tuple[int, dict[str, str]]]:
        known = {str(key).strip().lower(): value for key, value in row.items()}
        named = {
            column: str(known[name]).strip()
            for column, names in _COLUMNS.items()
            for name in names
            if known.get(name) is not None
        }
        if "image" in named and "caption" in named:
            yield line, named
        else:
            what = f"no columns image and caption, but {', '.join(map(str, row)) or 'nothing'}"
            note.add(self.path, line, what, "name the columns image and caption")


def split_by_name(name: str) -> str:
    """Deal a photo to train (80 %), dev (10 %) or test (10 %) by its name alone."""
    place = hashlib.sha256(name.encode()).digest()[0] / 256
    return SPLITS[0] if place < 0.8 else SPLITS[1] if place < 0.9 else SPLITS[2]
