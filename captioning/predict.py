"""The trained captioning model, as used for prediction, serving and export.

model = CaptioningModel.load("runs/gru_attention-1")
for caption in model.predict(["dog.jpg"])[0]:
    print(caption.text, caption.log_probability)
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from imagetext.captioning import models
from imagetext.captioning.config import CHANGEABLE, CaptioningConfig, DecodingConfig
from imagetext.captioning.data import CaptioningData
from imagetext.captioning.decoding import (
    DecodedCaptions,
    DecodingVocabulary,
    Ensemble,
    decode,
)
from imagetext.captioning.vocabulary import Vocabulary, read_vocabulary
from imagetext.encoders.photos import PhotoTower
from imagetext.errors import DataError, Problem, UserError
from imagetext.pipelines.batches import photo_batches
from imagetext.training.config_files import load_run_config
from imagetext.training.network import STANDARDISE
from imagetext.training.run import Run, open_run, require_trained

#: Photos per batch.
BATCH = 32


@dataclass(frozen=True)
class Caption:
    """A caption of a photo.

    Args:
        text: The sentence.
        log_probability: The log probability of the whole sentence.
        score: The log probability after length normalisation.
        ids: Its token ids with the end.
    """

    text: str
    log_probability: float
    score: float
    ids: np.ndarray


#: Returned if the decoder found no caption.
EMPTY_CAPTION = Caption("", -math.inf, -math.inf, np.zeros(0, np.int32))


def best(captions: Sequence[Caption]) -> Caption:
    """The first caption of a photo, or an empty one."""
    return captions[0] if captions else EMPTY_CAPTION


class CaptioningModel:
    """A trained captioning model, with everything it needs to describe image files.

    model = CaptioningModel.load("runs/gru_attention-1")
    model.predict(["dog.jpg", "cat.jpg"])            # two lists of captions, best first

    Args:
        model: The trained network.
        config: Its configuration.
        vocabulary: Its vocabulary.
    """

    def __init__(self, model: keras.Model, config: CaptioningConfig, vocabulary: Vocabulary):
        self.model, self.config, self.vocabulary = model, config, vocabulary
        self.decoder = models.get_decoder(model, config.model)
        self.decoding_vocabulary = DecodingVocabulary.from_vocabulary(vocabulary)
        #: The members of an ensemble; otherwise only this model.
        self.members: list[CaptioningModel] = [self]
        self._graphs: dict[DecodingConfig, Callable] = {}
        #: Seeds the samples; replace it to draw other samples than an evaluation does.
        self.random = np.random.default_rng(config.train.seed)

    @classmethod
    def load(cls, run: Run | str | Path, overrides: Mapping | None = None) -> "CaptioningModel":
        """Load the model of a trained run.

        Args:
            run: The run or its folder.
            overrides: Configuration keys to change, by dotted name, such as `data.root` and
                `decoding.beams`.
        """
        run = require_trained(open_run(run.folder if isinstance(run, Run) else run))
        config = load_run_config(CaptioningConfig, run, overrides, CHANGEABLE)
        path = run.vocabulary_file
        vocabulary = read_vocabulary(path, config.text)
        model = keras.saving.load_model(run.model_file)
        if not model.name.endswith(vocabulary.digest):
            raise UserError(
                f"{path}: does not belong to model.keras in the same folder; restore the vocabulary"
                " of the run, or train again"
            )
        return cls(model, config, vocabulary)

    def __repr__(self) -> str:
        photos = ", ".join(self.config.data.image_encoders) or "raw pixels"
        return f"CaptioningModel({self.config.run.name}: {self.config.model.kind} on {photos})"

    @functools.cached_property
    def photo_tower(self) -> PhotoTower:
        """Turns image files and bytes into what the network takes; built on first use."""
        return PhotoTower(self.config.data)

    def decode(self, image: tf.Tensor, config: DecodingConfig, seed=(0, 0)) -> DecodedCaptions:
        """Decode model inputs [batch, ...] inside a `tf.function`."""
        memory = self.decoder.encode_image(image)
        return decode(
            self.decoder, memory, config, self.decoding_vocabulary, self.config.text.longest, seed
        )

    def captions(
        self, image: np.ndarray, config: DecodingConfig | None = None
    ) -> list[list[Caption]]:
        """Caption model inputs [batch, ...].

        Args:
            image: Pixels or features, as `read` returns them.
            config: How to decode; as configured by default.

        Returns:
            The captions of each photo, best first.
        """
        config = config or self.config.decoding
        if config not in self._graphs:
            spec = self.model.input["image"]
            specs = [tf.TensorSpec(spec.shape, spec.dtype), tf.TensorSpec([2], tf.int64)]
            self._graphs[config] = tf.function(
                lambda image, seed: self.decode(image, config, seed), specs
            )
        seed = tf.constant(self.random.integers(2**31, size=2))
        decoded = self._graphs[config](tf.constant(image), seed)
        texts = self.vocabulary.decode(decoded.tokens).numpy()
        columns = (decoded.log_probability, decoded.score, decoded.length, decoded.tokens)
        columns = [column.numpy() for column in columns]
        return [
            [
                Caption(text.decode(), float(log_p), float(score), ids[:length])
                for text, log_p, score, length, ids in zip(*each, strict=True)
                if length
            ]
            for each in zip(texts, *columns, strict=True)
        ]

    def predict_numbers(
        self, data: CaptioningData, numbers: np.ndarray, config: DecodingConfig | None = None
    ) -> list[list[Caption]]:
        """Caption photos of a dataset, by number; best captions first."""
        captions = []
        for image, _ in photo_batches(data.photos, numbers, BATCH):
            captions += self.captions(image, config)
        return captions

    def predict(
        self, photos: Sequence[str | Path], config: DecodingConfig | None = None
    ) -> list[list[Caption]]:
        """Describe image files.

        Args:
            photos: The files.
            config: How to decode; as configured by default.

        Returns:
            The captions of each photo, best first.

        Raises:
            DataError: If a file cannot be read; its message names the file.
        """
        return self.captions(np.stack([self.read(photo) for photo in photos]), config)

    def read(self, photo: str | Path) -> np.ndarray:
        """The model input for an image file."""
        try:
            return self.photo_tower.encode_file(Path(photo))
        except ValueError as error:
            remedy = "use a JPEG, PNG, GIF, BMP or WebP file"
            raise DataError([Problem(str(photo), None, str(error), remedy)]) from error

    def words(self, caption: Caption) -> tuple[str, ...]:
        """The words or word pieces of a caption, without its end."""
        vocabulary = self.vocabulary
        return tuple(vocabulary.tokens[id] for id in caption.ids if id != vocabulary.end)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the cells that the model attends to."""
        return tuple(self.model.get_layer(STANDARDISE).output.shape[1:3])

    def attention_maps(self, image: np.ndarray, caption: Caption) -> np.ndarray | None:
        """The attention at each token of a caption: its words, then its end.

        Args:
            image: A model input, without the batch.
            caption: The caption.

        Returns:
            float32 [tokens, rows, columns], summing to 1 for each token; None for models without
            attention.
        """
        if not self.decoder.attends:
            return None
        texts = np.concatenate([[self.vocabulary.start], caption.ids[:-1]])[None, None]
        weights = self.attention_weights(tf.constant(image[None]), tf.constant(texts, tf.int32))
        return weights.numpy().reshape(len(caption.ids), *self.grid)

    def attention_weights(self, image: tf.Tensor, texts: tf.Tensor) -> tf.Tensor:
        """The attention at each token; for an ensemble, the mean.

        Args:
            image: Model inputs [batch, ...].
            texts: Token ids with start, int32 [batch, captions, time].

        Returns:
            float32 [batch, captions, time, cells].
        """
        decoders = [member.decoder for member in self.members]
        weights = [
            decoder.attention_weights(decoder.encode_image(image), texts) for decoder in decoders
        ]
        return tf.reduce_mean(tf.stack(weights), axis=0)


class CaptioningEnsemble(CaptioningModel):
    """Several models as one; they must share vocabulary and image features."""

    def __init__(self, captioners: Sequence[CaptioningModel]):
        first = captioners[0]
        super().__init__(first.model, first.config, first.vocabulary)
        for other in captioners[1:]:
            if _signature(other) != _signature(first):
                raise UserError(
                    "the runs of an ensemble must share vocabulary and image encoders; use runs of"
                    " one configuration with different seeds"
                )
        self.members = list(captioners)

    def decode(self, image, config, seed=(0, 0)):
        """Decode model inputs [batch, ...] with the mean probabilities of all members."""
        decoders = [member.decoder for member in self.members]
        memory = [decoder.encode_image(image) for decoder in decoders]
        ensemble = Ensemble(decoders)
        return decode(
            ensemble, memory, config, self.decoding_vocabulary, self.config.text.longest, seed
        )


def _signature(captioner: CaptioningModel) -> tuple:
    """What all members of an ensemble must share."""
    data, image = captioner.config.data, captioner.model.input["image"]
    photos = (tuple(data.image_encoders), data.image_output, data.image_weights, image.shape[1:])
    return captioner.vocabulary.digest, *photos
