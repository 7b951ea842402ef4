"""From photos to captions; also what serving exports.

for caption in Captioner.load("runs/gru_attention-1").of_photos(["dog.jpg"])[0]:
    print(caption.text, caption.log_probability)
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from imagetext.captioning import models
from imagetext.captioning.config import CHANGEABLE, CaptioningConfig, DecodingConfig
from imagetext.captioning.data import CaptioningData
from imagetext.captioning.decoding import Ensemble, Found, Words, decode
from imagetext.captioning.vocabulary import Vocabulary, read_vocabulary
from imagetext.encoders.photos import PhotoTower
from imagetext.errors import DataError, Problem, UserError
from imagetext.training.config_files import load_run_config
from imagetext.training.network import STANDARDISE
from imagetext.training.run import Run, open_run, trained

#: Photos whose captions are found at once.
TOGETHER = 32


@dataclass(frozen=True)
class Caption:
    """`score` is the log probability after length normalisation; `ids` are words and end."""

    text: str
    log_probability: float
    score: float
    ids: np.ndarray


#: A caption where none was found.
NOTHING = Caption("", -math.inf, -math.inf, np.zeros(0, np.int32))


def best(captions: Sequence[Caption]) -> Caption:
    """Of those found for a photo, the first."""
    return captions[0] if captions else NOTHING


class Captioner:
    """A captioning model with all it needs to describe a photo.

    captioner = Captioner.load("runs/gru_attention-1")
    captioner.of_photos(["dog.jpg", "cat.jpg"])            # two lists of captions, best first
    """

    def __init__(self, model: keras.Model, config: CaptioningConfig, vocabulary: Vocabulary):
        self.model, self.config, self.vocabulary = model, config, vocabulary
        self.decoder = models.decoder_of(model, config.model)
        self.words = Words.of(vocabulary)
        #: Who answers: itself alone, but in an ensemble.
        self.members: list[Captioner] = [self]
        self._graphs: dict[DecodingConfig, Callable] = {}
        #: Of samples; for others than those of every evaluation, put another in its place.
        self.random = np.random.default_rng(config.train.seed)

    @classmethod
    def load(cls, run: Run | str | Path, overrides: dict | None = None) -> "Captioner":
        run = trained(open_run(run.folder if isinstance(run, Run) else run))
        for key in set(overrides or ()) - set(CHANGEABLE):
            known = ", ".join(CHANGEABLE)
            raise UserError(f"--{key}: is part of what was trained -- here, set only {known}")
        config = load_run_config(CaptioningConfig, run, overrides)
        path = run.folder / "vocabulary.json"
        vocabulary = read_vocabulary(path, config.text)
        model = keras.saving.load_model(run.model_file)
        if not model.name.endswith(vocabulary.digest):
            told = f"{path}: is the vocabulary of another run than model.keras"
            raise UserError(f"{told} -- put the run's own back, or train anew")
        return cls(model, config, vocabulary)

    @functools.cached_property
    def photo_tower(self) -> PhotoTower:
        return PhotoTower(self.config.data)

    def found(self, image: tf.Tensor, config: DecodingConfig, seed=(0, 0)) -> Found:
        """What the model is given of photos [b, ...] -> their captions, inside a `tf.function`."""
        memory = self.decoder.see(image)
        return decode(self.decoder, memory, config, self.words, self.config.text.longest, seed)

    def captions(
        self, image: np.ndarray, config: DecodingConfig | None = None
    ) -> list[list[Caption]]:
        """What the model is given of photos [b, ...] -> the captions of each, best first."""
        config = config or self.config.decoding
        if config not in self._graphs:
            spec = self.model.input["image"]
            specs = [tf.TensorSpec(spec.shape, spec.dtype), tf.TensorSpec([2], tf.int64)]
            self._graphs[config] = tf.function(
                lambda image, seed: self.found(image, config, seed), specs
            )
        seed = tf.constant(self.random.integers(2**31, size=2))
        found = self._graphs[config](tf.constant(image), seed)
        texts = self.vocabulary.texts(found.tokens).numpy()
        columns = (found.log_probability, found.score, found.length, found.tokens)
        columns = [column.numpy() for column in columns]
        return [
            [
                Caption(text.decode(), float(log_p), float(score), ids[:length])
                for text, log_p, score, length, ids in zip(*each, strict=True)
                if length
            ]
            for each in zip(texts, *columns, strict=True)
        ]

    def of_numbers(
        self, data: CaptioningData, numbers: np.ndarray, config: DecodingConfig | None = None
    ) -> list[list[Caption]]:
        """Captions of photos of the data, by number."""
        found = []
        for image, _ in data.photo_batches(numbers, TOGETHER):
            found += self.captions(image, config)
        return found

    def of_photos(
        self, photos: Sequence[str | Path], config: DecodingConfig | None = None
    ) -> list[list[Caption]]:
        """Captions of photo files; a file that is no photo is refused by name."""
        return self.captions(np.stack([self.read(photo) for photo in photos]), config)

    def read(self, photo: str | Path) -> np.ndarray:
        """What the model is given of a photo file."""
        try:
            return self.photo_tower.read(Path(photo))
        except ValueError as error:
            remedy = "give a JPEG, PNG, GIF, BMP or WebP file"
            raise DataError([Problem(str(photo), None, str(error), remedy)]) from error

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the cells that the model looks at."""
        return tuple(self.model.get_layer(STANDARDISE).output.shape[1:3])

    def looked(self, image: np.ndarray, caption: Caption) -> np.ndarray | None:
        """Where the model looked at each word of a caption, float32 [t, h, w] with a sum of 1 each;
        None for models that do not look at cells."""
        if not self.decoder.attends:
            return None
        texts = np.concatenate([[self.vocabulary.start], caption.ids[:-1]])[None, None]
        looked = self.looks(tf.constant(image[None]), tf.constant(texts, tf.int32)).numpy()
        return looked.reshape(len(caption.ids), *self.grid)

    def looks(self, image: tf.Tensor, texts: tf.Tensor) -> tf.Tensor:
        """The same of photos [b, ...] and what is read, int32 [b, k, t]: float32 [b, k, t, cells];
        of an ensemble the mean."""
        decoders = [member.decoder for member in self.members]
        each = [decoder.looked(decoder.see(image), texts) for decoder in decoders]
        return tf.reduce_mean(tf.stack(each), axis=0)


class CaptionEnsemble(Captioner):
    """Several runs that answer together; they must share one vocabulary and one kind of image."""

    def __init__(self, captioners: Sequence[Captioner]):
        first = captioners[0]
        super().__init__(first.model, first.config, first.vocabulary)
        for other in captioners[1:]:
            if _given(other) != _given(first):
                raise UserError(
                    "an ensemble of runs with other vocabularies or image encoders -- take runs of"
                    " one configuration that differ by seed"
                )
        self.members = list(captioners)

    def found(self, image, config, seed=(0, 0)):
        decoders = [member.decoder for member in self.members]
        memory = [decoder.see(image) for decoder in decoders]
        together = Ensemble(decoders)
        return decode(together, memory, config, self.words, self.config.text.longest, seed)


def _given(captioner: Captioner) -> tuple:
    """What the runs of an ensemble must have in common."""
    data, image = captioner.config.data, captioner.model.input["image"]
    seen = (tuple(data.image_encoders), data.image_output, data.image_weights, image.shape[1:])
    return captioner.vocabulary.digest, *seen
