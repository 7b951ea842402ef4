"""The course's lists for matching, such as flickr8k.TrainImages.txt or v7w.TrainImages.itm.txt."""

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from imagetext.errors import Problem
from imagetext.pipelines.lines import Problems, numbered_lines
from imagetext.pipelines.photo_folder import PhotoFolder, checked_image
from imagetext.pipelines.records import Record

#: `<name>.{Train,Dev,Test}Images[.itm].txt`
LIST = re.compile(r"(?P<stem>.+)\.(?P<split>Train|Dev|Test)Images(?P<itm>\.itm)?\.txt")
#: Number of rows of each list that are read to find the image folder.
_SAMPLE = 20


def find_lists(folder: Path) -> dict[str, dict[str, Path]]:
    """The lists in a folder, by name and split: {"flickr8k": {"train": Path(...), "dev": ...}}.

    A list `<name>.TrainImages.itm.txt` takes precedence over `<name>.TrainImages.txt`, which may
    then be a list of photos without captions.
    """
    lists: dict[str, dict[str, Path]] = {}
    if not folder.is_dir():
        return lists
    for path in sorted(folder.glob("*Images*.txt")):
        match = LIST.fullmatch(path.name)
        if match and path.is_file():
            splits = lists.setdefault(match["stem"], {})
            if match["itm"] or match["split"].lower() not in splits:
                splits[match["split"].lower()] = path
    return lists


def folder_of_photos(lists: Sequence[Path], folders: Sequence[Path]) -> Path | None:
    """The folder that contains most of the photos in the lists; None if no folder has any."""
    names = [name for path in lists for name in listed_photos(path)]
    counts: Counter[Path] = Counter()
    for folder in folders:
        photos = PhotoFolder(folder)
        counts[folder] = sum(photos.find(name) is not None for name in names)
    best = counts.most_common(1)
    return best[0][0] if best and best[0][1] else None


def listed_photos(path: Path) -> list[str]:
    """The names of the photos in the first rows of a list."""
    lines = itertools.islice(numbered_lines(path, Problems([])), _SAMPLE)
    return [text.split("\t")[0].strip() for _, text in lines]


@dataclass(frozen=True)
class CourseLists:
    """Tab-separated rows `photo.jpg<TAB>caption<TAB>match|no-match`, with a list for each split.

    Args:
        root: The folder of the lists.
        images: The folder of the photos.
        stem: The name that the lists start with.
        kind: What the source is, for reports.
    """

    root: Path
    images: Path
    stem: str = "flickr8k"
    kind: str = "course lists"
    labelled = True

    def list_file(self, split: str) -> Path:
        """The list of a split; the file may be missing."""
        expected = self.root / f"{self.stem}.{split.capitalize()}Images.txt"
        return self._lists.get(split, expected)

    @cached_property
    def _lists(self) -> dict[str, Path]:
        return find_lists(self.root).get(self.stem, {})

    def records(self, split: str, problems: list[Problem] | None = None) -> Iterator[Record]:
        """Read the records of a split; see `records.Source`."""
        note = Problems(problems)
        path = self.list_file(split)
        if split not in self._lists:
            names = ", ".join(sorted(path.name for path in self._lists.values()))
            note.add(
                path, None, f"cannot be read: no such file; found only {names}", "add the list"
            )
            return
        photos = PhotoFolder(self.images)
        for line, text in numbered_lines(path, note):
            columns = [column.strip() for column in text.split("\t")]
            if len(columns) != 3:
                what = f"expected 3 tab-separated columns, got {len(columns)}"
                note.add(path, line, what, "write: photo.jpg<TAB>caption<TAB>match")
                continue
            name, caption, label = columns
            image = checked_image(note, path, line, name, caption, label, photos)
            if image:
                yield Record(image, (caption,), label, split, str(path), line)
