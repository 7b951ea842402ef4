"""Open a data folder: course lists, official Flickr8k, a custom folder, or the built-in sample.

source = open_source("flickr8k/")            # detects the kind
for record in source.records("train"): ...
"""

import os
from pathlib import Path
from typing import Any

from imagetext.errors import Problem, UserError
from imagetext.files import cache_folder
from imagetext.pipelines import sample
from imagetext.pipelines.caption_folder import CAPTION_FILES, CaptionFolder
from imagetext.pipelines.course_lists import (
    LIST,
    CourseLists,
    find_lists,
    folder_of_photos,
    listed_photos,
)
from imagetext.pipelines.flickr8k import OFFICIAL_LIST, TOKEN_FILE, Flickr8k
from imagetext.pipelines.records import SPLITS, Record, Source

IMAGE_FOLDERS = ("flickr8k-resised", "images", "Images", "Flicker8k_Dataset", "Flickr8k_Dataset")
IMAGE_ENDINGS = {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp"}
KINDS = ("auto", "course", "flickr8k", "folder", "sample")

GET_DATA = """\
Expected one of:
  the course's folder    <name>.TrainImages.txt (and Dev, Test) beside a folder of photos
  official Flickr8k      Flickr8k.token.txt, Flickr_8k.trainImages.txt (dev, test) and images/
  a custom folder        images/ and captions.csv (columns: image, caption[, label][, split])
or no path at all, for the built-in sample."""


def open_source(root: str | Path, kind: str = "auto", images: str | Path | None = None) -> Source:
    """Open a data folder. Needs no TensorFlow.

    Args:
        root: The folder, its image folder, or one of the course's lists in it.
        kind: One of `KINDS`; "auto" detects it.
        images: The image folder, if it cannot be detected.

    Returns:
        The source of records.

    Raises:
        UserError: If there is no data; the message says what was found and what is missing.
    """
    root = Path(root).expanduser()
    images = Path(images).expanduser() if images else None
    if images and not images.is_dir():
        raise UserError(f"{images}: no such image folder")
    if not root.name or root.name == "..":  # "." has neither a name nor a parent
        root = Path(os.path.abspath(root))  # noqa: PTH100 -- resolve() would follow links
    stem = None
    if root.is_file():
        match = LIST.fullmatch(root.name)
        if not match:
            raise UserError(
                f"{root}: expected a folder, got a file; use the folder that contains it"
            )
        root, stem = root.parent, match["stem"]
    if not root.is_dir():
        raise UserError(f"{root}: no such folder\n{GET_DATA}")
    if kind not in KINDS:
        raise UserError(f"data.kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    if kind in ("auto", "course", "sample") and (lists := _open_course(root, images, stem)):
        return lists
    if kind in ("auto", "flickr8k") and (flickr8k := _open_flickr8k(root, images)):
        return flickr8k
    if kind in ("auto", "folder") and (folder := _open_folder(root, images)):
        return folder
    wanted = "" if kind == "auto" else f" (data.kind is {kind})"
    raise UserError(f"{root}: no dataset found{wanted}{_near_miss(root)}\n{GET_DATA}")


def open_source_or_sample(
    root: str | Path | None, kind: str = "auto", images: str | Path | None = None
) -> Source:
    """Like `open_source`, but without a folder, open the built-in sample."""
    if root is None:
        folder = cache_folder() / f"sample-{sample.VERSION}"
        return open_source(sample.write_sample(folder), "sample")
    return open_source(root, kind, images)


def require_data(config: Any) -> None:
    """Refuse a configuration whose `data` names a folder without a dataset; needs no TensorFlow."""
    data: Any = getattr(config, "data", None)
    if getattr(data, "root", None):
        open_source(data.root, getattr(data, "kind", "auto"), getattr(data, "images", None))


def every_record(source: Source) -> tuple[list[Record], list[Problem]]:
    """The records of all splits, and all problems of the lists."""
    problems: list[Problem] = []
    return [row for split in SPLITS for row in source.records(split, problems)], problems


def _places(root: Path, inside: tuple[str, ...] = ()) -> list[Path]:
    """Folders that may contain lists: root and folders in it; if root contains the photos, also the
    folder around it."""
    tops = [root, root.parent] if root.name in IMAGE_FOLDERS or _has_images(root) else [root]
    return [place for top in tops for place in (top, *(top / folder for folder in inside))]


def _find(root: Path, name: str, inside: tuple[str, ...] = ()) -> Path | None:
    return next((place for place in _places(root, inside) if (place / name).is_file()), None)


def _usual_image_folder(*places: Path) -> Path | None:
    """The image folder in one of the places, of which the first may be the image folder itself."""
    for place in places:
        for name in IMAGE_FOLDERS:
            if (place / name).is_dir():
                return place / name
        if place == places[0] and place.name in IMAGE_FOLDERS:
            return place
    return None


def _image_folder(*places: Path) -> Path:
    folder = _usual_image_folder(*places)
    if folder is None:
        wanted = ", ".join(IMAGE_FOLDERS)
        raise UserError(f"{places[0]}: no image folder (expected {wanted}); set --data.images PATH")
    return folder


def _open_course(root: Path, images: Path | None, stem: str | None) -> CourseLists | None:
    for folder in _places(root, inside=("itm",)):
        lists = {name: files for name, files in find_lists(folder).items() if "train" in files}
        if stem:
            lists = {name: files for name, files in lists.items() if name == stem}
        if not lists:
            continue
        if len(lists) > 1:
            names = ", ".join(sorted(files["train"].name for files in lists.values()))
            raise UserError(
                f"{folder}: lists of several datasets ({names}); set data.root to one of these"
            )
        ((name, files),) = lists.items()
        images = images or _image_folder_of_lists(root, folder, list(files.values()))
        kind = "sample" if (folder / sample.MARKER).is_file() else "course lists"
        return CourseLists(folder, images, name, kind)
    return None


def _image_folder_of_lists(root: Path, folder: Path, lists: list[Path]) -> Path:
    """The usual image folder, or any folder nearby that contains the photos of the lists."""
    usual = _usual_image_folder(root, folder, folder.parent)
    nearby = [root, folder, *_subfolders(folder), *_subfolders(root)]
    if folder.name == "itm":
        nearby += _subfolders(folder.parent)
    candidates = dict.fromkeys([usual, *nearby] if usual else nearby)
    # The usual folder, unless another one contains more of the photos.
    images = folder_of_photos(lists, list(candidates)) or usual
    if images is None:
        names = ", ".join(sorted(path.name for path in lists))
        example = next((name for path in lists for name in listed_photos(path)), "its photos")
        raise UserError(
            f"{folder}: found {names}, but no folder with their photos (such as {example});"
            " set --data.images PATH"
        )
    return images


def _open_flickr8k(root: Path, images: Path | None) -> Flickr8k | None:
    folder = _find(root, TOKEN_FILE, inside=("text", "Flickr8k_text"))
    if folder is None or not (folder / OFFICIAL_LIST.format("train")).is_file():
        return None
    return Flickr8k(folder, images or _image_folder(root, folder, folder.parent))


def _open_folder(root: Path, images: Path | None) -> CaptionFolder | None:
    for name in CAPTION_FILES:
        if folder := _find(root, name):
            return CaptionFolder(folder, images or _image_folder(root, folder), folder / name)
    return None


def _near_miss(root: Path) -> str:
    """Which files of a dataset a folder contains, and which are missing."""
    messages = []
    for folder in _places(root, inside=("itm", "text", "Flickr8k_text")):
        for stem, lists in find_lists(folder).items():
            names = [f"{stem}.{split.capitalize()}Images.txt" for split in SPLITS]
            missing = [n for n, split in zip(names, SPLITS, strict=True) if split not in lists]
            messages.append((sorted(path.name for path in lists.values()), missing))
        official = [TOKEN_FILE, *(OFFICIAL_LIST.format(split) for split in SPLITS)]
        here = [name for name in official if (folder / name).is_file()]
        if here and len(here) < len(official):
            messages.append((here, [name for name in official if name not in here]))
    images = _usual_image_folder(root)
    if not messages and images:
        messages.append(([f"{images.name}/"], ["captions.csv, or the lists of a dataset"]))
    if not messages and _has_images(root):
        messages.append((["images"], ["captions.csv, or the lists of a dataset"]))
    hints = "".join(f"; found {', '.join(a)}; missing {', '.join(b)}" for a, b in messages)
    return hints or "".join(f"; did you mean {each}?" for each in _subfolders_with_data(root)[:1])


def _subfolders_with_data(root: Path) -> list[Path]:
    names = {TOKEN_FILE, *CAPTION_FILES}
    return [
        folder
        for folder in _subfolders(root)
        if any(find_lists(place) for place in _places(folder, inside=("itm",)))
        or any((place / name).is_file() for place in (folder, folder / "text") for name in names)
    ]


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return []


def _has_images(folder: Path) -> bool:
    try:
        return any(path.suffix.lower() in IMAGE_ENDINGS for path in folder.iterdir())
    except OSError:
        return False
