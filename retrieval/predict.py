"""Use a trained retrieval model: photos and texts to vectors that can be compared.

model = RetrievalModel.load("runs/best-1")
model.predict(["dog.jpg"], ["a dog in snow", "a cat"])                     # [[0.41, 0.08]]
model.encode_photos(["dog.jpg"]) @ model.encode_texts(["a dog in snow"]).T
classify(model, "dog.jpg", ["dog", "cat"])                                 # [0.97, 0.03]
model.score(["dog.jpg"], ["A dog runs through snow."])                     # as CLIPScore
"""

import functools
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from imagetext.errors import DataError, Problem, UserError
from imagetext.pipelines.batches import photo_batches, split_evenly
from imagetext.pipelines.pixels import bytes_reader
from imagetext.pipelines.upright import upright_bytes
from imagetext.retrieval.config import CHANGEABLE, SCRATCH, RetrievalConfig
from imagetext.retrieval.texts import open_tokenizer, read_word_tokenizer
from imagetext.retrieval.towers import PHOTOS_PER_BATCH, Towers
from imagetext.training.config_files import load_run_config
from imagetext.training.run import Run, open_run, require_trained

if TYPE_CHECKING:
    from imagetext.encoders.photos import PhotoTower
    from imagetext.encoders.tokenizer import Tokenizer
    from imagetext.metrics.captioning.scores import Judge
    from imagetext.retrieval.data import RetrievalData

#: Prompts around a label; the mean of their vectors is compared with the photo.
TEMPLATES = ("a photo of {}", "a picture of {}", "there is {} in the photo")
#: Scales cosines to scores (Hessel et al. 2021).
SCORE_SCALE = 2.5
REMEDY = "use a JPEG, PNG, GIF, BMP or WebP file"


