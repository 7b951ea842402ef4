"""Reading text files line by line, with every way a line can be bad said by file and line."""

from collections.abc import Iterator
from pathlib import Path

from pipelines.errors import DataError, Problem


class Problems:
    """Collects problems, or raises at the first one.

    Sources are handed `problems=None` to stop at the first, or a list to note them and go on.
    """

    def __init__(self, noted: list[Problem] | None):
        self._noted = noted

    def add(self, file: str | Path, line: int | None, what: str, remedy: str = "") -> None:
        problem = Problem(str(file), line, what, remedy)
        if self._noted is None:
            raise DataError([problem])
        self._noted.append(problem)


def numbered_lines(path: Path, problems: Problems) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, text) of a UTF-8 file; CRLF, CR, BOM and blank lines are taken.

    A line that is not UTF-8 is a problem and is left out.
    """
    try:
        data = path.open("rb")
    except OSError as error:
        problems.add(
            path, None, f"cannot be read: {error.strerror}", "check the path and its rights"
        )
        return
    with data:
        for number, raw in enumerate(data, start=1):
            raw = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
            try:
                text = raw.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                what = f"byte {error.start + 1} of the line is not UTF-8"
                problems.add(path, number, what, "save the file as UTF-8")
                continue
            if text.strip():
                yield number, text
