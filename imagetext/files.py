"""Atomic writes: a reader sees the old file or the new one, never half of one.

with replacing("report.json") as temporary:
    temporary.write_text(...)
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from imagetext.errors import UserError


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A context that replaces a file by a temporary one, if nothing fails.

    Args:
        path: The file to replace or create; missing folders are created.

    Yields:
        The temporary file to write, in the same folder. At the end it is flushed to disk and
        renamed to `path`; after an error it is removed, and the old file is kept.

    Raises:
        UserError: If the file cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a binary file atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def cannot_write(path: Path, error: OSError) -> UserError:
    """The error to raise when a file cannot be written: why, and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(f"{path}: the disk is full; free some space, or write to another disk")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UserError(f"{path}: permission denied; choose another folder")
    return UserError(f"{path}: cannot be written: {error.strerror or error}")


def cache_folder() -> Path:
    """The folder for downloads and features: `IMAGETEXT_CACHE`, or ~/.cache/imagetext."""
    return Path(os.environ.get("IMAGETEXT_CACHE") or "~/.cache/imagetext").expanduser()
