"""Photos and texts to vectors that are compared; also what serving exports and an index holds.

encoder = RetrievalModel.load("runs/best-1")
encoder.encode_photos(["dog.jpg"]) @ encoder.encode_texts(["a dog in snow"]).T     # cosines
classify(encoder, "dog.jpg", ["dog", "cat"])                               # [0.97, 0.03]
encoder.score(["dog.jpg"], ["A dog runs through snow."])                   # CLIPScore's kind
"""

import functools
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from imagetext.encoders import images
from imagetext.encoders.photos import PhotoTower
from imagetext.encoders.pieces import Pieces
from imagetext.errors import DataError, Problem, UserError
from imagetext.metrics.captioning.scores import Judge
from imagetext.pipelines.pixels import bytes_reader
from imagetext.pipelines.upright import upright_bytes
from imagetext.retrieval.config import CHANGEABLE, SCRATCH, RetrievalConfig
from imagetext.retrieval.data import RetrievalData
from imagetext.retrieval.texts import open_tokenizer, read_word_tokenizer
from imagetext.retrieval.towers import PHOTOS_TOGETHER, Towers
from imagetext.training.config_files import load_run_config
from imagetext.training.run import Run, open_run, trained

#: Prompts around a label; their mean is what is compared with the photo.
TEMPLATES = ("a photo of {}", "a picture of {}", "there is {} in the photo")
#: By which cosines are stretched to scores (Hessel et al. 2021).
SCORE_SCALE = 2.5
REMEDY = "give a JPEG, PNG, GIF, BMP or WebP file"


