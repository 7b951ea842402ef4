"""Describe photo files, however many: what `imagetext caption` does.

found = describe("runs/gru_attention-1", ["dog.jpg", "holiday/"], top=3)
found.photos[0].captions[0].text
found.bad                                       # what is no photo, and why
"""

import csv
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from imagetext.captioning.config import DecodingConfig
from imagetext.captioning.predict import BATCH, Caption, CaptioningEnsemble, CaptioningModel, best
from imagetext.errors import DataError, Problem, UserError
from imagetext.files import replacing
from imagetext.pipelines.features import find_photos
from imagetext.reports.captioning.attention_maps import AttentionMaps, draw_maps
from imagetext.terminal import interactive, plural
from imagetext.training.ensemble import run_names

SUFFIXES = (".jsonl", ".csv")


@dataclass(frozen=True)
class Described:
    """A photo with its captions, best first; `map_file` is where the model looked, drawn."""

    photo: Path
    captions: list[Caption]
    map_file: Path | None = None

    @property
    def text(self) -> str:
        several = len(self.captions) > 1
        lines = [
            f"{caption.log_probability:8.2f}  "
            + (f"({caption.score:.2f})  " if several else "")
            + caption.text
            for caption in self.captions
        ]
        return "\n".join([str(self.photo), *lines])


@dataclass(frozen=True)
class Descriptions:
    """What was found, and the files that are no photos."""

    photos: list[Described]
    bad: list[Problem]

    def write(self, path: str | Path) -> None:
        """As JSON lines, one a photo, or as CSV, a row a caption, by the file's suffix."""
        path = checked_target(path)
        with (
            replacing(path) as temporary,
            temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
        ):
            if path.suffix == ".jsonl":
                file.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in self._rows())
                return
            writer = csv.writer(file)
            writer.writerow(["photo", "rank", "caption", "log_probability", "score"])
            for row in self._rows():
                for rank, caption in enumerate(row["captions"], start=1):
                    writer.writerow([row["photo"], rank, *caption.values()])

    def _rows(self):
        for each in self.photos:
            captions = [
                {"caption": c.text, "log_probability": c.log_probability, "score": c.score}
                for c in each.captions
            ]
            yield {"photo": str(each.photo), "captions": captions}


def describe(
    runs: str,
    photos: Sequence[str | Path],
    beams: int | None = None,
    top: int = 1,
    maps: str | Path | None = None,
    sample: bool = False,
    each: Callable[[Described], None] | None = None,
) -> Descriptions:
    """Caption photos and all photos in folders; `each` is called as soon as one is done, and there
    is a progress bar where none is given.

    `runs` is a run's folder, or several with commas between, which answer together. `beams` is the
    run's own where none is given; `maps` a folder for pictures of where the model looked.
    """
    files = photo_files(photos)
    captioner = open_model(runs)
    config = decoding(captioner.config.decoding, beams, top, sample)
    if sample:
        captioner.random = np.random.default_rng()  # others at each call
    if maps and not captioner.decoder.attends:
        kind = captioner.config.model.kind
        raise UserError(f"--maps: {kind} takes a photo whole and looks at no part of it")
    found, bad, names = [], [], set()
    watched = each is None and interactive()
    bar = keras.utils.Progbar(len(files), unit_name="photo") if watched else None
    for start in range(0, len(files), BATCH):
        together = []
        for file in files[start : start + BATCH]:
            try:
                together.append((file, captioner.read(file)))
            except DataError as error:
                bad += error.problems
            if bar:
                bar.add(1)
        if not together:
            continue
        images = np.stack([image for _, image in together])
        for (file, image), captions in zip(
            together, captioner.captions(images, config), strict=True
        ):
            drawn = None
            if maps:
                drawn = draw(captioner, file, image, best(captions), Path(maps), names)
            found.append(Described(file, captions[:top], drawn))
            if each:
                each(found[-1])
    return Descriptions(found, bad)


def open_model(runs: str, overrides: Mapping | None = None) -> CaptioningModel:
    """A run's folder, or several with commas between."""
    captioners = [CaptioningModel.load(name, overrides) for name in run_names(runs)]
    return captioners[0] if len(captioners) == 1 else CaptioningEnsemble(captioners)


def decoding(config: DecodingConfig, beams: int | None, top: int, sample: bool) -> DecodingConfig:
    """The run's own way to find captions, as far as nothing else is asked for."""
    if top < 1:
        raise UserError(f"--top: must be at least 1, got {top}")
    if sample:
        config = dataclasses.replace(config, method="sample", beams=beams or top)
    elif beams is not None:
        groups = config.groups if not beams % config.groups else 1
        config = dataclasses.replace(config, beams=beams, groups=groups)
    if top > config.beams:
        limit = plural(config.beams, "sample" if sample else "beam")
        raise UserError(f"--top: cannot show {top} captions of {limit}; add --beams {top}")
    return config


def in_words(decoding: DecodingConfig) -> str:
    """A way to find captions in words: "beam of 5"."""
    count = decoding.beams
    if decoding.method == "diverse":
        return f"{count} beams in {decoding.groups} groups"
    if decoding.method == "sample":
        return f"best of {count} samples" if count > 1 else "sample"
    return f"beam of {count}" if count > 1 else "greedy"


def photo_files(given: Sequence[str | Path]) -> list[Path]:
    """Files as they are, folders by the photos in them; each once."""
    files = []
    for path in map(Path, given):
        if not path.exists():
            raise UserError(f"{path}: no such file or folder")
        files += find_photos(path, "photos")[0] if path.is_dir() else [path]
    return list(dict.fromkeys(files))


def attention(
    captioner: CaptioningModel, image: np.ndarray, caption: Caption
) -> AttentionMaps | None:
    """The words of a caption (not its end) with where the model looked, if it looks at all."""
    maps = captioner.attention_maps(image, caption) if len(caption.ids) else None
    if maps is None:
        return None
    tokens, end = captioner.vocabulary.tokens, captioner.vocabulary.end
    spoken = [place for place, number in enumerate(caption.ids) if number != end]
    return AttentionMaps(tuple(tokens[caption.ids[place]] for place in spoken), maps[spoken])


def draw(
    captioner: CaptioningModel,
    photo: Path,
    image: np.ndarray,
    caption: Caption,
    folder: Path,
    taken: set[str],
) -> Path:
    """Write where the model looked as `folder`/PHOTO.png; photos of one name get a number."""
    name = next(
        name
        for name in (photo.stem, *(f"{photo.stem}-{n}" for n in range(2, len(taken) + 3)))
        if name not in taken
    )
    taken.add(name)
    path = folder / f"{name}.png"
    with replacing(path) as temporary:
        draw_maps(photo, attention(captioner, image, caption), caption.text).save(temporary)
    return path


def checked_target(path: str | Path) -> Path:
    """The file to write, if its suffix says how."""
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: captions are written to {' or '.join(SUFFIXES)} files")
    return path
