"""Reading text files line by line; bad lines are reported by file and number."""

import re
from collections.abc import Iterator
from pathlib import Path

from imagetext.errors import DataError, Problem

_BAD_BYTE = re.compile("[\udc80-\udcff]")


class Problems:
    """Collects problems, or raises the first one.

    Args:
        noted: A list to add problems to, each only once (some files are read for every split); None
            to raise the first problem.
    """

    def __init__(self, noted: list[Problem] | None):
        self._noted = noted
        self._before = set(noted or ())

    def add(self, file: str | Path, line: int | None, what: str, remedy: str = "") -> None:
        """Add a problem, or raise it."""
        problem = Problem(str(file), line, what, remedy)
        if self._noted is None:
            raise DataError([problem])
        if problem not in self._before:
            self._before.add(problem)
            self._noted.append(problem)


def numbered_lines(path: Path, problems: Problems) -> Iterator[tuple[int, str]]:
    """Read the lines of a UTF-8 file; CRLF, CR, a byte order mark and blank lines are accepted.

    Args:
        path: The file.
        problems: Bad lines are added to it: not UTF-8, or with a NUL (as in UTF-16).

    Yields:
        The number of each valid line that is not blank, counted from 1, and its text.
    """
    try:
        # Bad bytes become lone surrogates, so that one bad line does not stop reading.
        data = path.open(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        problems.add(
            path, None, f"cannot be read: {error.strerror}", "check the path and its permissions"
        )
        return
    with data:
        for number, text in enumerate(data, start=1):
            text = text.removesuffix("\n")
            if not text.isascii() and (bad := _BAD_BYTE.search(text)):
                place = len(text[: bad.start()].encode()) + 1
                what = f"byte {place} of the line is not UTF-8"
                problems.add(path, number, what, "save the file as UTF-8")
            elif "\0" in text:
                problems.add(path, number, "the line contains a NUL byte", "save the file as UTF-8")
            elif text.strip():
                yield number, text