class RetrievalModel:
    """A trained model with all it needs to take photos and texts: vectors float32 of length 1.

    encoder = RetrievalModel.load("runs/best-1")
    encoder.encode_texts(["a dog in snow"])                     # [1, 512]
    """

    def __init__(
        self,
        network: keras.Model,
        config: RetrievalConfig,
        pieces: Pieces,
        learned: Mapping[str, float | None],
    ):
        self.network, self.config, self.pieces = network, config, pieces
        self.towers = Towers(network, config.model.late)
        self.scale, self.bias = learned["scale"], learned["bias"]
        self.width = self.towers.width

    @classmethod
    def load(cls, run: Run | str | Path, overrides: Mapping | None = None) -> "RetrievalModel":
        run = trained(open_run(run.folder if isinstance(run, Run) else run))
        for key in set(overrides or ()) - set(CHANGEABLE):
            known = ", ".join(CHANGEABLE)
            raise UserError(f"--{key}: is part of what was trained -- here, set only {known}")
        config = load_run_config(RetrievalConfig, run, overrides)
        network = keras.saving.load_model(run.model_file)
        if config.text.encoder == SCRATCH:
            pieces = read_word_tokenizer(run.words_file, config.text)
            if not network.name.endswith(pieces.digest):
                told = f"{run.words_file}: holds the words of another run than model.keras"
                raise UserError(f"{told} -- put the run's own back, or train anew")
        else:
            pieces = open_tokenizer(config.reader)
        return cls(network, config, pieces, _read_learned(run.temperature_file))

    @functools.cached_property
    def digest(self) -> str:
        """Names the weights and how photos come to them: other vectors cannot be compared."""
        told = hashlib.sha256()
        for variable in self.network.weights:
            told.update(variable.numpy().tobytes())
        data, weights = self.config.data, [None]  # a model that sees pixels has its own
        if not data.from_pixels:
            names, where = data.image_encoders, data.image_weights
            weights = [images.weights_digest(name, where) for name in names]
        source = (*data.image_encoders, data.image_output, *weights, data.pixels_side)
        told.update(" ".join(map(str, source)).encode())
        return told.hexdigest()[:16]

    @functools.cached_property
    def photo_tower(self) -> PhotoTower:
        return PhotoTower(self.config.data)

    # ------------------------------------------------------------------------------- vectors

    def encode_photos(self, photos: Sequence[str | Path]) -> np.ndarray:
        """Files -> [n, d], each photo upright; those that are no photos are refused by name."""
        return self._of_read(photos, _read, list(map(str, photos)))

    def encode_photo_bytes(self, photos: Sequence[bytes]) -> np.ndarray:
        """The contents of files -> [n, d]."""
        names = [f"photo {number}" for number in range(1, len(photos) + 1)]
        return self._of_read(photos, lambda data: data, names)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """[n, d]"""
        if isinstance(texts, str):
            raise TypeError("give a list of texts, not one text")
        if not len(texts):
            return np.zeros((0, self.width), np.float32)
        return self.towers.encode_ids(self.pieces.padded(texts), self.pieces.pad)["text"]

    def encode_features(self, features: np.ndarray) -> np.ndarray:
        """What the model is given of photos, as `encoders.photos` reads it: [n, ...] -> [n, d]."""
        if not len(features):
            return np.zeros((0, self.width), np.float32)
        parts = np.array_split(features, -(-len(features) // PHOTOS_TOGETHER))
        return self.towers.encode_images(parts)["photo"]

    def encode_dataset_photos(
        self, data: RetrievalData, numbers: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Photos of the data, by number -> all vectors of theirs, cells as well."""
        return self.towers.encode_images(
            image for image, _ in data.photo_batches(numbers, PHOTOS_TOGETHER)
        )

    # ------------------------------------------------------------------------ what they say

    def score(self, photos: Sequence[str | Path], captions: Sequence[str]) -> np.ndarray:
        """How well each caption fits its photo, without any reference: 2.5 * max(cosine, 0), [n].
        A photo that stands there several times is encoded once."""
        if len(photos) != len(captions):
            raise ValueError(f"{len(photos)} photos, but {len(captions)} captions")
        places = {str(photo): place for place, photo in enumerate(dict.fromkeys(map(str, photos)))}
        seen = self.encode_photos(list(places))[[places[str(photo)] for photo in photos]]
        cosines = (seen * self.encode_texts(captions)).sum(axis=1)
        return SCORE_SCALE * np.maximum(cosines, 0)

    def classes(self, labels: Sequence[str], templates: Sequence[str] = TEMPLATES) -> np.ndarray:
        """A vector a label: the mean of its prompts, at length 1, [n, d]."""
        if len(labels) < 2 or not all(label.strip() for label in labels):
            raise UserError("give at least two labels, none of them empty")
        for template in templates:
            if template.count("{}") != 1:
                raise UserError(f"the template {template!r}: needs one {{}}, the label's place")
        prompts = [template.replace("{}", label) for label in labels for template in templates]
        vectors = self.encode_texts(prompts).reshape(len(labels), len(templates), -1).mean(axis=1)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    # -------------------------------------------------------------------------------- photos

    def _of_read(self, photos: Sequence, read: Callable, names: Sequence[str]) -> np.ndarray:
        """All batch by batch, decoded by several threads; what cannot be is told together."""
        problems: list[Problem] = []
        decoders = [bytes_reader((side, side)) for side in self.photo_tower.sides]

        def one(numbered) -> list[np.ndarray] | None:
            photo, name = numbered
            try:
                data = upright_bytes(read(photo))
                return [decoded(data) for decoded in decoders]
            except ValueError as error:
                problems.append(Problem(name, None, str(error), REMEDY))
                return None

        found = [np.zeros((0, self.width), np.float32)]
        with ThreadPoolExecutor(max(2, os.cpu_count() or 2)) as pool:
            for batch in _batched(zip(photos, names, strict=True)):
                made = list(pool.map(one, batch))
                if not problems:
                    sides = [np.stack(pixels) for pixels in zip(*made, strict=True)]
                    image = self.photo_tower.see([tf.constant(pixels) for pixels in sides])
                    found.append(self.towers.see(image)["photo"].numpy())
        if problems:
            raise DataError(problems)
        return np.concatenate(found)


def classify(
    encoder: "RetrievalModel | Run | str | Path",
    photo: str | Path,
    labels: Sequence[str],
    templates: Sequence[str] = TEMPLATES,
) -> list[float]:
    """Zero-shot: how likely each label is, given that one of them is right.

    classify("runs/best-1", "photo.jpg", ["a dog", "a cat"])      # [0.97, 0.03]
    """
    encoder = encoder if isinstance(encoder, RetrievalModel) else RetrievalModel.load(encoder)
    cosines = encoder.encode_photos([photo])[0] @ encoder.classes(labels, templates).T
    odds = np.exp(encoder.scale * (cosines - cosines.max()).astype(np.float64))
    return (odds / odds.sum()).tolist()


def caption_judge(run: Run | str | Path) -> Judge:
    """A run as the judge of a captioning report: what it says is `RetrievalModel.score`."""
    encoder = RetrievalModel.load(run)
    name = (run.folder if isinstance(run, Run) else Path(run)).resolve().name
    return Judge(f"the dual encoder {name} ({encoder.digest})", encoder.score)


def _read(photo: str | Path) -> bytes:
    try:
        return Path(photo).read_bytes()
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error


def _batched(rows: Iterator) -> Iterator[list]:
    while batch := list(itertools.islice(rows, PHOTOS_TOGETHER)):
        yield batch


def _read_learned(path: Path) -> dict[str, float | None]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return {"scale": float(told["scale"]), "bias": told["bias"] and float(told["bias"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}) -- train anew") from error
