"""The one currency between sources and everything behind them.

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
    """One photo with one or more texts, and the place it was read from (for error messages).

    A row of a matching list has one text and a label; a captioned photo has all its captions
    and no label; `text_lines` then say where each stands, in `text_file`.
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
        """File and line of a text, by its number among the record's."""
        if not self.text_lines:
            return self.file, self.line
        return self.text_file, self.text_lines[text]


class Source(Protocol):
    """Where records come from. `records(split)` reads lazily, in file order, and raises
    `imagetext.errors.DataError` naming file and line at the first thing it cannot read,
    unless `problems` is given: then it notes the problem there, drops the row and goes on."""

    @property
    def kind(self) -> str:
        """What it is, for reports: "course lists", "Flickr8k", "custom folder", "sample"."""

    @property
    def root(self) -> Path:
        """Its folder."""

    @property
    def labelled(self) -> bool:
        """Whether records already carry match / no-match labels."""

    def records(self, split: str, problems: list | None = None) -> Iterator[Record]: ...
