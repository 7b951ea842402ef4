"""Damaged photos that are decoded with a warning.

    for problem in check_photos_thoroughly(paths): print(problem)

libjpeg fills damaged parts of a JPEG with something and continues. It prints a warning to the
standard error of the process, without the name of the file.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from imagetext.errors import Problem
from imagetext.pipelines.pixels import check_photos

#: Photos decoded in parallel; after a warning, they are decoded again one by one.
CHUNK = 256


def check_photos_thoroughly(paths: Sequence[Path]) -> list[Problem]:
    """Like `check_photos`, but also list photos that are decoded with a warning. Training uses them
    as they are."""
    problems: list[Problem] = []
    for start in range(0, len(paths), CHUNK):
        chunk = paths[start : start + CHUNK]
        with _standard_error() as output:
            bad = check_photos(chunk)
            warned = bool(_text(output))
        problems += bad
        if warned:
            listed = {problem.file for problem in bad}
            problems += _warnings([path for path in chunk if str(path) not in listed])
    return problems


def _warnings(paths: Sequence[Path]) -> list[Problem]:
    problems = []
    for path in paths:
        with _standard_error() as output:
            check_photos([path])
            warning = _text(output)
        if warning:
            remedy = "look at the photo, and replace the file if it is damaged"
            problems.append(Problem(str(path), None, f"decoded with a warning: {warning}", remedy))
    return problems


@contextlib.contextmanager
def _standard_error() -> Iterator[BinaryIO]:
    """Redirect standard error to a file, including what libraries write to it directly."""
    with tempfile.TemporaryFile() as file:
        sys.stderr.flush()
        original = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield file
        finally:
            os.dup2(original, 2)
            os.close(original)


def _text(file: BinaryIO) -> str:
    file.seek(0)
    return " ".join(file.read().decode(errors="replace").split())
