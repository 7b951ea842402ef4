"""Official Flickr8k: five captions for each photo, and the official splits."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from imagetext.errors import Problem
from imagetext.pipelines.lines import Problems, numbered_lines
from imagetext.pipelines.photo_folder import PhotoFolder, checked_image
from imagetext.pipelines.records import Record

TOKEN_FILE = "Flickr8k.token.txt"
OFFICIAL_LIST = "Flickr_8k.{}Images.txt"


@dataclass(frozen=True)
class Flickr8k:
    """Captions of `Flickr8k.token.txt`, split by the official lists (6,000 / 1,000 / 1,000 photos).

    The token file has one key without a photo (2258277193_586949ec62.jpg.1), which is in no list.

    Args:
        root: The folder of the token file and the lists.
        images: The folder of the photos.
        kind: What the source is, for reports.
    """

    root: Path
    images: Path
    kind: str = "Flickr8k"
    labelled = False

    def records(self, split: str, problems: list[Problem] | None = None) -> Iterator[Record]:
        """Read the records of a split; see `records.Source`."""
        note = Problems(problems)
        path = self.root / OFFICIAL_LIST.format(split)
        photos = PhotoFolder(self.images)
        captions, bad_lines = self._captions
        for bad in bad_lines:
            note.add(bad.file, bad.line, bad.what, bad.remedy)
        listed = [(line, name.strip()) for line, name in numbered_lines(path, note)]
        if listed and not any(name in captions for _, name in listed):
            what = f"no captions for any of the {len(listed):,} photos of the {split} list"
            note.add(
                path, None, what, f"this copy of {TOKEN_FILE} comes without them; use another split"
            )
            return
        for line, name in listed:
            if name not in captions:
                what = f"no captions for {name!r} in {TOKEN_FILE}"
                remedy = f"get the complete file; some copies come without the {split} captions"
                note.add(path, line, what, remedy)
                continue
            lines, texts = zip(*captions[name], strict=True)
            image = checked_image(note, path, line, name, texts[0], None, photos)
            if image:
                tokens = str(self.root / TOKEN_FILE)
                yield Record(image, texts, None, split, str(path), line, tokens, lines)

    @cached_property
    def _captions(self) -> tuple[dict[str, list[tuple[int, str]]], list[Problem]]:
        """The captions of each photo with their lines, and the bad lines; read only once."""
        captions: dict[str, list[tuple[int, str]]] = {}
        bad_lines: list[Problem] = []
        path, note = self.root / TOKEN_FILE, Problems(bad_lines)
        for line, text in numbered_lines(path, note):
            key, tab, caption = text.partition("\t")
            name, mark, _ = key.partition("#")
            if not tab or not mark or not caption.strip():
                what = "expected photo.jpg#N<TAB>caption"
                note.add(path, line, what, "correct or remove the line")
                continue
            captions.setdefault(name.strip(), []).append((line, caption.strip()))
        return captions, bad_lines
