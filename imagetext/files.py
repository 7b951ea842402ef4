"""Writing files so that a reader never sees half of one.

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
    """Give a temporary path beside `path`; on success it is flushed and renamed over `path`.

    Whatever goes wrong, the old file stays whole and the temporary one is removed.
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
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: str | Path, data: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def cannot_write(path: Path, error: OSError) -> UserError:
    """Say why a file could not be written, and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(f"{path}: the disk is full; free some space, or write elsewhere")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UserError(f"{path}: permission denied; choose a folder that you own")
    return UserError(f"{path}: cannot be written: {error.strerror or error}")


def cache_folder() -> Path:
    """Where downloads and computed tables are kept: `IMAGETEXT_CACHE`, or ~/.cache/imagetext."""
    return Path(os.environ.get("IMAGETEXT_CACHE") or "~/.cache/imagetext").expanduser()
