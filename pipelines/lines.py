"""Reading text files line by line, with every way a line can be bad said by file and line."""

import re
from collections.abc import Iterator
from pathlib import Path

from imagetext.errors import DataError, Problem

_BAD_BYTE = re.compile("[\udc80-\udcff]")


class Problems:
    """Collects problems, or raises at the first one.

    Sources are handed `problems=None` to stop at the first, or a list to note them and go on. What
    the list holds already is not noted again: some files are read once for every split.
    """

    def __init__(self, noted: list[Problem] | None):
        self._noted = noted
        self._before = set(noted or ())

    def add(self, file: str | Path, line: int | None, what: str, remedy: str = "") -> None:
        problem = Problem(str(file), line, what, remedy)
        if self._noted is None:
            raise DataError([problem])
        if problem not in self._before:
            self._before.add(problem)
            self._noted.append(problem)


def numbered_lines(path: Path, problems: Problems) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, text) of a UTF-8 file; CRLF, CR, BOM and blank lines are taken.

    A line that is not UTF-8, or holds a NUL as UTF-16 does, is a problem and is left out.
    """
    try:
        # Bad bytes come through as lone surrogates, so that one bad line does not end the file.
        data = path.open(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        problems.add(
            path, None, f"cannot be read: {error.strerror}", "check the path and its rights"
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
                problems.add(path, number, "the line holds a NUL", "save the file as UTF-8")
            elif text.strip():
                yield number, text
