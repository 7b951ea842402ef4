"""Splits of a source, read and checked: all problems are reported together, or left out.

splits = Splits(source)
splits.read(["train", "dev"], lambda split, problems: list(source.records(split, problems)))
splits.open_photos(lambda paths, problems: open_pixels(paths, (112, 112), problems=problems))
splits.check(skip_bad=False)
splits.records["train"], splits.photos
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from imagetext.errors import DataError, Problem, UserError
from imagetext.pipelines.records import Record, Source


@dataclass
class Splits:
    """Splits of a source while they are read and checked.

    Args:
        source: Where the records come from.
        records: The records of each split.
        paths: All photos once, in the order of the records.
        photos: The photos as `open_photos` opened them, numbered like `paths`.
        problems: Everything that is wrong with rows and photos.
        left_out: How many rows are left out of each split.
    """

    source: Source
    records: dict[str, list[Record]] = field(default_factory=dict)
    paths: list[Path] = field(default_factory=list)
    photos: Any = None
    problems: list[Problem] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)

    def read(
        self, names: Sequence[str], read: Callable[[str, list[Problem]], list[Record]]
    ) -> None:
        """Read splits.

        Args:
            names: The splits.
            read: Reads the records of a split, adding bad rows to a list of problems.
        """
        for split in names:
            before = len(self.problems)
            self.records[split] = read(split, self.problems)
            self.left_out[split] = len(self.problems) - before

    def open_photos(
        self, open_photos: Callable[[list[Path], list[Problem]], Any], more: Iterable[Record] = ()
    ) -> None:
        """Open the photos of all splits.

        Args:
            open_photos: Opens photos, adding unreadable ones to a list of problems.
            more: Further records whose photos to open.
        """
        records = [record for rows in (*self.records.values(), more) for record in rows]
        self.paths = list(dict.fromkeys(record.image for record in records))
        if self.paths:
            self.photos = open_photos(self.paths, self.problems)

    @property
    def unreadable(self) -> set[str]:
        """The photos that cannot be read."""
        return {str(problem.file) for problem in self.problems if problem.line is None}

    def check(
        self, skip_bad: bool, is_usable: Callable[[Record], bool] = lambda record: True
    ) -> None:
        """Report all problems, or leave out what is bad.

        Args:
            skip_bad: Leave out bad rows and photos instead of raising.
            is_usable: Says whether a record with a readable photo can be used.

        Raises:
            DataError: If there are problems, with all of them.
            UserError: If nothing is left of a split.
        """
        if self.problems and not skip_bad:
            raise DataError(self.problems, headline(self.problems))
        unreadable = self.unreadable
        for split, rows in self.records.items():
            kept = [row for row in rows if str(row.image) not in unreadable and is_usable(row)]
            self.left_out[split] += len(rows) - len(kept)
            if not kept:
                raise UserError(f"the {split} split is empty; {_advice(self.source, split)}")
            self.records[split] = kept


def headline(problems: Sequence[Problem]) -> str:
    """What to say above a list of problems."""
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''} in the data"
    return f"{count} (--data.skip_bad true leaves them out)"


def data_signature(
    facts: Iterable[object], arrays: Iterable[np.ndarray], names: Iterable[str]
) -> str:
    """A digest of training data and batches; a resumed run must have the same."""
    digest = hashlib.sha256(" ".join(map(str, facts)).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    for name in names:
        digest.update(name.encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def _advice(source: Source, split: str) -> str:
    if split == "test" and source.kind == "Flickr8k":
        return f"some copies of {source.root} come without the test captions; use --split dev"
    return f"check the {split} rows of {source.root} ({source.kind})"
