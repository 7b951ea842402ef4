"""Records: photos with texts, as all sources return them.

Record(image=Path("dog.jpg"), texts=("A dog runs",), label="match", split="train")
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

MATCH, NO_MATCH = "match", "no-match"
#: Class order of every matching model: index 0 is "match".
LABELS = (MATCH, NO_MATCH)
SPLITS = ("train", "dev", "test")


@dataclass(frozen=True, slots=True)
class Record:
    """A photo with one or more texts.

    Args:
        image: The photo.
        texts: One text in a matching list; all captions of a photo otherwise.
        label: "match" or "no-match" in a matching list, else None.
        split: The split.
        file: The file of the row, for error messages.
        line: The line of the row.
        text_file: The file of the captions, if each has its own line.
        text_lines: The lines of the captions.
    """

    image: Path
    texts: tuple[str, ...]
    label: str | None = None
    split: str = "train"
    file: str = ""
    line: int | None = None
    text_file: str = ""
    text_lines: tuple[int, ...] = ()

    def place_of(self, text: int) -> tuple[str, int | None]:
        """File and line of a text, by its index."""
        if not self.text_lines:
            return self.file, self.line
        return self.text_file, self.text_lines[text]


class Source(Protocol):
    """Where records come from, such as a folder with lists."""

    @property
    def kind(self) -> str:
        """What it is, for reports: "course lists", "Flickr8k", "custom folder" or "sample"."""

    @property
    def root(self) -> Path:
        """The folder of the data."""

    @property
    def labelled(self) -> bool:
        """Whether records already carry match / no-match labels."""

    def records(self, split: str, problems: list | None = None) -> Iterator[Record]:
        """Read the records of a split, in file order.

        Args:
            split: The split.
            problems: A list to add bad rows to, which are left out; None to raise a `DataError`
                for the first one.
        """
