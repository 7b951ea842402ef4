"""The photos that are to be in an index, with the captions there are for them.

list_photos("flickr8k")          # {"/data/flickr8k/images/a.jpg": ("A dog.", )}
"""

import os
from collections.abc import Sequence
from pathlib import Path

from imagetext.errors import UserError
from imagetext.pipelines.features import find_photos
from imagetext.pipelines.records import NO_MATCH
from imagetext.pipelines.sources import every_record, open_source


def list_photos(given: str | Path | Sequence[str | Path]) -> dict[str, tuple[str, ...]]:
    """Absolute paths of photo files, and of all in folders, with the captions that lists of data
    have for them."""
    photos: dict[str, tuple[str, ...]] = {}
    for path in [given] if isinstance(given, str | Path) else given:
        path = Path(path).expanduser()
        found = _in_folder(path) if path.is_dir() else {absolute(path): ()}
        for photo, captions in found.items():
            photos[photo] = captions or photos.get(photo, ())
    return photos


def absolute(path: str | Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 -- resolve() would follow links


def _in_folder(root: Path) -> dict[str, tuple[str, ...]]:
    """All photos inside, with the captions that lists of data there have; what does not match is no
    caption."""
    try:
        source = open_source(root)
    except UserError:  # a folder of photos and nothing else
        return {absolute(photo): () for photo in find_photos(root, "photos")[0]}
    captions: dict[str, dict[str, None]] = {}
    for record in every_record(source)[0]:
        told = captions.setdefault(absolute(record.image), {})
        if record.label != NO_MATCH:
            told.update(dict.fromkeys(record.texts))
    # Photos may be there that no list names.
    for photo in find_photos(getattr(source, "images", root), "photos")[0]:
        captions.setdefault(absolute(photo), {})
    return {photo: tuple(captions[photo]) for photo in sorted(captions)}
