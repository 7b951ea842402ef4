"""The photos to index, with their captions.

list_photos("flickr8k")          # {"/data/flickr8k/images/a.jpg": ("A dog.", )}
"""

import os
from collections.abc import Sequence
from pathlib import Path

from imagetext.errors import UserError
from imagetext.pipelines.features import find_photos
from imagetext.pipelines.records import NO_MATCH
from imagetext.pipelines.sources import every_record, open_source


def list_photos(paths: str | Path | Sequence[str | Path]) -> dict[str, tuple[str, ...]]:
    """List image files, and all image files in folders.

    Args:
        paths: Files and folders. In a folder of data, photos come with the captions that its lists
            have for them.

    Returns:
        The captions of each photo by its absolute path.
    """
    photos: dict[str, tuple[str, ...]] = {}
    for each in [paths] if isinstance(paths, str | Path) else paths:
        path = Path(each).expanduser()
        files = _list_folder(path) if path.is_dir() else {absolute(path): ()}
        for photo, captions in files.items():
            photos[photo] = captions or photos.get(photo, ())
    return photos


def absolute(path: str | Path) -> str:
    """The absolute path, without following links."""
    return os.path.abspath(path)  # noqa: PTH100 -- resolve() would follow links


def _list_folder(root: Path) -> dict[str, tuple[str, ...]]:
    """All photos in a folder, with the captions that match them."""
    try:
        source = open_source(root)
    except UserError:  # a folder of photos without captions
        return {absolute(photo): () for photo in find_photos(root, "photos")[0]}
    captions: dict[str, dict[str, None]] = {}
    for record in every_record(source)[0]:
        texts = captions.setdefault(absolute(record.image), {})
        if record.label != NO_MATCH:
            texts.update(dict.fromkeys(record.texts))
    # There may be photos that no list names.
    for photo in find_photos(getattr(source, "images", root), "photos")[0]:
        captions.setdefault(absolute(photo), {})
    return {photo: tuple(captions[photo]) for photo in sorted(captions)}
