"""What the toolkit says when a user's input is wrong: what, where, and what to do about it.

raise DataError([Problem("captions.csv", 12, "unknown label 'yes'", "write match or no-match")])
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class UserError(Exception):
    """A mistake the user can mend. The command line prints its text and no traceback."""


class UnanswerableError(UserError):
    """A query that a model cannot answer, such as one made only of words it has never read.

    The web app shows the text to its clients, so it must not name files of the server.
    """


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the data. `line` counts from 1; None where a file has no lines."""

    file: str | Path
    line: int | None
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else f"{self.file}"
        return f"{place}: {self.what}" + (f"; {self.remedy}" if self.remedy else "")


class DataError(UserError):
    """All problems of one check at once, so that a user mends them in one go; `shown` of them are
    printed, None for all."""

    def __init__(self, problems: Sequence[Problem], headline: str = "", shown: int | None = 20):
        self.problems = list(problems)
        count = len(self.problems)
        headline = headline or (f"{count} problems in the data" if count > 1 else "")
        lines = [str(problem) for problem in self.problems[:shown]]
        if count > len(lines):
            lines.append(f"... and {count - len(lines)} more (`imagetext data check` lists all)")
        super().__init__("\n".join(([headline + ":"] if headline else []) + lines))
