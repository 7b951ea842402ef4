"""Rows of a list, and the folder that holds their photos."""

import os
import unicodedata
from pathlib import Path

from imagetext.errors import UserError
from imagetext.pipelines.lines import Problems
from imagetext.pipelines.records import LABELS


class PhotoFolder:
    """The folder that holds the photos of a list.

    Names are looked up in a listing of the folder, not with a system call for each. Accented names
    are found in either Unicode spelling: archives made on a Mac use the other one.
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
        # On a file system that ignores case, a file may exist under a name that is not listed.
        return path if spelt or os.path.isfile(path) else None  # noqa: PTH113 -- never raises


def _listing(folder: Path) -> dict[str, str]:
    try:
        names = [entry.name for entry in folder.iterdir()]
    except PermissionError as error:
        raise UserError(f"{folder}: permission denied; check its permissions") from error
    except (OSError, ValueError):
        return {}
    return {unicodedata.normalize("NFC", name): name for name in names} | dict(
        zip(names, names, strict=True)
    )


def checked_image(
    note: Problems, path: Path, line: int, name: str, caption: str, label, photos: PhotoFolder
) -> Path | None:
    """The photo of a row, or None after noting what is wrong with the row."""
    if not caption:
        note.add(path, line, "the caption is empty", "write one or remove the row")
    elif label is not None and label not in LABELS:
        note.add(path, line, f"unknown label {label!r}", "write match or no-match")
    elif not _is_inside(name):
        what = f"image {name!r} points outside the image folder"
        note.add(path, line, what, "give a path relative to that folder")
    elif (image := photos.find(name)) is None:
        remedy = "add the file or remove the row"
        if "\\" in name:
            remedy = "separate folders with /"
        note.add(path, line, f"image {name!r} is missing in {photos.root}", remedy)
    else:
        return image
    return None


def _is_inside(name: str) -> bool:
    path = Path(name)
    return bool(path.name) and not path.anchor and ".." not in path.parts
