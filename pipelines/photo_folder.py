"""The folder with the photos of a list, and checks of the rows that name them."""

import os
import unicodedata
from pathlib import Path

from imagetext.errors import UserError
from imagetext.pipelines.lines import Problems
from imagetext.pipelines.records import LABELS


class PhotoFolder:
    """The folder with the photos of a list.

    Names are looked up in a listing of the folder, which is faster than a system call for each.
    Accented names are found in either Unicode normal form: archives made on a Mac use NFD.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path):
        self.root = root
        self._listings: dict[Path, dict[str, str]] = {}

    def find(self, name: str) -> Path | None:
        """The file of a photo; None if it is missing."""
        path = Path(name)
        if path.parent not in self._listings:
            self._listings[path.parent] = _listing(self.root / path.parent)
        listing = self._listings[path.parent]
        listed = listing.get(path.name) or listing.get(unicodedata.normalize("NFC", path.name))
        file = self.root / path.parent / (listed or path.name)
        # On a file system that ignores case, a file may exist under a name that is not listed.
        return file if listed or os.path.isfile(file) else None  # noqa: PTH113 -- never raises


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
    """Check a row.

    Args:
        note: A problem is added to it if the row is bad.
        path: The list.
        line: The line of the row.
        name: The name of the photo.
        caption: The caption.
        label: The label; None if the list has none.
        photos: The folder of the photos.

    Returns:
        The photo; None if the row is bad.
    """
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
