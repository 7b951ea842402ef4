"""The photos that are to be in an index, with the captions there are for them.

photos, problems = list_photos("flickr8k")        # {"/data/flickr8k/images/a.jpg": ("A dog.", )}
"""

import os
from collections.abc import Sequence
from pathlib import Path

from pipelines.errors import Problem, UserError
from pipelines.features import find_photos
from pipelines.records import NO_MATCH
from pipelines.sources import every_record, open_source


def list_photos(
    given: str | Path | Sequence[str | Path],
) -> tuple[dict[str, tuple[str, ...]], list[Problem]]:
    """Absolute paths of photo files, of those in folders, and of those that lists of data name,
    with their captions; and what is wrong with the lists."""
    photos: dict[str, tuple[str, ...]] = {}
    problems: list[Problem] = []
    for path in [given] if isinstance(given, str | Path) else given:
        path = Path(path).expanduser()
        if path.is_dir():
            found, bad = find_photos(path)
            captions = _captions(path)
            problems += bad
        else:
            found, captions = [path], {}
        for photo in found:
            photo = absolute(photo)
            photos[photo] = captions.get(photo, photos.get(photo, ()))
    return photos, problems


def absolute(path: str | Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 -- resolve() would follow links


def _captions(root: Path) -> dict[str, tuple[str, ...]]:
    """Of data folders and of image folders inside them; what does not match is no caption."""
    try:
        records, _ = every_record(open_source(root))
    except UserError:  # a folder of photos and nothing else
        return {}
    captions: dict[str, dict[str, None]] = {}
    for record in records:
        if record.label != NO_MATCH:
            photo = absolute(record.image)
            captions.setdefault(photo, {}).update(dict.fromkeys(record.texts))
    return {photo: tuple(texts) for photo, texts in captions.items()}
