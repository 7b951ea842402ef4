"""Errors in the user's input: what is wrong, where, and how to fix it.

raise DataError([Problem("captions.csv", 12, "unknown label 'yes'", "write match or no-match")])
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class UserError(Exception):
    """A mistake that the user can fix. The command line prints the message without a traceback."""


class UnanswerableError(UserError):
    """A query that a model cannot answer, such as one without a known word.

    The web app shows the message to its clients, so it must not name files on the server.
    """


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with the data.

    Args:
        file: The file.
        line: The line, counted from 1; None if the problem is the file itself.
        what: What is wrong.
        remedy: How to fix it.
    """

    file: str | Path
    line: int | None
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else f"{self.file}"
        return f"{place}: {self.what}" + (f"; {self.remedy}" if self.remedy else "")


class DataError(UserError):
    """All problems found by one check, so that they can be fixed together.

    Args:
        problems: The problems.
        headline: A line to print above them; by default their number.
        shown: How many of them to print; None for all.
    """

    def __init__(self, problems: Sequence[Problem], headline: str = "", shown: int | None = 20):
        self.problems = list(problems)
        count = len(self.problems)
        headline = headline or (f"{count} problems in the data" if count > 1 else "")
        lines = [str(problem) for problem in self.problems[:shown]]
        if count > len(lines):
            lines.append(f"... and {count - len(lines)} more (`imagetext data check` lists all)")
        super().__init__("\n".join(([headline + ":"] if headline else []) + lines))
