"""Describe photo files and folders in words: what `imagetext caption` does.

results = describe("runs/gru_attention-1", ["dog.jpg", "holiday/"], top=3)
results.photos[0].captions[0].text
results.bad                                     # files that are not photos, and why
"""

import csv
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
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
class DescribedPhoto:
    """A photo with its captions.

    Args:
        photo: The file.
        captions: Its captions, best first.
        map_file: The picture of the attention at each word, if there is one.
    """

    photo: Path
    captions: list[Caption]
    map_file: Path | None = None

    @property
    def text(self) -> str:
        """The photo and its captions, as the command line shows them."""
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
    """The captions of several photos.

    Args:
        photos: The photos with their captions.
        bad: The files that are not photos, and why.
    """

    photos: list[DescribedPhoto]
    bad: list[Problem]

    def write(self, path: str | Path) -> None:
        """Write a .jsonl file with a line per photo, or a .csv file with a row per caption."""
        path = check_target(path)
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

    def _rows(self) -> Iterator[dict]:
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
    on_photo: Callable[[DescribedPhoto], None] | None = None,
) -> Descriptions:
    """Caption photos.

    Args:
        runs: The folder of a run, or several separated by commas, which form an ensemble.
        photos: Photo files, and folders of photos.
        beams: Width of the beam search; that of the run by default.
        top: Number of captions for each photo.
        maps: Folder for pictures of the attention at each word.
        sample: Draw captions at random, following the model's probabilities.
        on_photo: Called with each photo as soon as it is done; without it there is a progress bar.
    """
    files = find_files(photos)
    captioner = open_model(runs)
    config = override_decoding(captioner.config.decoding, beams, top, sample)
    if sample:
        captioner.random = np.random.default_rng()  # different ones at each call
    if maps and not captioner.decoder.attends:
        kind = captioner.config.model.kind
        raise UserError(f"--maps: {kind} has no attention to parts of a photo; leave out --maps")
    results, bad, names = [], [], set()
    show_bar = on_photo is None and interactive()
    bar = keras.utils.Progbar(len(files), unit_name="photo") if show_bar else None
    for start in range(0, len(files), BATCH):
        batch = []
        for file in files[start : start + BATCH]:
            try:
                batch.append((file, captioner.read(file)))
            except DataError as error:
                bad += error.problems
            if bar:
                bar.add(1)
        if not batch:
            continue
        images = np.stack([image for _, image in batch])
        decoded = captioner.captions(images, config)
        for (file, image), captions in zip(batch, decoded, strict=True):
            map_file = None
            if maps:
                map_file = draw_attention(captioner, file, image, best(captions), Path(maps), names)
            results.append(DescribedPhoto(file, captions[:top], map_file))
            if on_photo:
                on_photo(results[-1])
    return Descriptions(results, bad)


def open_model(runs: str, overrides: Mapping | None = None) -> CaptioningModel:
    """Load a run, or an ensemble of several separated by commas.

    Args:
        runs: The folder of a run, or several separated by commas.
        overrides: Configuration keys to change, by dotted name.
    """
    captioners = [CaptioningModel.load(name, overrides) for name in run_names(runs)]
    return captioners[0] if len(captioners) == 1 else CaptioningEnsemble(captioners)


def override_decoding(
    config: DecodingConfig, beams: int | None, top: int, sample: bool
) -> DecodingConfig:
    """Change the decoding of a run as a command asks for.

    Args:
        config: The decoding of the run.
        beams: Number of beams or samples; None to keep it.
        top: Number of captions that are needed.
        sample: Draw samples.
    """
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


def describe_decoding(config: DecodingConfig) -> str:
    """Describe a decoding method, such as "beam of 5"."""
    count = config.beams
    if config.method == "diverse":
        return f"{count} beams in {config.groups} groups"
    if config.method == "sample":
        return f"best of {count} samples" if count > 1 else "sample"
    return f"beam of {count}" if count > 1 else "greedy"


def find_files(paths: Sequence[str | Path]) -> list[Path]:
    """Replace folders by the photos in them, and drop duplicates."""
    files = []
    for path in map(Path, paths):
        if not path.exists():
            raise UserError(f"{path}: no such file or folder")
        files += find_photos(path, "photos")[0] if path.is_dir() else [path]
    return list(dict.fromkeys(files))


def attention(
    captioner: CaptioningModel, image: np.ndarray, caption: Caption
) -> AttentionMaps | None:
    """The attention at each word of a caption; None for models without attention."""
    maps = captioner.attention_maps(image, caption) if len(caption.ids) else None
    if maps is None:
        return None
    words = captioner.words(caption)
    return AttentionMaps(words, maps[: len(words)])


def draw_attention(
    captioner: CaptioningModel,
    photo: Path,
    image: np.ndarray,
    caption: Caption,
    folder: Path,
    used_names: set[str],
) -> Path:
    """Draw the attention at each word of a caption.

    Args:
        captioner: The model.
        photo: The file of the photo.
        image: The model input of the photo.
        caption: The caption.
        folder: The picture is written to its file PHOTO.png.
        used_names: Names of earlier pictures; a number is added to a name that was used, and the
            new name is added to the set.
    """
    names = (photo.stem, *(f"{photo.stem}-{n}" for n in range(2, len(used_names) + 3)))
    name = next(name for name in names if name not in used_names)
    used_names.add(name)
    path = folder / f"{name}.png"
    with replacing(path) as temporary:
        draw_maps(photo, attention(captioner, image, caption), caption.text).save(temporary)
    return path


def check_target(path: str | Path) -> Path:
    """Refuse a file to write whose suffix is neither .jsonl nor .csv."""
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: expected a name that ends in {' or '.join(SUFFIXES)}")
    return path