class RetrievalModel:
    """A trained retrieval model, with its tokenizer and image encoders.

    All vectors are float32 [n, width], of length 1.

    Args:
        network: The network of both towers.
        config: The configuration of the run.
        tokenizer: The tokenizer.
        temperature: The learned "scale" and "bias" of the similarities.
        name: What `repr` shows, such as the folder of the run.
        compiled: See `RetrievalModel.load`.

    Examples:
        >>> model = RetrievalModel.load("runs/best-1")
        >>> model.encode_texts(["a dog in snow"]).shape
        (1, 512)
    """

    def __init__(
        self,
        network: keras.Model,
        config: RetrievalConfig,
        tokenizer: "Tokenizer",
        temperature: Mapping[str, float | None],
        name: str = "",
        compiled: bool = True,
    ):
        self.network, self.config, self.tokenizer, self.name = network, config, tokenizer, name
        self.towers, self.compiled = Towers(network, config.model.late, compiled), compiled
        self.scale, self.bias = temperature["scale"], temperature["bias"]
        self.width = self.towers.width

    @classmethod
    def load(
        cls,
        run: Run | str | Path,
        overrides: Mapping[str, Any] | None = None,
        compiled: bool = True,
    ) -> "RetrievalModel":
        """Load the model of a run.

        Args:
            run: The folder of a trained run.
            overrides: Where weights and data are now, by dotted key.
            compiled: Trace the towers into graphs. False answers a single query sooner.
        """
        run = require_trained(open_run(run.folder if isinstance(run, Run) else run))
        config = load_run_config(RetrievalConfig, run, overrides, CHANGEABLE)
        network = keras.saving.load_model(run.model_file, compile=False)
        if config.text.encoder == SCRATCH:
            tokenizer: Tokenizer = read_word_tokenizer(run.words_file, config.text)
            if not network.name.endswith(tokenizer.digest):
                raise UserError(
                    f"{run.words_file}: does not belong to {run.model_file.name}: its vocabulary is"
                    " that of another run; restore the original file or train again"
                )
        else:
            tokenizer = open_tokenizer(config.reader)
        temperature = read_temperature(run.temperature_file)
        return cls(network, config, tokenizer, temperature, str(run.folder), compiled)

    def __repr__(self) -> str:
        data = self.config.data
        images = "+".join(data.image_encoders) or "pixels"
        inside = f"images={images!r}, text={self.config.text.encoder!r}, width={self.width}"
        return f"<RetrievalModel {self.name}: {inside}>"

    @functools.cached_property
    def digest(self) -> str:
        """Identifies the weights and the preprocessing of photos.

        Vectors of models with different digests cannot be compared.
        """
        hasher = hashlib.sha256()
        for variable in self.network.weights:
            hasher.update(variable.numpy().tobytes())
        data = self.config.data
        weights: list[str | None] = [None]  # a model on pixels has all its weights itself
        if not data.from_pixels:
            from imagetext.encoders import images

            names, place = data.image_encoders, data.image_weights
            weights = [images.weights_digest(name, place) for name in names]
        source = (*data.image_encoders, data.image_output, *weights, data.pixels_side)
        hasher.update(" ".join(map(str, source)).encode())
        return hasher.hexdigest()[:16]

    @functools.cached_property
    def photo_tower(self) -> "PhotoTower":
        """From the bytes of a photo to what the network takes; built on first use."""
        from imagetext.encoders.photos import PhotoTower

        return PhotoTower(self.config.data, self.compiled)

    def predict(
        self, photos: str | Path | Sequence[str | Path], texts: str | Sequence[str]
    ) -> np.ndarray:
        """Compare photos with texts.

        Args:
            photos: One or more image files.
            texts: One or more texts.

        Returns:
            The similarity of each photo with each text, float32 [photos, texts]; higher is more
            similar. With `model.late` it includes the late interaction.

        Examples:
            >>> model.predict("dog.jpg", ["a dog in snow", "a cat"])
            array([[0.41, 0.08]], dtype=float32)
        """
        files = [photos] if isinstance(photos, str | Path) else list(photos)
        sentences = [texts] if isinstance(texts, str) else list(texts)
        if not files or not sentences:
            return np.zeros((len(files), len(sentences)), np.float32)
        return self.towers.similarities(
            self._encode(files, _read_file, list(map(str, files))),
            self.towers.encode_ids(self.tokenizer.to_ids(sentences), self.tokenizer.pad),
        )

    # ------------------------------------------------------------------------------- vectors

    def encode_photos(self, photos: Sequence[str | Path]) -> np.ndarray:
        """Encode image files, rotated upright: [n, width].

        Raises:
            DataError: Names every file that cannot be read.
        """
        return self._encode_vectors(photos, _read_file, list(map(str, photos)))

    def encode_photo_bytes(self, photos: Sequence[bytes]) -> np.ndarray:
        """Encode the contents of image files: [n, width]."""
        names = [f"photo {number}" for number in range(1, len(photos) + 1)]
        return self._encode_vectors(photos, lambda data: data, names)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Encode texts: [n, width]."""
        if isinstance(texts, str):
            raise TypeError("texts: expected a list of texts, got a single string")
        if not len(texts):
            return np.zeros((0, self.width), np.float32)
        return self.towers.encode_ids(self.tokenizer.to_ids(texts), self.tokenizer.pad)["text"]

    def encode_features(self, features: np.ndarray) -> np.ndarray:
        """Encode model inputs, as `imagetext.encoders.photos` reads them: [n, width]."""
        if not len(features):
            return np.zeros((0, self.width), np.float32)
        batches = split_evenly(features, PHOTOS_PER_BATCH)
        return self.towers.encode_images(batches)["photo"]

    def encode_dataset_photos(
        self, data: "RetrievalData", numbers: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Encode photos of a dataset by number: all outputs of the photo tower."""
        batches = photo_batches(data.photos, numbers, PHOTOS_PER_BATCH)
        return self.towers.encode_images(image for image, _ in batches)

    # -------------------------------------------------------------------------------- scores

    def score(self, photos: Sequence[str | Path], captions: Sequence[str]) -> np.ndarray:
        """Score how well each caption fits its photo, without references.

        Args:
            photos: Image files [n]; one that occurs several times is encoded once.
            captions: Texts [n].

        Returns:
            2.5 * max(cosine, 0), as in CLIPScore: float32 [n].
        """
        if len(photos) != len(captions):
            raise ValueError(f"{len(photos)} photos, but {len(captions)} captions")
        rows = {str(photo): row for row, photo in enumerate(dict.fromkeys(map(str, photos)))}
        vectors = self.encode_photos(list(rows))[[rows[str(photo)] for photo in photos]]
        cosines = (vectors * self.encode_texts(captions)).sum(axis=1)
        return SCORE_SCALE * np.maximum(cosines, 0)

    def encode_classes(
        self, labels: Sequence[str], templates: Sequence[str] = TEMPLATES
    ) -> np.ndarray:
        """Encode labels for zero-shot classification: the mean of their prompts, [n, width]."""
        if len(labels) < 2 or not all(label.strip() for label in labels):
            raise UserError("labels: expected at least two labels, none of them empty")
        for template in templates:
            if template.count("{}") != 1:
                raise UserError(f"invalid template {template!r}: it needs one {{}}, for the label")
        prompts = [template.replace("{}", label) for label in labels for template in templates]
        vectors = self.encode_texts(prompts).reshape(len(labels), len(templates), -1).mean(axis=1)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    # -------------------------------------------------------------------------------- photos

    def _encode_vectors(
        self, photos: Sequence, read: Callable[[Any], bytes], names: Sequence[str]
    ) -> np.ndarray:
        if not len(photos):
            return np.zeros((0, self.width), np.float32)
        return self._encode(photos, read, names)["photo"]

    def _encode(
        self, photos: Sequence, read: Callable[[Any], bytes], names: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """All outputs of the photo tower, batch by batch.

        Photos are decoded by several threads; those that cannot be decoded are reported together.
        """
        problems: list[Problem] = []
        decoders = [bytes_reader((side, side)) for side in self.photo_tower.sides]

        def decode(photo_and_name: tuple[Any, str]) -> list[np.ndarray] | None:
            photo, name = photo_and_name
            try:
                data = upright_bytes(read(photo))
                return [decoder(data) for decoder in decoders]
            except ValueError as error:
                problems.append(Problem(name, None, str(error), REMEDY))
                return None

        outputs: list[dict[str, np.ndarray]] = []
        with ThreadPoolExecutor(max(2, os.cpu_count() or 2)) as pool:
            for batch in _batched(zip(photos, names, strict=True)):
                decoded = list(pool.map(decode, batch))
                if not problems:
                    sides = [np.stack(pixels) for pixels in zip(*decoded, strict=True)]
                    image = self.photo_tower.encode_pixels([tf.constant(side) for side in sides])
                    outputs.append(self.towers.encode_images([image]))
        if problems:
            raise DataError(problems)
        return {name: np.concatenate([each[name] for each in outputs]) for name in outputs[0]}


def classify(
    model: "RetrievalModel | Run | str | Path",
    photo: str | Path,
    labels: Sequence[str],
    templates: Sequence[str] = TEMPLATES,
) -> list[float]:
    """Classify a photo by labels that the model was never trained on (zero-shot).

    Args:
        model: A model, or the folder of a trained run.
        photo: An image file.
        labels: Two or more words or phrases.
        templates: Sentences around a label, each with one {} in its place.

    Returns:
        The probability of each label, given that one of them is right.

    Examples:
        >>> classify("runs/best-1", "photo.jpg", ["a dog", "a cat"])
        [0.97, 0.03]
    """
    model = model if isinstance(model, RetrievalModel) else RetrievalModel.load(model)
    cosines = model.encode_photos([photo])[0] @ model.encode_classes(labels, templates).T
    odds = np.exp(model.scale * (cosines - cosines.max()).astype(np.float64))
    return (odds / odds.sum()).tolist()


def caption_judge(run: Run | str | Path) -> "Judge":
    """A run as the reference-free scorer of a captioning report, by `RetrievalModel.score`."""
    from imagetext.metrics.captioning.scores import Judge

    model = RetrievalModel.load(run)
    name = (run.folder if isinstance(run, Run) else Path(run)).resolve().name
    return Judge(f"the retrieval model {name} ({model.digest})", model.score)


def _read_file(photo: str | Path) -> bytes:
    try:
        return Path(photo).read_bytes()
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error


def _batched(rows: Iterable) -> Iterator[list]:
    remaining = iter(rows)
    while batch := list(itertools.islice(remaining, PHOTOS_PER_BATCH)):
        yield batch


def read_temperature(path: Path) -> dict[str, float | None]:
    """The learned scale and bias that training left beside the model."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return {"scale": float(values["scale"]), "bias": values["bias"] and float(values["bias"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); train the run again") from error
