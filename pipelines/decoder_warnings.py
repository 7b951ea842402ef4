"""Photos that are decoded under protest: what the decoder complains of, and in which file.

    for problem in check_photos_thoroughly(paths): print(problem)

Where a JPEG is damaged within, libjpeg paints something in its place and goes on. It says so on
the standard error of the process, and not of which file.
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

#: Photos decoded side by side; where there is a complaint, once more one by one.
CHUNK = 256


def check_photos_thoroughly(paths: Sequence[Path]) -> list[Problem]:
    """As `check_photos`, and also what is decoded under protest, which training takes as it is."""
    problems: list[Problem] = []
    for start in range(0, len(paths), CHUNK):
        chunk = paths[start : start + CHUNK]
        with _standard_error() as said:
            bad = check_photos(chunk)
            complained = _text(said)
        problems += bad
        if complained:
            told = {problem.file for problem in bad}
            problems += _complaints([path for path in chunk if str(path) not in told])
    return problems


def _complaints(paths: Sequence[Path]) -> list[Problem]:
    found = []
    for path in paths:
        with _standard_error() as said:
            check_photos([path])
            complaint = _text(said)
        if complaint:
            remedy = "look at it, and replace the file where its picture is spoilt"
            found.append(Problem(str(path), None, f"is decoded, but: {complaint}", remedy))
    return found


@contextlib.contextmanager
def _standard_error() -> Iterator[BinaryIO]:
    """What libraries write there, past `sys.stderr`, goes into a file."""
    with tempfile.TemporaryFile() as file:
        sys.stderr.flush()
        own = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield file
        finally:
            os.dup2(own, 2)
            os.close(own)


def _text(file: BinaryIO) -> str:
    file.seek(0)
    return " ".join(file.read().decode(errors="replace").split())
