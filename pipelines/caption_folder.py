"""A custom folder: images/ and a table of captions."""

import hashlib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from imagetext.errors import Problem
from imagetext.pipelines.lines import Problems
from imagetext.pipelines.photo_folder import PhotoFolder, checked_image
from imagetext.pipelines.records import SPLITS, Record
from imagetext.pipelines.tables import table_rows

CAPTION_FILES = ("captions.csv", "captions.tsv", "captions.jsonl")
_SPLIT_NAMES = {
    "train": "train",
    "dev": "dev",
    "val": "dev",
    "valid": "dev",
    "validation": "dev",
    "test": "test",
}


@dataclass(frozen=True)
class CaptionFolder:
    """`images/` and `captions.csv`, `.tsv` or `.jsonl` with the columns image and caption.

    With a column `label` (match / no-match) it is a dataset for matching. Without a column `split`,
    80 / 10 / 10 % of the photos are assigned by a hash of their names.

    Args:
        root: The folder.
        images: The folder of the photos.
        path: The table.
        kind: What the source is, for reports.
    """

    root: Path
    images: Path
    path: Path
    kind: str = "custom folder"

    @cached_property
    def labelled(self) -> bool:
        """Whether the table has labels."""
        return any("label" in row for _, row in table_rows(self.path, Problems([])))

    def records(self, split: str, problems: list[Problem] | None = None) -> Iterator[Record]:
        """Read the records of a split; see `records.Source`."""
        note = Problems(problems)
        photos = PhotoFolder(self.images)
        captions: dict[Path, list[tuple[int, str]]] = {}
        for line, row in table_rows(self.path, note):
            name, caption, label = row["image"], row["caption"], row.get("label")
            split_name = row.get("split", "").lower()
            if split_name and split_name not in _SPLIT_NAMES:
                note.add(
                    self.path, line, f"unknown split {split_name!r}", "write train, dev or test"
                )
                continue
            if (_SPLIT_NAMES[split_name] if split_name else split_by_name(name)) != split:
                continue
            image = checked_image(note, self.path, line, name, caption, label, photos)
            if image is None:
                continue
            if not self.labelled:
                captions.setdefault(image, []).append((line, caption))
            elif label:
                yield Record(image, (caption,), label, split, str(self.path), line)
            else:
                what = "the label is missing, although other rows have one"
                note.add(self.path, line, what, "write match or no-match")
        for image, rows in captions.items():
            (lines, texts), path = zip(*rows, strict=True), str(self.path)
            yield Record(image, texts, None, split, path, lines[0], path, lines)


def split_by_name(name: str) -> str:
    """The split of a photo, by a hash of its name: train (80 %), dev (10 %) or test (10 %)."""
    # An accented letter may be encoded in two ways.
    normal = unicodedata.normalize("NFC", Path(name).as_posix())
    place = hashlib.sha256(normal.encode()).digest()[0] / 256
    return SPLITS[0] if place < 0.8 else SPLITS[1] if place < 0.9 else SPLITS[2]
